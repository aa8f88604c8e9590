"""`spendgate budget explain`: what would happen to a call, and why."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, cast

import typer

from spendgate.adapters.plain_data import as_mapping
from spendgate.bootstrap import build_gateway, build_minter, utc_now
from spendgate.cli.console import print_json, print_records, say
from spendgate.cli.options import (
    Home,
    Json,
    Ledger,
    Tags,
    opened_ledger,
    parse_pairs,
    settings_from,
)
from spendgate.errors import InvalidRequestError
from spendgate.gateway.explanation import vouched
from spendgate.gateway.ports import UpstreamNotSent, UpstreamOutcome
from spendgate.gateway.wire import CHAT, EMBEDDINGS

AMOUNTS = (
    *("limit_usd", "carried_usd", "spent_usd", "held_usd", "remaining_usd"),
    *("worst_case_usd", "expected_usd"),
)


def add_to(group: typer.Typer) -> None:
    """Add the command to the group of budgets."""
    group.command("explain")(explain)


def explain(
    body: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The request's JSON, - for stdin; default a short chat."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="In place of the body's model.")] = None,
    org: Annotated[str | None, typer.Option()] = None,
    team: Annotated[str | None, typer.Option()] = None,
    agent: Annotated[str | None, typer.Option()] = None,
    user: Annotated[str | None, typer.Option()] = None,
    session: Annotated[str | None, typer.Option()] = None,
    task: Annotated[str | None, typer.Option()] = None,
    tag: Tags = None,
    embeddings: Annotated[bool, typer.Option(help="The body is an embeddings request.")] = False,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Say which budgets cover a call, how they stand, and what would be decided; moves nothing."""
    given = {
        "org": org,
        "team": team,
        "agent": agent,
        "user": user,
        "session": session,
        "task": task,
    }
    scopes = {name: value for name, value in given.items() if value is not None}
    request = _read(body) if body is not None else _short_chat()
    own = as_mapping(request.get("custom_inputs", {})) or {}
    settings = settings_from(home, ledger)
    tags = parse_pairs(tag, "--tag")
    own |= scopes
    if tags:
        own["tags"] = (as_mapping(own.get("tags")) or {}) | tags
    own = vouched(own, build_minter(settings) if scopes else None, utc_now())
    if model is not None:
        own["model"] = model
    if own.get("model") is None and request.get("model") is None:
        raise InvalidRequestError("no model is named; give --model, or model in the --body")
    request["custom_inputs"] = own
    with opened_ledger(settings) as opened:
        server = _HostsOwn() if settings.upstream_url is None else None
        gateway = build_gateway(settings, opened, upstream=server)
        explained = gateway.explain(EMBEDDINGS if embeddings else CHAT, request)
    if as_json:
        print_json(explained)
    else:
        _print(explained)


class _HostsOwn:
    """Stands for the model server that a host is given: explaining calls nobody."""

    name = "(host's own)"

    def call(self, route: str, body: Mapping[str, object]) -> UpstreamOutcome:
        """Say that there is nothing to call."""
        del route, body
        return UpstreamNotSent("an explanation calls nobody")

    stream = call


def _read(source: str) -> dict[str, object]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        read = as_mapping(json.loads(text))
    except OSError as error:
        raise InvalidRequestError(f"{source}: can't be read: {error.strerror}") from None
    except ValueError:
        raise InvalidRequestError(f"{source}: is not JSON") from None
    if read is None:
        raise InvalidRequestError(f"{source}: must be a JSON object")
    return read


def _short_chat() -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "Say hello."}]}


def _print(explained: dict[str, object]) -> None:
    if explained["decision"] == "refuse":
        model = explained["suggested_model"]
        way_out = f"; {model} would fit" if model else ""
        say(
            f"refused ({explained['code']}): budget {explained['budget_id']!r} can't hold "
            f"{explained['needed_usd']} USD for {explained['needed_for_model']}{way_out}"
        )
    else:
        say(
            f"{explained['decision']}: {explained['model_served']} with up to "
            f"{explained['max_tokens_granted']} output tokens, holding "
            f"{explained['would_hold_usd']} USD"
        )
    for name in ("budgets", "candidates"):
        records = cast(list[dict[str, object]], explained[name])
        print_records(records, numbers=AMOUNTS)
