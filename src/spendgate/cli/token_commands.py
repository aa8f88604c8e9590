"""`spendgate token mint|show`: spend tokens, which vouch for who pays."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from spendgate.bootstrap import utc_now
from spendgate.cli.console import print_json, print_records, say
from spendgate.cli.options import Json, Tags, parse_pairs, settings_from
from spendgate.config import Settings
from spendgate.errors import TokenError

FAILED = 1


def make_group() -> typer.Typer:
    """Return the group of commands on tokens."""
    group = typer.Typer(help="Mint and inspect spend tokens.", no_args_is_help=True)
    group.command("mint")(mint)
    group.command("show")(show)
    return group


def mint(
    ttl: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="How long it is valid.")],
    org: Annotated[str | None, typer.Option()] = None,
    team: Annotated[str | None, typer.Option()] = None,
    agent: Annotated[str | None, typer.Option()] = None,
    user: Annotated[str | None, typer.Option()] = None,
    session: Annotated[str | None, typer.Option()] = None,
    task: Annotated[str | None, typer.Option()] = None,
    tag: Tags = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model it may use; repeatable; default all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Mint a spend token, signed with SPENDGATE_SIGNING_KEY."""
    from spendgate.adapters.spend_token import mint_token  # noqa: PLC0415 - slow to load

    key = _signing_key(settings_from(None))
    if key is None:
        raise TokenError(
            "there is no key to sign with; set SPENDGATE_SIGNING_KEY, as on the server"
        )
    given = {
        "org": org,
        "team": team,
        "agent": agent,
        "user": user,
        "session": session,
        "task": task,
    }
    now = utc_now().replace(microsecond=0)
    token = mint_token(
        key,
        {name: value for name, value in given.items() if value is not None},
        tags=parse_pairs(tag, "--tag"),
        models=model or None,
        ttl_seconds=ttl,
        now=now,
    )
    if as_json:
        ends = now + timedelta(seconds=ttl)
        print_json({"spend_token": token, "expires_at": ends.isoformat().replace("+00:00", "Z")})
    else:
        say(token)


def show(
    token: Annotated[str, typer.Argument(help="The token, or - to read it from stdin.")],
    as_json: Json = False,
) -> None:
    """Show what a token says and whether our key vouches for it; exits 1 if it doesn't."""
    from spendgate.adapters.spend_token import describe_token  # noqa: PLC0415 - slow to load

    key = _signing_key(settings_from(None))
    text = sys.stdin.read().strip() if token == "-" else token  # noqa: S105 - a dash is no secret
    described = describe_token(text, key)
    if as_json:
        print_json(described)
    else:
        shown = {name: _readable(name, value) for name, value in described.items()}
        print_records([{"field": name, "value": value} for name, value in shown.items()])
    if key is not None and not described["verified"]:
        raise typer.Exit(FAILED)


def _signing_key(settings: Settings) -> str | None:
    key = settings.signing_key
    text = None if key is None else key.get_secret_value()
    return text if text and text.strip() else None


def _readable(name: str, value: object) -> object:
    if name in {"iat", "exp"} and isinstance(value, int):
        return f"{value} ({datetime.fromtimestamp(value, UTC).isoformat()})"
    return value
