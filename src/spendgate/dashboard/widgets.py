"""The widgets as Databricks reads them: each function returns the JSON of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Json = dict[str, object]

MAIN_QUERY: Final = "main_query"
USD: Final[Json] = {
    "type": "number-currency",
    "currencyCode": "USD",
    "abbreviation": "compact",
    "decimalPlaces": {"type": "max", "places": 4},
}
COUNT: Final[Json] = {
    "type": "number",
    "abbreviation": "compact",
    "decimalPlaces": {"type": "max", "places": 1},
}
PERCENT: Final[Json] = {"type": "number-percent", "decimalPlaces": {"type": "max", "places": 1}}

OK_COLOR, SOFT_COLOR, HARD_COLOR = "#2E7D5B", "#B87503", "#C8372D"
STATUS_COLORS: Final = {"ok": OK_COLOR, "soft": SOFT_COLOR, "hard": HARD_COLOR}

VERSIONS: Final[Mapping[str, int]] = {
    "counter": 2,
    "table": 2,
    "bar": 3,
    "line": 3,
    "forecast-line": 1,
    "filter-multi-select": 2,
    "filter-single-select": 2,
    "filter-date-range-picker": 2,
}
"""The version of each kind of widget that this dashboard uses."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a widget: an expression over its dataset's columns, and how it is shown."""

    name: str
    expression: str
    label: str
    format: Json | None = None
    rules: tuple[Json, ...] = ()

    def as_query(self) -> Json:
        """Return the field as a query names it."""
        return {"name": self.name, "expression": self.expression}


