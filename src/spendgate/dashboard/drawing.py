"""A dashboard's charts as Vega-Lite, for the report that is drawn on this machine."""

from collections.abc import Mapping
from typing import Final

from spendgate.gateway.json_object import JsonObject, json_list, json_object

ROWS: Final = "rows"
"""The name under which the page hands a chart its data."""
_LABEL_PIXELS: Final = 150
_TYPES: Final = {"temporal": "temporal", "categorical": "nominal", "quantitative": "quantitative"}
_FORMATS: Final = {"number-currency": "$,.4~f", "number-percent": ".1~%", "number": ",.3~s"}
_UNITS: Final = {"day": "utcyearmonthdate", "hour": "utcyearmonthdatehours"}
"""How long a bar at a time is."""

_MARKS: Final[Mapping[str, JsonObject]] = {
    "bar": {"type": "bar", "width": {"band": 0.8}, "height": {"band": 0.8}},
    "line": {"type": "line", "point": True},
}


def chart_of(widget: JsonObject) -> JsonObject | None:
    """Return the Vega-Lite of a widget; None if it is no chart."""
    spec = json_object(widget.get("spec"))
    encodings = json_object(spec.get("encodings"))
    kind = str(spec.get("widgetType"))
    if kind in _MARKS:
        drawn: JsonObject = {"mark": _MARKS[kind], "encoding": _channels(encodings)}
    elif kind == "forecast-line":
        drawn = {"layer": _forecast_layers(encodings)}
    else:
        return None
    return {
        "data": {"name": ROWS},
        "description": str(json_object(spec.get("frame")).get("title")),
        "width": "container",
        "height": "container",
        **drawn,
    }


def _channels(encodings: JsonObject) -> JsonObject:
    x, y = json_object(encodings.get("x")), json_object(encodings.get("y"))
    color = json_object(encodings.get("color"))
    channels: dict[str, object] = {"x": _axis(x, "y"), "y": _axis(y, "x")}
    if color:
        channels["color"] = _color(color)
    channels["tooltip"] = [_tooltip(one) for one in (y, color, x) if one]
    return channels


def _axis(axis: JsonObject, other: str) -> JsonObject:
    kind = _scale_type(axis)
    drawn: dict[str, object] = {
        "field": str(axis.get("fieldName")),
        "type": kind,
        "title": str(axis.get("displayName")),
    }
    if kind == "temporal":
        unit = _UNITS.get(str(axis.get("fieldName")))
        drawn["scale"] = {"type": "utc"}
        drawn["axis"] = {
            "format": "%b %d" if unit == _UNITS["day"] else "%b %d %H:%M",
            "labelOverlap": True,
            "tickCount": 7,
        }
        if unit:
            drawn["timeUnit"] = unit
    elif kind == "nominal":
        drawn["title"] = None
        drawn["sort"] = f"-{other}"
        drawn["axis"] = {"labelLimit": _LABEL_PIXELS}
    else:
        drawn["axis"] = {"format": _format(axis), "tickCount": 5}
    return drawn


def _color(color: JsonObject) -> JsonObject:
    drawn: dict[str, object] = {
        "field": str(color.get("fieldName")),
        "type": "nominal",
        "legend": {
            "labelLimit": 2 * _LABEL_PIXELS,
            "title": None,
            "orient": "bottom",
            "columns": 3,
        },
    }
    mappings = json_list(json_object(color.get("scale")).get("mappings"))
    pairs = [json_object(one) for one in mappings]
    if pairs:
        drawn["scale"] = {
            "domain": [pair.get("value") for pair in pairs],
            "range": [pair.get("color") for pair in pairs],
        }
    return drawn


def _tooltip(field: JsonObject) -> JsonObject:
    kind = _scale_type(field)
    drawn: dict[str, object] = {
        "field": str(field.get("fieldName")),
        "type": kind,
        "title": str(field.get("displayName")),
    }
    if kind == "temporal":
        drawn |= {"timeUnit": "utcyearmonthdatehoursminutes"}
    elif kind == "quantitative":
        drawn["format"] = _format(field)
    return drawn


def _forecast_layers(encodings: JsonObject) -> list[JsonObject]:
    y = json_object(encodings.get("y"))
    x = _axis(json_object(encodings.get("x")), "y")

    def upright(key: str) -> JsonObject:
        field = str(json_object(y.get(key)).get("fieldName"))
        axis = {"format": _FORMATS["number-currency"], "tickCount": 5}
        return {"field": field, "type": "quantitative", "title": "USD", "axis": axis}

    upper = {"field": str(json_object(y.get("predictionUpper")).get("fieldName"))}
    band = {"x": x, "y": upright("predictionLower"), "y2": upper}
    return [
        {"mark": {"type": "area", "opacity": 0.25}, "encoding": band},
        {
            "mark": {"type": "line", "strokeDash": [5, 4]},
            "encoding": {"x": x, "y": upright("prediction")},
        },
        {
            "mark": {"type": "line", "point": True},
            "encoding": {"x": x, "y": upright("original")},
        },
    ]


def _scale_type(field: JsonObject) -> str:
    kind = str(json_object(field.get("scale")).get("type"))
    return _TYPES.get(kind, "nominal")


def _format(field: JsonObject) -> str:
    return _FORMATS.get(str(json_object(field.get("format")).get("type")), ",")
