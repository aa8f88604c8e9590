"""What nobody has seen on a workspace yet, as steps: each with its answer and its most costly end.

The numbers are those of docs/runbook.md, "To verify on a workspace"; a test compares them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from string import Template

import httpx
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.sql import StatementState

from spendgate.adapters.statements import statements
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.cli.workspace_names import Deployment
from spendgate.gateway.json_object import json_object

Json = Mapping[str, object]
CALL_SECONDS = 290.0
TEMPLATE_TOKENS_MAX = 136
"""What the bound allows a template for one message: 128 and 8."""
_SYSTEM = "You sort tickets by urgency and answer with one word. " * 200
"""About 2,200 tokens: Claude caches from 1,024 on."""
_STATEMENT_WAIT = "50s"


class Status(StrEnum):
    """How a step ended."""

    VERIFIED = "verified"
    FAILED = "failed"
    PENDING = "pending"
    SKIPPED = "skipped"


class StepError(Exception):
    """The workspace answered otherwise than the step expects."""


class NotNowError(Exception):
    """A step can't be judged now, or not by a program; the text says what to do."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Site:
    """The deployment under test, and what was spent on it so far."""

    client: WorkspaceClient
    names: Deployment
    ledger: StoredLedger | None
    token: str = field(repr=False)
    poor_token: str = field(repr=False)
    model: str
    caching_model: str
    spent_usd: Decimal = Decimal(0)

    def post(self, path: str, body: Json, authorization: str | None = None) -> httpx.Response:
        """Send one request with our own credentials, or others."""
        signed = self.client.config.authenticate()
        if authorization is not None:
            signed = {**signed, "Authorization": authorization}
        url = f"{self.client.config.host}{path}"
        return httpx.post(url, json=body, headers=signed, timeout=CALL_SECONDS)

    def call(self, *, own: Json | None = None, token: str | None = None, **body: object) -> Json:
        """Ask the gate; return status and body as `status` and the body's fields."""
        asked = {"max_tokens": 32, "messages": _message("Say yes."), **body}
        inputs = {"model": self.model, "spend_token": token or self.token, **(own or {})}
        path = f"/serving-endpoints/{self.names.endpoint}/invocations"
        answer = self.post(path, {**asked, "custom_inputs": inputs})
        return self.counted(answer)

    def counted(self, answer: httpx.Response) -> Json:
        """Read an answer, and count what it cost."""
        try:
            document: object = answer.json()
        except ValueError:
            document = None
        body = json_object(document)
        cost = json_object(body.get("spend")).get("cost_usd")
        if isinstance(cost, str):
            self.spent_usd += Decimal(cost)
        return {**body, "status": answer.status_code}

    def rows(self, sql: str) -> list[list[str]]:
        """Run a statement on the warehouse."""
        warehouse = self.names.warehouse_id
        if warehouse is None:
            raise NotNowError(Status.SKIPPED, "give --warehouse-id")
        done = self.client.statement_execution.execute_statement(
            sql, warehouse, wait_timeout=_STATEMENT_WAIT
        )
        if done.status is None or done.status.state is not StatementState.SUCCEEDED:
            error = done.status.error if done.status is not None else None
            raise StepError(f"the statement failed: {error.message if error else 'no answer'}")
        return (done.result.data_array if done.result is not None else None) or []


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to verify."""

    number: int
    name: str
    expected: str
    ceiling_usd: Decimal
    run: Callable[[Site], str]
    """Returns what was answered; raises StepError or NotNowError."""


def _message(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def _is_completion(answer: Json) -> Json:
    if answer["status"] != 200 or not answer.get("choices"):
        raise StepError(f"status {answer['status']}: {_code(answer)}")
    spend = json_object(answer.get("spend"))
    if not spend:
        raise StepError("a completion without spend")
    return spend


def _code(answer: Json) -> str:
    error = json_object(answer.get("error"))
    return str(error.get("code") or answer.get("error_code") or "no error code")


def _completion(site: Site) -> str:
    inputs = {"model": site.model, "spend_token": site.token}
    body = {"model": site.names.endpoint, "messages": _message("Say yes."), "max_tokens": 32}
    path = "/serving-endpoints/chat/completions"
    spend = _is_completion(site.counted(site.post(path, {**body, "custom_inputs": inputs})))
    return f"a completion by {spend.get('model_served')} for {spend.get('cost_usd')} USD"


def _refusal(site: Site) -> str:
    if site.ledger is None:
        raise NotNowError(Status.SKIPPED, "needs the ledger for a budget of almost nothing")
    question = "which canary sings"
    answer = site.call(token=site.poor_token, messages=_message(question))
    if _code(answer) != "budget_exhausted" or not 400 <= int(str(answer["status"])) < 500:
        raise StepError(f"status {answer['status']}: {_code(answer)}")
    if question in json.dumps(answer):
        raise StepError("the refusal repeats the prompt")
    return f"{answer['status']} budget_exhausted, without the prompt"


def _fields(site: Site) -> str:
    _is_completion(site.call(zz_unlisted=1))
    # A value that only the model's own server can refuse shows that the field arrived there.
    refused = site.call(own={"extra_body": {"top_logprobs": 9999, "logprobs": True}})
    if refused["status"] == 200:
        raise StepError("extra_body didn't arrive: the model took top_logprobs 9999")
    return f"an unlisted field is dropped; extra_body arrives ({refused['status']} by the model)"


def _cache(site: Site) -> str:
    part = {"type": "text", "text": _SYSTEM, "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "system", "content": [part]}, *_message("Printer on fire.")]
    answer: Json = {}
    for _ in range(2):
        answer = site.call(own={"model": site.caching_model}, messages=messages)
        if _code(answer) == "upstream_error":
            raise NotNowError(Status.SKIPPED, f"no {site.caching_model} here")
        _is_completion(answer)
    usage = json_object(answer.get("usage"))
    prompt, out, total = (
        _count(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    cached = _count(json_object(usage.get("prompt_tokens_details")), "cached_tokens")
    cached = max(cached, _count(usage, "cache_read_input_tokens"))
    if total != prompt + out or cached > prompt:
        raise StepError(f"prompt {prompt}, completion {out}, total {total}, cached {cached}")
    return f"total = prompt + completion = {total}, of which {cached} cached, within the prompt"


def _count(usage: Json, name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0


def _usage_rows(site: Site) -> str:
    quoted = (f"`{part.replace('`', '``')}`" for part in (site.names.catalog, site.names.schema))
    sql = Template(statements("delta/verify.sql")["endpoint_usage"])
    answer = site.rows(sql.substitute(tables=".".join(quoted)))
    ((calls, found, most),) = answer or (("0", "0", "0"),)
    if calls == "0":
        raise NotNowError(Status.PENDING, "no call is two hours old yet: run this again then")
    if (found, most) != (calls, "1"):
        raise StepError(f"{calls} calls, {found} of them in endpoint_usage, up to {most} rows each")
    return f"{calls} calls, one row each"


def _templates(site: Site) -> str:
    answer = site.call(messages=_message("a"), max_tokens=32)
    _is_completion(answer)
    tokens = _count(json_object(answer.get("usage")), "prompt_tokens")
    if tokens > TEMPLATE_TOKENS_MAX:
        raise StepError(f"{tokens} prompt tokens for one letter; give {site.model} template_tokens")
    return f"{site.model}: {tokens} prompt tokens for one letter"


def _lakebase(site: Site) -> str:
    if site.ledger is None or not site.names.ledger_url.startswith("lakebase://"):
        raise NotNowError(Status.SKIPPED, "the ledger isn't reachable from here as Lakebase")
    milliseconds = site.ledger.commit_seconds() * 1000
    return f"a token opens it; a commit takes {milliseconds:.1f} ms. Fail it over by hand"


def _by_hand(what: str) -> Callable[[Site], str]:
    def skip(_: Site) -> str:
        raise NotNowError(Status.SKIPPED, f"by hand: needs {what}")

    return skip


def _paths(site: Site) -> str:
    body = {"messages": _message("Say yes."), "max_tokens": 32}
    named = {**body, "model": site.model}
    paths = {
        f"/serving-endpoints/{site.model}/invocations": body,
        "/serving-endpoints/chat/completions": named,
        "/ai-gateway/mlflow/v1/chat/completions": named,
    }
    for path, asked in paths.items():
        if (status := site.post(path, asked).status_code) != 200:
            raise StepError(f"{path} answers {status}")
    first = next(iter(paths))
    if (status := site.post(first, body, "Bearer expired").status_code) != 401:
        raise StepError(f"a wrong token gets {status} instead of 401")
    return "three times 200; 401 for a wrong token"


def _stream(site: Site) -> str:
    inputs = {"model": site.model, "spend_token": site.token}
    body = {"messages": _message("Say yes."), "max_tokens": 32, "stream": True}
    path = f"/serving-endpoints/{site.names.endpoint}/invocations"
    answer = site.post(path, {**body, "custom_inputs": inputs})
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    chunks = [json_object(json.loads(line)) for line in lines if line.startswith("{")]
    spends = [json_object(one["spend"]) for one in chunks if one.get("spend")]
    if answer.status_code != 200 or not spends:
        raise StepError(f"status {answer.status_code}, {len(chunks)} chunks, none with spend")
    site.spent_usd += Decimal(str(spends[-1].get("cost_usd", "0")))
    ended = "then [DONE]" if lines[-1] == "[DONE]" else "without [DONE]"
    return f"{len(chunks)} chunks, the last with spend, {ended}"


def _bypass(site: Site) -> str:
    grants = site.client.grants.get("schema", "system.ai").privilege_assignments or []
    open_to = sorted(
        str(one.principal)
        for one in grants
        if {str(p.value) for p in one.privileges or []} & {"EXECUTE", "ALL_PRIVILEGES"}
        and one.principal != site.names.service_principal
    )
    if open_to:
        raise StepError(f"{', '.join(open_to)} may call models past the gate; docs/deploy.md")
    return "only the service principal may call system.ai"


_NOTHING = Decimal(0)

STEPS: tuple[Step, ...] = (
    Step(1, "the OpenAI client's path", "a completion with spend", Decimal("0.01"), _completion),
    Step(2, "a refusal", "4xx, budget_exhausted, no prompt in it", _NOTHING, _refusal),
    Step(3, "unlisted fields", "dropped; extra_body arrives", Decimal("0.02"), _fields),
    Step(4, "Claude's cached tokens", "within prompt_tokens", Decimal("0.02"), _cache),
    Step(5, "system.serving.endpoint_usage", "one row per attempt", _NOTHING, _usage_rows),
    Step(6, "hidden templates", "at most 136 tokens for a letter", Decimal("0.01"), _templates),
    Step(7, "Lakebase", "a token opens it, a commit is short", _NOTHING, _lakebase),
    Step(8, "on behalf of the user", "user_id is the caller's", _NOTHING, _by_hand("two users")),
    Step(9, "the app's user header", "the real user pays", _NOTHING, _by_hand("the app")),
    Step(10, "three paths to a model", "200 each, 401 for a wrong token", Decimal("0.03"), _paths),
    Step(13, "a stream", "chunks, the last with spend", Decimal("0.01"), _stream),
    Step(14, "the bypass is closed", "nobody else may call system.ai", _NOTHING, _bypass),
)
