"""`/v1/models`: the models that a client may name, in OpenAI's form."""

from collections.abc import Sequence

OWNER = "spendgate"


def model_list(models: Sequence[tuple[str, int]]) -> dict[str, object]:
    """Return the list; each model comes with the Unix time since when its price holds."""
    return {"object": "list", "data": [model_object(name, since) for name, since in models]}


def model_object(name: str, since: int) -> dict[str, object]:
    """Return one model."""
    return {"id": name, "object": "model", "created": since, "owned_by": OWNER}
