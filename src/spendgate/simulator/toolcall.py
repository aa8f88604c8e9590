"""Answer with a tool call where the caller's text asks for one."""

from dataclasses import dataclass

from spendgate.simulator.wire import JsonObject, encode, list_in, object_in

TRIGGER = "use the tool"
_NAME_TOKENS = 8  # what the call's frame costs beside its name and arguments
_SAMPLES: dict[str, object] = {
    "string": "simulated",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Call one of the tools that the request offers."""

    id: str
    name: str
    arguments: str
    tokens: int


def choose_tool_call(body: JsonObject, seed: int) -> ToolCall | None:
    """Call the first function offered, if the last message is the user's and says the trigger.

    A last message from the tool itself gets words, so that an agent's loop ends.
    """
    function = _first_function(body.get("tools"))
    if function is None or not _asks(body.get("messages")):
        return None
    name = str(function["name"])
    arguments = encode(_sample_arguments(function.get("parameters"))).decode("ascii")
    tokens = _NAME_TOKENS + -(-(len(name) + len(arguments)) // 4)
    return ToolCall(f"call_{seed:016x}", name, arguments, tokens)


def _first_function(tools: object) -> JsonObject | None:
    for tool in list_in(tools):
        function = object_in(object_in(tool).get("function"))
        if isinstance(function.get("name"), str):
            return function
    return None


def _asks(messages: object) -> bool:
    listed = list_in(messages)
    last = object_in(listed[-1] if listed else None)
    return last.get("role") == "user" and TRIGGER in str(last.get("content")).lower()


def _sample_arguments(parameters: object) -> dict[str, object]:
    properties = object_in(object_in(parameters).get("properties"))
    return {
        name: _SAMPLES.get(str(object_in(schema).get("type")))
        for name, schema in properties.items()
    }
