"""One run of `verify`: the deployment opened, the steps in their order, the report."""

import base64
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import httpx
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound

from spendgate import __version__
from spendgate.adapters.budget_codec import parse_budget
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.adapters.workspace import SDK_ERRORS, sdk_reason, workspace_client
from spendgate.adapters.workspace_secrets import SIGNING_KEY
from spendgate.bootstrap import build_minter, new_request_id, open_ledger, utc_now
from spendgate.cli.console import note
from spendgate.cli.options import settings_from
from spendgate.cli.verify_steps import CALL_SECONDS, NotNowError, Site, Status, Step, StepError
from spendgate.cli.workspace_names import Choices, Deployment, deployment_of
from spendgate.config import Settings
from spendgate.errors import HostError, SpendgateError
from spendgate.gateway.ports import TokenClaims

_AGENT = "spendgate-verify"
_TOKEN_LIFE = timedelta(hours=1)
_ALMOST_NOTHING = "0.000000001"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended, and what it cost."""

    step: Step
    status: Status
    answer: str
    cost_usd: Decimal


def report_text(outcomes: Sequence[Outcome], names: Deployment, at: datetime) -> str:
    """Write the report to keep."""
    lines = [
        f"# Verified on a workspace, {at:%Y-%m-%d}",
        f"By `spendgate verify --workspace` {__version__}, target {names.target}, {at:%H:%M} UTC.",
        "",
        "| # | what | expected | answer | status | USD |",
        "|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        cells = (one.step.name, one.step.expected, one.answer, one.status, one.cost_usd)
        told = " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        lines.append(f"| {one.step.number} | {told} |")
    total = sum((one.cost_usd for one in outcomes), Decimal(0))
    ceiling = sum((one.step.ceiling_usd for one in outcomes), Decimal(0))
    lines += ["", f"Paid: {total} USD of {ceiling} at most."]
    return "\n".join(lines) + "\n"


def run_step(step: Step, site: Site) -> Outcome:
    """Run one step; whatever it raises is how it ended."""
    before = site.spent_usd
    try:
        status, answer = Status.VERIFIED, step.run(site)
    except NotNowError as error:
        status, answer = error.status, str(error)
    except StepError as error:
        status, answer = Status.FAILED, str(error)
    except (*SDK_ERRORS, httpx.HTTPError) as error:
        status, answer = Status.FAILED, sdk_reason(error)
    return Outcome(step, status, answer, site.spent_usd - before)


@contextmanager
def opened_site(
    choices: Choices, ceiling: Decimal, model: str, caching_model: str
) -> Generator[Site]:
    """Sign in, open the ledger, and make budgets that bound what the steps may spend."""
    try:
        client = workspace_client(CALL_SECONDS / 10)
        me = client.current_user.me()
        names = deployment_of(choices, me.user_name or "", me.id or "")
        secret = _signing_key(client, names)
    except SDK_ERRORS as error:
        raise HostError(
            f"the workspace: {sdk_reason(error)}; `spendgate doctor --workspace` says more"
        ) from None
    key = base64.b64decode(secret or "").decode()
    minter = build_minter(Settings.model_validate({"signing_key": key, "signing_keys": None}))
    if minter is None:
        raise HostError(f"{names.secret_scope}/{SIGNING_KEY} can't sign")
    run_id = new_request_id()

    def token(task: str) -> str:
        scopes = {"agent": _AGENT, "task": f"{run_id}-{task}"}
        claims = TokenClaims(scopes, {}, None, expires_at=utc_now() + _TOKEN_LIFE)
        return minter.mint(claims, utc_now())[0]

    with ExitStack() as stack:
        ledger = _ledger(names, stack)
        if ledger is not None:
            stack.callback(_limited(ledger, run_id, ceiling))
        yield Site(client, names, ledger, token("rich"), token("poor"), model, caching_model)


def _signing_key(client: WorkspaceClient, names: Deployment) -> str | None:
    try:
        return client.secrets.get_secret(names.secret_scope, SIGNING_KEY).value
    except NotFound:
        raise HostError(
            f"there is no secret {names.secret_scope}/{SIGNING_KEY}, so target {names.target} "
            f"isn't deployed; {names.deploy} makes it"
        ) from None


def _ledger(names: Deployment, stack: ExitStack) -> StoredLedger | None:
    url = names.ledger_url
    if url.startswith("lakebase://") and "user=" not in url:
        url += f"?user={names.user}"
    try:
        ledger = open_ledger(settings_from(None, url))
    except SpendgateError as error:
        note(f"without the ledger: {error}")
        return None
    stack.callback(ledger.close)
    return ledger


def _limited(ledger: StoredLedger, run_id: str, ceiling: Decimal) -> Callable[[], None]:
    """Make the run's budgets; return what removes them."""
    limits = {f"{run_id}-rich": str(ceiling), f"{run_id}-poor": _ALMOST_NOTHING}
    budgets = [
        parse_budget(
            {"id": f"verify-{task}", "scope": {"task": task}, "limit_usd": limit, "fit": False},
            where="verify",
        )
        for task, limit in limits.items()
    ]
    ledger.policies.put_budgets(budgets)

    def remove() -> None:
        for one in budgets:
            ledger.policies.remove_budget(one.budget_id)

    return remove