@dataclass(frozen=True, slots=True)
class Row:
    """Widgets side by side, each with its width; the widths sum to twelve."""

    height: int
    widgets: tuple[tuple[Json, int], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One page."""

    name: str
    title: str
    rows: tuple[Row, ...]


def plain(column: str, label: str, form: Json | None = None, *rules: Json) -> Field:
    """Return a column as it is."""
    return Field(column, f"`{column}`", label, form, rules)


def total(column: str, label: str, form: Json = USD) -> Field:
    """Return the sum of a column."""
    return Field(f"sum_{column}", f"SUM(`{column}`)", label, form)


def counted(column: str, label: str, form: Json = COUNT) -> Field:
    """Return the sum of a column, zero where no row means that nothing happened."""
    return Field(f"counted_{column}", f"COALESCE(SUM(`{column}`), 0)", label, form)


def largest(column: str, label: str, form: Json | None = None) -> Field:
    """Return the largest value of a column."""
    return Field(f"max_{column}", f"MAX(`{column}`)", label, form)


def share(part: str, whole: str, label: str) -> Field:
    """Return the sum of one column as a fraction of the sum of another."""
    expression = f"SUM(`{part}`) / NULLIF(SUM(`{whole}`), 0)"
    return Field(f"share_{part}", expression, label, PERCENT)


def warned(field: Field, color: str) -> Field:
    """Return a field that takes a colour as soon as it is above zero."""
    operand = {"type": "data-value", "value": "0"}
    rule: Json = {"condition": {"operand": operand, "operator": ">"}, "color": {"hex": color}}
    return Field(field.name, field.expression, field.label, field.format, (rule,))


def colour_from(limit: float, color: str) -> Json:
    """Return a rule: this colour from a value on; of several rules the first that fits counts."""
    operand = {"type": "data-value", "value": f"{limit:g}"}
    return {"condition": {"operand": operand, "operator": ">="}, "color": {"hex": color}}


def colour_below(limit: float, color: str) -> Json:
    """Return a rule: this colour below a value."""
    operand = {"type": "data-value", "value": f"{limit:g}"}
    return {"condition": {"operand": operand, "operator": "<"}, "color": {"hex": color}}


def colour_of(value: str, color: str) -> Json:
    """Return a rule: this colour for one value."""
    operand = {"type": "data-value", "value": value}
    return {"condition": {"operand": operand, "operator": "="}, "color": {"hex": color}}


def text(name: str, *lines: str) -> Json:
    """Return a text; Databricks reads it as Markdown."""
    return {"name": name, "multilineTextboxSpec": {"lines": [f"{line}\n" for line in lines]}}


def counter(name: str, title: str, dataset: str, value: Field, *, note: str = "") -> Json:
    """Return one large number."""
    encoding: Json = {"fieldName": value.name, "displayName": value.label}
    if value.format is not None:
        encoding["format"] = value.format
    if value.rules:
        encoding["style"] = {"rules": list(value.rules)}
    return _widget(name, title, note, dataset, [value], "counter", {"value": encoding})


def table(name: str, title: str, dataset: str, columns: Sequence[Field], *, note: str = "") -> Json:
    """Return a table of the dataset's rows as they are."""
    encodings: Json = {"columns": [_column(field) for field in columns]}
    return _widget(name, title, note, dataset, columns, "table", encodings, disaggregated=True)


def bar(
    name: str,
    title: str,
    dataset: str,
    x: Field,
    y: Field,
    color: Field | None = None,
    *,
    colors: Mapping[str, str] | None = None,
    note: str = "",
) -> Json:
    """Return bars: upright where x is a name or a time, lying where y is."""
    fields = [x, y] if color is None else [x, y, color]
    encodings: Json = {"x": _axis(x), "y": _axis(y)}
    for key, field in (("x", x), ("y", y)):
        other = "y" if key == "x" else "x"
        if _scale(field) == "categorical":
            encodings[key] = _axis(field, {"sort": {"by": f"{other}-reversed"}})
    if color is not None:
        encodings["color"] = _color(color, colors)
    return _widget(name, title, note, dataset, fields, "bar", encodings)


def line(
    name: str,
    title: str,
    dataset: str,
    x: Field,
    y: Field,
    color: Field | None = None,
    *,
    note: str = "",
) -> Json:
    """Return lines over time."""
    fields = [x, y] if color is None else [x, y, color]
    encodings: Json = {"x": _axis(x), "y": _axis(y)}
    if color is not None:
        encodings["color"] = _color(color, None)
    return _widget(name, title, note, dataset, fields, "line", encodings)


def forecast(
    name: str,
    title: str,
    dataset: str,
    x: Field,
    lines: tuple[Field, Field, Field, Field],
    *,
    note: str = "",
) -> Json:
    """Return a line with its forecast and the forecast's lower and upper end, in this order."""
    keys = ("original", "prediction", "predictionLower", "predictionUpper")
    drawn: Json = {
        key: {"fieldName": field.name, "displayName": field.label}
        for key, field in zip(keys, lines, strict=True)
    }
    y: Json = {"scale": {"type": "quantitative"}, **drawn}
    encodings: Json = {"x": _axis(x), "y": y}
    fields = [x, *lines]
    return _widget(
        name, title, note, dataset, fields, "forecast-line", encodings, disaggregated=True
    )


def choice(name: str, title: str, column: str, datasets: Sequence[str]) -> Json:
    """Return a filter by the values of a column, for every dataset that has it."""
    queries = [
        _query(f"{column}_{dataset}", dataset, [plain(column, title)]) for dataset in datasets
    ]
    fields = [
        {"fieldName": column, "displayName": title, "queryName": query["name"]} for query in queries
    ]
    return _filter(name, title, "filter-multi-select", queries, fields)


def period_picker(name: str, title: str, parameter: str, datasets: Sequence[str]) -> Json:
    """Return a picker of two dates for the parameter of some datasets."""
    queries: list[Json] = [
        {
            "name": f"{parameter}_{dataset}",
            "query": {
                "datasetName": dataset,
                "parameters": [{"name": parameter, "keyword": parameter}],
                "disaggregated": False,
            },
        }
        for dataset in datasets
    ]
    fields = [{"parameterName": parameter, "queryName": query["name"]} for query in queries]
    return _filter(name, title, "filter-date-range-picker", queries, fields)


def _filter(
    name: str, title: str, kind: str, queries: Sequence[Json], fields: Sequence[object]
) -> Json:
    return {
        "name": name,
        "queries": list(queries),
        "spec": {
            "version": VERSIONS[kind],
            "widgetType": kind,
            "encodings": {"fields": list(fields)},
            "frame": {"showTitle": True, "title": title},
        },
    }


def _widget(
    name: str,
    title: str,
    note: str,
    dataset: str,
    fields: Sequence[Field],
    kind: str,
    encodings: Json,
    *,
    disaggregated: bool = False,
) -> Json:
    frame: Json = {"showTitle": True, "title": title}
    if note:
        frame |= {"showDescription": True, "description": note}
    return {
        "name": name,
        "queries": [_query(MAIN_QUERY, dataset, fields, disaggregated=disaggregated)],
        "spec": {
            "version": VERSIONS[kind],
            "widgetType": kind,
            "encodings": encodings,
            "frame": frame,
        },
    }


def _query(
    name: str, dataset: str, fields: Sequence[Field], *, disaggregated: bool = False
) -> Json:
    named = [field.as_query() for field in fields]
    query = {"datasetName": dataset, "fields": named, "disaggregated": disaggregated}
    return {"name": name, "query": query}


def _column(field: Field) -> Json:
    column: Json = {"fieldName": field.name, "displayName": field.label}
    if field.format is not None:
        column["format"] = field.format
    if field.rules:
        rules = [
            {"condition": rule["condition"], "backgroundColor": rule["color"]}
            for rule in field.rules
        ]
        column["style"] = {"type": "basic", "rules": rules}
    return column


def _axis(field: Field, scale: Mapping[str, object] | None = None) -> Json:
    axis: Json = {
        "fieldName": field.name,
        "displayName": field.label,
        "scale": {"type": _scale(field), **(scale or {})},
        "axis": {"title": field.label},
    }
    if field.format is not None:
        axis["format"] = field.format
    return axis


def _color(field: Field, colors: Mapping[str, str] | None) -> Json:
    scale: Json = {"type": "categorical"}
    if colors is not None:
        scale["mappings"] = [{"value": name, "color": color} for name, color in colors.items()]
    legend = {"title": field.label}
    return {"fieldName": field.name, "displayName": field.label, "scale": scale, "legend": legend}


def _scale(field: Field) -> str:
    if field.format is not None:
        return "quantitative"
    is_time = field.name in {"day", "hour", "at"} or field.name.endswith(("_at", "_start"))
    return "temporal" if is_time else "categorical"
