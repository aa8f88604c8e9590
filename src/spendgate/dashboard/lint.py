"""Checks of a dashboard document: what Databricks would only tell by an empty or broken widget."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from spendgate.dashboard.datasets import parameters_in
from spendgate.dashboard.widgets import VERSIONS
from spendgate.gateway.json_object import is_list, is_object, json_list, json_object

COLUMNS_MAX = 12
FILTER_PAGE = "PAGE_TYPE_GLOBAL_FILTERS"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
_COLUMN = re.compile(r"`([^`]+)`")
_EXPRESSION = re.compile(
    r"`[^`]+`|(?:SUM|MAX|MIN)\(`[^`]+`\)|COALESCE\(SUM\(`[^`]+`\), 0\)"
    r"|SUM\(`[^`]+`\) / NULLIF\(SUM\(`[^`]+`\), 0\)"
)

Columns = Mapping[str, Sequence[str]]


def problems(document: Mapping[str, object], columns: Columns | None = None) -> list[str]:
    """Return what is wrong with a dashboard, one line each; nothing if it is right.

    Args:
        document: the dashboard as JSON.
        columns: what each dataset's query returns; without it columns aren't looked up.
    """
    datasets = {str(one.get("name")): one for one in _objects(document.get("datasets"))}
    pages = _objects(document.get("pages"))
    found = [
        f"it has no {key}" for key in ("datasets", "pages") if not json_list(document.get(key))
    ]
    found += [*_dataset_problems(document), *_name_problems(pages)]
    for page in pages:
        name = str(page.get("name"))
        found += _page_problems(page)
        for item in _objects(page.get("layout")):
            widget = json_object(item.get("widget"))
            where = f"{name}.{widget.get('name')}"
            if "multilineTextboxSpec" in widget:
                found += [f"{where}: a text has no spec"] if "spec" in widget else []
                continue
            lines = _widget_problems(widget, datasets, columns or {})
            found += [f"{where}: {line}" for line in lines]
    return found


def _dataset_problems(document: Mapping[str, object]) -> Iterator[str]:
    names: set[str] = set()
    for dataset in _objects(document.get("datasets")):
        name = str(dataset.get("name"))
        if not _NAME.fullmatch(name):
            yield f"dataset {name!r}: a name has letters, digits, _ and - only"
        if name in names:
            yield f"dataset {name}: two datasets have this name"
        names.add(name)
        lines = [str(line) for line in json_list(dataset.get("queryLines"))]
        if not lines:
            yield f"dataset {name}: it has no query"
        if any(not line.endswith(("\n", " ")) for line in lines[:-1]):
            yield f"dataset {name}: lines are joined as they are; end each with a line break"
        declared = {str(one.get("keyword")) for one in _objects(dataset.get("parameters"))}
        used = set(parameters_in("".join(lines)))
        for missing in sorted(used - declared):
            yield f"dataset {name}: the parameter {missing} isn't declared"
        for idle in sorted(declared - used):
            yield f"dataset {name}: the parameter {idle} is declared and never used"


def _name_problems(pages: Sequence[Mapping[str, object]]) -> Iterator[str]:
    names = [str(page.get("name")) for page in pages]
    names += [
        str(json_object(item.get("widget")).get("name"))
        for page in pages
        for item in _objects(page.get("layout"))
    ]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: two pages or widgets have this name"
    for name in names:
        if not _NAME.fullmatch(name):
            yield f"{name!r}: a name has letters, digits, _ and - only"


def _page_problems(page: Mapping[str, object]) -> Iterator[str]:
    name = page.get("name")
    if page.get("layoutVersion") != "GRID_V1":
        yield f"{name}: without layoutVersion GRID_V1 the page has six columns"
    if page.get("pageType") not in {"PAGE_TYPE_CANVAS", FILTER_PAGE}:
        yield f"{name}: the pageType is unknown"
    boxes = [
        (str(json_object(item.get("widget")).get("name")), _box(item))
        for item in _objects(page.get("layout"))
    ]
    taken: dict[tuple[int, int], str] = {}
    for widget, (x, y, width, height) in boxes:
        if width < 1 or height < 1 or x < 0 or y < 0 or x + width > COLUMNS_MAX:
            yield f"{name}.{widget}: it doesn't lie within the {COLUMNS_MAX} columns"
            continue
        cells = [(x + i, y + j) for i in range(width) for j in range(height)]
        over = {taken[cell] for cell in cells if cell in taken}
        for other in sorted(over):
            yield f"{name}.{widget}: it lies over {other}"
        taken.update(dict.fromkeys(cells, widget))
    yield from _gaps(str(name), taken)


def _gaps(page: str, taken: Mapping[tuple[int, int], str]) -> Iterator[str]:
    rows = sorted({y for _, y in taken})
    for before, after in pairwise([-1, *rows]):
        if after > before + 1:
            yield f"{page}: the rows from {before + 1} to {after - 1} are empty"
    for row in rows:
        width = sum(1 for _, y in taken if y == row)
        if width < COLUMNS_MAX:
            yield f"{page}: row {row} fills {width} of {COLUMNS_MAX} columns"


def _widget_problems(
    widget: Mapping[str, object], datasets: Mapping[str, Mapping[str, object]], columns: Columns
) -> Iterator[str]:
    spec = json_object(widget.get("spec"))
    kind = str(spec.get("widgetType"))
    if kind not in VERSIONS:
        yield f"the widgetType {kind!r} is unknown here"
    elif spec.get("version") != VERSIONS[kind]:
        yield f"{kind} has version {VERSIONS[kind]}, not {spec.get('version')}"
    if not json_object(spec.get("frame")).get("title"):
        yield "it has no title"
    queries = {
        str(query.get("name")): json_object(query.get("query"))
        for query in _objects(widget.get("queries"))
    }
    if not queries:
        yield "it has no query"
    for name, query in queries.items():
        yield from _query_problems(name, query, datasets, columns)
    encodings = json_object(spec.get("encodings"))
    if kind.startswith("filter-"):
        yield from _filter_problems(encodings, queries)
        return
    known = {str(one.get("name")) for query in queries.values() for one in _fields(query)}
    used = set(_field_names(encodings))
    for missing in sorted(used - known):
        yield f"the encoding names the field {missing}, which no query has"
    for idle in sorted(known - used):
        yield f"the field {idle} is asked for and never shown"


def _query_problems(
    name: str,
    query: Mapping[str, object],
    datasets: Mapping[str, Mapping[str, object]],
    columns: Columns,
) -> Iterator[str]:
    dataset = str(query.get("datasetName"))
    if dataset not in datasets:
        yield f"{name} asks for the dataset {dataset}, which doesn't exist"
        return
    declared = {str(one.get("keyword")) for one in _objects(datasets[dataset].get("parameters"))}
    for one in _objects(query.get("parameters")):
        if one.get("keyword") not in declared:
            yield f"{name} sets the parameter {one.get('keyword')}, which {dataset} hasn't declared"
    for field in _fields(query):
        expression = str(field.get("expression"))
        if not _EXPRESSION.fullmatch(expression):
            yield f"{name}: {expression} is no column, sum, largest, smallest or share"
        if dataset in columns:
            for column in _COLUMN.findall(expression):
                if column not in columns[dataset]:
                    yield f"{name} asks for {column}, which {dataset} doesn't return"


def _filter_problems(
    encodings: Mapping[str, object], queries: Mapping[str, Mapping[str, object]]
) -> Iterator[str]:
    for field in _objects(encodings.get("fields")):
        query = queries.get(str(field.get("queryName")))
        if query is None:
            yield f"the filter names the query {field.get('queryName')}, which it hasn't"
        elif "parameterName" in field:
            keywords = {one.get("keyword") for one in _objects(query.get("parameters"))}
            if field["parameterName"] not in keywords:
                yield f"the filter sets {field['parameterName']}, which its query doesn't name"
        elif field.get("fieldName") not in {one.get("name") for one in _fields(query)}:
            yield f"the filter names the field {field.get('fieldName')}, which its query hasn't"


def _field_names(value: object) -> Iterator[str]:
    if is_object(value):
        for key, one in value.items():
            if key == "fieldName":
                yield str(one)
            else:
                yield from _field_names(one)
    elif is_list(value):
        for one in value:
            yield from _field_names(one)


def _fields(query: Mapping[str, object]) -> list[dict[str, object]]:
    return _objects(query.get("fields"))


def _objects(value: object) -> list[dict[str, object]]:
    items: Iterable[object] = json_list(value)
    return [dict(json_object(one)) for one in items]


def _box(item: Mapping[str, object]) -> tuple[int, int, int, int]:
    position = json_object(item.get("position"))
    x, y, width, height = (
        value if isinstance(value := position.get(key), int) else -1
        for key in ("x", "y", "width", "height")
    )
    return x, y, width, height
