# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pandas is typed in part only.
"""What a body of `/invocations` means: its route, its raw form again, and what is wrong with it."""

from collections.abc import Iterable, Mapping
from typing import cast

import pandas as pd

from spendgate.errors import InvalidRequestError
from spendgate.gateway.json_object import is_list
from spendgate.gateway.route import route_of
from spendgate.gateway.wire import Host, parse_call
from spendgate.web.body import BodyError, parse_object

TABLE_FORMS = ("dataframe_records", "dataframe_split", "inputs", "instances")
"""MLflow's own request forms; the first two carry one request in one row without loss."""


def raw_body(model_input: object) -> dict[str, object]:
    """Return the body as the client sent it from what MLflow hands to `predict`.

    MLflow adds no column that the body lacks (measured, 3.17), so a null here is the client's own
    and stays: both hosts then see the same body, and OpenAI allows a null in many places.

    Raises:
        InvalidRequestError: if this isn't exactly one request.
    """
    if isinstance(model_input, pd.DataFrame):
        if model_input.empty:
            raise InvalidRequestError("the body holds no request; send it as it is", "body")
        if len(model_input) > 1:
            raise InvalidRequestError(f"send one request per call, not {len(model_input)}", "body")
        # Half the time of to_dict; both make Python's own numbers of pandas'.
        names = cast("Iterable[str]", model_input.columns)
        rows = cast("Iterable[Iterable[object]]", model_input.itertuples(index=False, name=None))
        body = dict(zip(names, next(iter(rows)), strict=True))
    elif isinstance(model_input, dict):
        body = cast("dict[str, object]", model_input)
    else:
        raise InvalidRequestError("the body must be a JSON object", "body")
    if any(_is_array(value) for value in body.values()):
        raise _table_form("inputs")
    return body


def explain_invalid(body: bytes) -> BodyError | None:
    """Say what is wrong with a body that MLflow refused; None if nothing of ours is."""
    try:
        document = parse_object(body)
        _check_form(document)
        parse_call(route_of(document), document, Host.ENDPOINT)
    except BodyError as error:
        return error
    except InvalidRequestError as error:
        return BodyError(400, str(error), error.field)
    return None


def _check_form(document: Mapping[str, object]) -> None:
    """Name what MLflow itself refuses, before anything that the gateway would ask for."""
    messages = document.get("messages", [])
    if messages is not None and not isinstance(messages, list):
        raise InvalidRequestError("messages must be a list of messages", "messages")
    if any(name in document for name in ("messages", "prompt", "input")):
        return
    for name in TABLE_FORMS:
        if name in document:
            raise _table_form(name)
    raise InvalidRequestError("messages is missing", "messages")


def _table_form(name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"MLflow's form {name!r} doesn't carry a chat request; send the request itself as the body",
        name,
    )


def _is_array(value: object) -> bool:
    """Tell the arrays that MLflow makes of its table forms from JSON."""
    first = value[0] if is_list(value) and value else value
    return type(first).__module__ == "numpy"
