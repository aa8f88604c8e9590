"""The checks of `doctor`: each answers ok, warn or fail, and the way out. They change nothing."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from spendgate.adapters.policy_notes import expired
from spendgate.adapters.policy_source import load_policy, unpriced_steps
from spendgate.adapters.stored_deliveries import DEAD
from spendgate.adapters.stored_exposure import Exposure
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.adapters.tokenizer_checks import uncounted, unusable
from spendgate.adapters.unheld_folder import UnheldFolder
from spendgate.bootstrap import (
    hosts_deliver,
    open_price_book,
    refuse_forgetting,
    shown_ledger,
    utc_now,
)
from spendgate.cli.options import opened_ledger
from spendgate.config import Settings
from spendgate.domain.budget import CUT
from spendgate.domain.money import format_usd
from spendgate.domain.upstream import WORKSPACE, UpstreamKind, UpstreamSpec
from spendgate.errors import HostError, PolicyError, SpendgateError
from spendgate.web.environment import misspelt_settings, variable_of

JAVA_MIN = 17
"""Spark 4 runs on Java 17 and 21."""
OUTBOX_SECONDS_WARN = 60
OUTBOX_SECONDS_FAIL = 3600
DEAD_LETTERS_SHOWN = 5
SWEEP_SECONDS_WARN = 120
"""Hosts sweep every few seconds; what is later than this has nobody to end it."""
_JAVA_SECONDS = 10
_JAVA_VERSION = re.compile(r'version "(\d+)')


class Status(StrEnum):
    """How a check ended; `warn` is something that not everybody needs."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One answer of the doctor."""

    name: str
    status: Status
    detail: str
    way_out: str = ""
    figures: Mapping[str, int | float | str | None] = field(
        default_factory=dict[str, "int | float | str | None"]
    )
    """What the detail says, for machines; names end in their unit."""


def run_checks(settings: Settings) -> list[Check]:
    """Run all checks; one that fails doesn't stop the others."""
    machine = [_python(), _java(), _home(settings), _signing_key(settings), *_misspelt_settings()]
    records = [*_policy_file(settings), *_ledger_checks(settings), _tables(settings)]
    names_servers = any(one.figures.get("model_servers") for one in records)
    return [*machine, _upstream(settings, names_servers=names_servers), *records]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(
        "python", Status.OK, f"{version}, spendgate {importlib.metadata.version('spendgate')}"
    )


