"""The two source recipes' own answers: `/agent/chat` and `/api/chat` keep their statuses and JSON.

Requests may have their form too (`gateway.seed_form`); an answer of the model is the same as on the
other routes.
"""

from spendgate.gateway.json_object import json_object
from spendgate.gateway.reply import Reply

BUDGET_EXCEEDED = "budget_exceeded"
BAD_REQUEST = "bad_request"


def recipe_reply(reply: Reply) -> Reply:
    """Give a refusal or failure the recipes' form; pass an answer on."""
    if reply.status == 200:
        return reply
    error = json_object(reply.body.get("error"))
    message = error.get("message")
    if reply.status == 400:
        body: dict[str, object] = {"error": BAD_REQUEST, "details": message}
    else:
        is_budget = error.get("type") == BUDGET_EXCEEDED
        body = {"error": BUDGET_EXCEEDED if is_budget else error.get("code"), "message": message}
    return Reply(reply.status, body, reply.retry_after_seconds)
