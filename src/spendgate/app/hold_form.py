"""`/api/holds`: a call's two phases as paths of their own, for callers that make it themselves.

Each is the gate's operation of that name; who may call a model may use them.
"""

import re
from dataclasses import replace

from spendgate.app.model_calls import Reading
from spendgate.gateway.admission import Incoming
from spendgate.gateway.json_object import JsonObject, is_object, json_object
from spendgate.gateway.operation import Operation
from spendgate.gateway.route import route_of
from spendgate.web.body import BodyError

PATH = "/api/holds"
_END = re.compile(rf"{PATH}/([^/]+)/({Operation.SETTLE}|{Operation.VOID})")


def hold_reading(path: str) -> Reading | None:
    """Return how to read a request to a path; None if it has no operation."""
    if path == PATH:
        return _reserve
    found = _END.fullmatch(path)
    if found is None:
        return None
    hold_id, operation = found.groups()
    return lambda incoming: _end(incoming, Operation(operation), hold_id)


def _reserve(incoming: Incoming) -> Incoming:
    body = incoming.body
    return _asking(incoming, {**body, "custom_inputs": _own(body, Operation.RESERVE)})


def _end(incoming: Incoming, operation: Operation, hold_id: str) -> Incoming:
    """Read a body that is the model's whole answer, or its usage alone."""
    body = incoming.body
    answer = {name: value for name, value in body.items() if name != "custom_inputs"}
    own = {**_own(body, operation), "hold_id": hold_id}
    if operation is Operation.SETTLE and answer:
        own["answer"] = answer
    return _asking(incoming, {"custom_inputs": own})


def _asking(incoming: Incoming, body: JsonObject) -> Incoming:
    return replace(incoming, route=route_of(body), body=body, may_stream=False)


def _own(body: JsonObject, operation: Operation) -> dict[str, object]:
    own = body.get("custom_inputs")
    if own is not None and not is_object(own):
        raise BodyError(400, "custom_inputs must be an object", "custom_inputs")
    inputs = dict(json_object(own))
    for name in ("operation", "hold_id", "answer", "usage"):
        if inputs.get(name) is not None:
            place = f"custom_inputs.{name}"
            raise BodyError(400, f"leave {place} out: the path and the body say it", place)
    return {**inputs, "operation": operation.value}