def _java() -> Check:
    way_out = f"jobs need Java {JAVA_MIN} or newer and the [jobs] extra; calls don't"
    if importlib.util.find_spec("pyspark") is None:
        return Check("java", Status.WARN, "pyspark isn't installed", way_out)
    java = shutil.which("java")
    if java is None:
        detail = "no java on the PATH; unless JAVA_HOME names one, jobs can't run"
        return Check("java", Status.WARN, detail, way_out)
    try:
        answer = subprocess.run(  # noqa: S603 - the program found above, no user input
            [java, "-version"], capture_output=True, text=True, timeout=_JAVA_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return Check("java", Status.WARN, f"{java} doesn't answer", way_out)
    version = _JAVA_VERSION.search(answer.stderr)
    if version is None or int(version[1]) < JAVA_MIN:
        return Check("java", Status.WARN, f"{java} is {version[1] if version else '?'}", way_out)
    return Check("java", Status.OK, f"{java} is {version[1]}")


def _home(settings: Settings) -> Check:
    home = settings.home.absolute()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check(
            "home", Status.FAIL, f"{existing} isn't writable", "choose another with --home"
        )
    if existing != home:
        return Check("home", Status.WARN, f"{home} doesn't exist", "made at the first start")
    return Check("home", Status.OK, str(home))


def _misspelt_settings() -> list[Check]:
    return [
        Check("settings", Status.WARN, f"{name} is no setting and isn't read", f"use {meant}")
        for name, meant in misspelt_settings().items()
    ]


def _signing_key(settings: Settings) -> Check:
    if settings.signing_key is None and settings.signing_keys is None:
        way_out = "set SPENDGATE_SIGNING_KEY so that callers must prove who they are"
        return Check("signing key", Status.WARN, "callers say themselves who pays", way_out)
    from spendgate.adapters.signing_keys import (  # noqa: PLC0415 - slow to load
        KEY_BYTES_MIN,
        read_signing_keys,
    )

    way_out = f"use at least {KEY_BYTES_MIN} random bytes"
    try:
        keys = read_signing_keys(settings)
    except HostError as error:
        return Check("signing key", Status.FAIL, f"{error}; no host starts", way_out)
    assert keys is not None  # noqa: S101 - one is set
    if any(one.is_short for one in keys.keys):
        return Check("signing key", Status.WARN, f"is shorter than {KEY_BYTES_MIN} bytes", way_out)
    signs = "signs and verifies" if keys.can_sign else "verifies only"
    kinds = ", ".join(f"{one.key_id or 'without id'} {one.algorithm}" for one in keys.keys)
    return Check("signing key", Status.OK, f"{signs}: {kinds}")


def _upstream(settings: Settings, *, names_servers: bool) -> Check:
    url = settings.upstream_url
    if url is None and names_servers:
        return Check("upstream", Status.OK, "none of its own; the policy names model servers")
    if url is None:
        way_out = "give --upstream to a host, or set SPENDGATE_UPSTREAM_URL"
        detail = "no model server, and the policy names none"
        return Check("upstream", Status.WARN, detail, way_out)
    if url == WORKSPACE:
        from spendgate.cli.upstream_check import check_server  # noqa: PLC0415 - slow to load

        spec = UpstreamSpec(WORKSPACE, kind=UpstreamKind.DATABRICKS)
        is_reached, detail = check_server(spec, settings)
        status = Status.OK if is_reached else Status.FAIL
        way_out = "" if is_reached else "set DATABRICKS_HOST and credentials, or a profile"
        return Check("upstream", status, detail, way_out)
    import httpx  # noqa: PLC0415 - slow to load

    key = settings.upstream_api_key
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    base = url.rstrip("/").removesuffix("/v1")
    try:
        status = httpx.get(
            f"{base}/v1/models", headers=headers, timeout=settings.connect_timeout_seconds
        ).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        way_out = f"check --upstream or {variable_of('upstream_url')}, and the network"
        return Check("upstream", Status.FAIL, f"{base}: {type(error).__name__}", way_out)
    if status in {401, 403}:
        way_out = f"check {variable_of('upstream_api_key')}"
        return Check("upstream", Status.FAIL, f"{base} answers {status}", way_out)
    # Any other answer will do: not every server has /v1/models.
    return Check("upstream", Status.OK, f"{base} answers")


def _policy_file(settings: Settings) -> list[Check]:
    file = settings.budgets_file
    if file is None:
        return []
    now = utc_now()
    try:
        policy = load_policy(file, book=None, at=now)
    except PolicyError as error:
        return [Check("policy file", Status.FAIL, str(error), "correct the file")]
    figures = {"model_servers": len(policy.upstreams)}
    detail = f"{file.name}: {len(policy.budgets)} budgets"
    if (said := expired(policy, now)) is not None:
        return [Check("policy file", Status.WARN, f"{detail}; {said}", figures=figures)]
    return [Check("policy file", Status.OK, detail, figures=figures)]


def _ledger_checks(settings: Settings) -> list[Check]:
    found: list[Check] = []
    try:
        with opened_ledger(settings) as ledger:
            refuse_forgetting(settings, ledger)
            milliseconds = ledger.commit_seconds() * 1000
            detail = (
                f"{shown_ledger(settings)}, policy version {ledger.policies.version()}, "
                f"a commit takes {milliseconds:.1f} ms"
            )
            exposure = ledger.exposure(utc_now())
            figures = {
                "commit_ms": round(milliseconds, 3),
                "policy_version": ledger.policies.version(),
                "model_servers": len(ledger.policies.policy().upstreams),
                "schema_version": exposure.schema_version,
                "journal_rows": exposure.journal_rows,
                "balances": exposure.balances,
            }
            found.append(Check("ledger", Status.OK, detail, figures=figures))
            found += [_policy(ledger), _prices(settings, ledger), _holds(exposure)]
            found.append(_outbox(settings, ledger))
            found += [*_unheld(settings), *_tokenizers(ledger), *_named_upstreams(settings, ledger)]
            found += _deliveries(ledger)
    except HostError as error:
        if settings.is_embedded:
            found.append(Check("ledger", Status.WARN, str(error), "made at the first start"))
        else:
            found.append(Check("ledger", Status.FAIL, str(error), "correct SPENDGATE_LEDGER_URL"))
    except SpendgateError as error:
        way_out = "check --home, --ledger and the disk or the server"
        found.append(Check("ledger", Status.FAIL, str(error), way_out))
    return found


def _named_upstreams(settings: Settings, ledger: StoredLedger) -> list[Check]:
    from spendgate.cli.upstream_check import check_server  # noqa: PLC0415 - slow to load

    found: list[Check] = []
    for spec in ledger.policies.policy().upstreams:
        is_reached, detail = check_server(spec, settings)
        status = Status.OK if is_reached else Status.FAIL
        way_out = "" if is_reached else "check url and key in the policy file, and the network"
        found.append(Check(f"upstream {spec.name}", status, detail, way_out))
    return found


def _policy(ledger: StoredLedger) -> Check:
    policy = ledger.policies.policy()
    detail = (
        f"{len(policy.budgets)} budgets, {len(policy.raises)} raises, {len(policy.paused)} paused"
    )
    if not policy.budgets:
        way_out = "`spendgate budget set` or `budget import`; until then calls are refused"
        return Check("policy", Status.WARN, detail, way_out)
    now = utc_now()
    cut = sorted(
        one.budget_id
        for one in policy.raises
        if one.source == CUT and (one.expires_at is None or now < one.expires_at)
    )
    if cut:
        way_out = "`spendgate adjust` what was spent unseen, then lift them with `budget raise`"
        return Check(
            "policy", Status.WARN, f"{detail}; cut by a restore: {', '.join(cut)}", way_out
        )
    if (said := expired(policy, now)) is not None:
        return Check("policy", Status.WARN, f"{detail}; {said}")
    return Check("policy", Status.OK, detail)


def _unheld(settings: Settings) -> list[Check]:
    """Tell of the calls of an outage that no ledger has yet; hosts book them within seconds."""
    count = UnheldFolder(settings.home).count()
    if not count:
        return []
    detail = f"{count} calls went out while the ledger was away and are not booked"
    way_out = "start a host with this home: it books them"
    return [Check("unheld calls", Status.WARN, detail, way_out, figures={"unheld_calls": count})]


def _tokenizers(ledger: StoredLedger) -> list[Check]:
    policy = ledger.policies.policy()
    broken = list(unusable(policy.models, "ledger"))
    if broken:
        way_out = "until then these models are bounded strictly on this machine"
        return [Check("tokenizers", Status.FAIL, "; ".join(broken), way_out)]
    if (said := uncounted(policy)) is not None:
        way_out = "give models.<model>.tokenizer: file:PATH in the policy file"
        return [Check("tokenizers", Status.WARN, said, way_out)]
    names = sorted(name for name, one in policy.models.items() if one.tokenizer is not None)
    return [Check("tokenizers", Status.OK, ", ".join(names))] if names else []


def _prices(settings: Settings, ledger: StoredLedger) -> Check:
    now = utc_now()
    policy = ledger.policies.policy()
    try:
        book = open_price_book(settings, ledger)
    except SpendgateError as error:
        return Check("prices", Status.FAIL, str(error), "correct the price row")
    problems = list(unpriced_steps(policy.budgets, book, now, "ledger"))
    problems += [
        f"model {name!r} has no price" for name in policy.models if not book.has(name, now)
    ]
    if problems:
        return Check("prices", Status.FAIL, "; ".join(problems), "`spendgate price set`")
    return Check("prices", Status.OK, f"{len(book.models())} models, book {book.version}")


def _holds(exposure: Exposure) -> Check:
    late = exposure.overdue_since
    overdue_s = 0 if late is None else round((utc_now() - late).total_seconds())
    figures = {
        "held_usd": format_usd(exposure.held_nano),
        "open_holds": exposure.open_holds,
        "overdue_holds": exposure.overdue_holds,
        "overdue_s": overdue_s,
    }
    detail = f"{format_usd(exposure.held_nano)} USD held by {exposure.open_holds} calls in flight"
    if overdue_s <= SWEEP_SECONDS_WARN:
        return Check("holds", Status.OK, detail, figures=figures)
    detail += f"; {exposure.overdue_holds} should have ended, the oldest {overdue_s} s ago"
    way_out = "start a host: its sweeper charges them in full; nothing is lost"
    return Check("holds", Status.WARN, detail, way_out, figures)


def _outbox(settings: Settings, ledger: StoredLedger) -> Check:
    state = ledger.outbox.state()
    counts = {
        "waiting_events": state.waiting_events,
        "waiting_decisions": state.waiting_decisions,
    }
    since = [at for at in (state.oldest_at, state.oldest_decision_at) if at is not None]
    if not since:
        figures = {**counts, "oldest_s": None}
        return Check("outbox", Status.OK, "everything is delivered", figures=figures)
    age = round((utc_now() - min(since)).total_seconds())
    figures = {**counts, "oldest_s": age}
    detail = (
        f"{state.waiting_events} events and {state.waiting_decisions} decisions wait, "
        f"the oldest for {age} s"
    )
    way_out = "run `spendgate job drain`, hosts don't deliver; nothing is lost"
    if hosts_deliver(settings):
        way_out = "start a host, or `spendgate job drain`; nothing is lost"
    if age > OUTBOX_SECONDS_FAIL:
        return Check("outbox", Status.FAIL, detail, way_out, figures)
    status = Status.WARN if age > OUTBOX_SECONDS_WARN else Status.OK
    return Check("outbox", status, detail, way_out, figures)


def _deliveries(ledger: StoredLedger) -> list[Check]:
    """Tell of alerts that wait for their notifiers, and of those that never reached them."""
    counts = ledger.deliveries.counts()
    waiting, dead = counts.get("waiting", 0), counts.get(DEAD, 0)
    if not waiting and not dead and not ledger.policies.policy().notifiers:
        return []
    figures = {"waiting_alerts": waiting, "dead_alerts": dead}
    if not dead:
        detail = f"{waiting} on their way" if waiting else "all are told"
        return [Check("alerts", Status.OK, detail, figures=figures)]
    letters = ledger.deliveries.dead_letters(DEAD_LETTERS_SHOWN)
    listed = "; ".join(f"{one.delivery_id}: {one.error}" for one in letters)
    detail = f"{waiting} on their way, {dead} never reached their notifier: {listed}"
    way_out = "mend the notifier; what they said stands in the table budget_alerts"
    return [Check("alerts", Status.WARN, detail, way_out, figures)]


def _tables(settings: Settings) -> Check:
    from spendgate.adapters.delta_query import table_names  # noqa: PLC0415 - slow to load

    names = table_names(settings.delta_folder)
    if not names:
        first = "flush of a host" if hosts_deliver(settings) else "`spendgate job drain`"
        way_out = f"made by the first {first}"
        return Check("delta tables", Status.WARN, f"none in {settings.delta_folder}", way_out)
    return Check("delta tables", Status.OK, ", ".join(names))
