"""The recipes' form (`prompt`, `scopeType`, `scopeKey`, `modelId`, `tools`), made a chat."""

from collections.abc import Mapping

from spendgate.domain.scope import Dimension
from spendgate.errors import InvalidRequestError
from spendgate.gateway.json_object import is_list, is_object, json_list, json_object
from spendgate.gateway.own_inputs import model_name

SEED_FIELDS = frozenset({"prompt", "scopeType", "scopeKey", "modelId"})


def from_seed_form(raw: Mapping[str, object]) -> dict[str, object]:
    """Return the OpenAI form of a seed request; its scope and model become `custom_inputs`.

    Raises:
        InvalidRequestError: if the call can't be attributed, or mixes both forms.
    """
    body = {name: value for name, value in raw.items() if name not in SEED_FIELDS}
    if all(raw.get(name) is None for name in ("prompt", "messages", "input")):
        raise InvalidRequestError("prompt is missing", "prompt")
    if raw.get("prompt") is not None:
        prompt = raw["prompt"]
        if body.get("messages") is not None:
            raise InvalidRequestError("send messages or prompt, not both", "prompt")
        if not isinstance(prompt, str) or not prompt:
            raise InvalidRequestError("prompt must be text", "prompt")
        body["messages"] = [{"role": "user", "content": prompt}]
    own = body.get("custom_inputs")
    if own is not None and not is_object(own):
        raise InvalidRequestError("custom_inputs must be an object", "custom_inputs")
    inputs = dict(json_object(own))
    inputs.update(_scope(raw))
    model = raw.get("modelId")
    if model is not None:
        inputs["model"] = model_name("modelId", model)
    elif inputs.get("model") is None and body.get("model") is None:
        raise InvalidRequestError("modelId must name a model", "modelId")
    body["custom_inputs"] = inputs
    if is_list(body.get("tools")):
        body["tools"] = [_tool(tool) for tool in json_list(body["tools"])]
    return body


def _scope(raw: Mapping[str, object]) -> dict[str, object]:
    kind, key = raw.get("scopeType"), raw.get("scopeKey")
    if kind is None and key is None:
        return {}
    if not isinstance(kind, str) or kind not in set(Dimension):
        raise InvalidRequestError(
            f"scopeType must be one of {', '.join(Dimension)}; the call can't be attributed",
            "scopeType",
        )
    if not isinstance(key, str) or not key:
        raise InvalidRequestError("scopeKey must say who pays", "scopeKey")
    return {kind: key}


def _tool(tool: object) -> object:
    """Make a function tool of a bare name, the recipes' form."""
    if not isinstance(tool, str):
        return tool
    parameters: dict[str, object] = {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool, "parameters": parameters}}
