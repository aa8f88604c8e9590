"""`spendgate token mint|narrow|show|revoke`: spend tokens, which vouch for who pays."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from spendgate.bootstrap import build_minter, build_verifier, utc_now
from spendgate.cli.budget_commands import SEEN_AT_ONCE
from spendgate.cli.console import print_json, print_records, print_table, say
from spendgate.cli.options import (
    Home,
    Json,
    Ledger,
    Tags,
    has_ledger,
    opened_ledger,
    parse_pairs,
    parse_rule_scope,
    settings_from,
    system_user,
)
from spendgate.config import Settings
from spendgate.domain.revocation import Revocation
from spendgate.domain.scope import Scope, ScopeError
from spendgate.errors import ForbiddenError, TokenError
from spendgate.gateway.identity import check_revoked
from spendgate.gateway.narrowing import TTL_SECONDS_MAX, Wish, narrowed
from spendgate.gateway.ports import TokenClaims, TokenMinter

FAILED = 1

Ttl = typer.Option(
    min=1, max=TTL_SECONDS_MAX, metavar="SECONDS", help="How long it is valid: ten years at most."
)
Models = Annotated[
    list[str] | None, typer.Option("--model", help="A model it may use; repeatable; default all.")
]
TokenText = Annotated[str, typer.Argument(help="The token, or - to read it from stdin.")]
Part = Annotated[str | None, typer.Option()]


def make_group() -> typer.Typer:
    """Return the group of commands on tokens."""
    group = typer.Typer(help="Mint, narrow, inspect and revoke tokens.", no_args_is_help=True)
    group.command("mint")(mint)
    group.command("narrow")(narrow)
    group.command("show")(show)
    group.command("revoke")(revoke)
    return group


def mint(
    ttl: Annotated[int, Ttl],
    org: Part = None,
    team: Part = None,
    agent: Part = None,
    user: Part = None,
    session: Part = None,
    task: Part = None,
    tag: Tags = None,
    model: Models = None,
    as_json: Json = False,
) -> None:
    """Mint a spend token, signed with SPENDGATE_SIGNING_KEY or the first of _KEYS."""
    given = _scopes(org=org, team=team, agent=agent, user=user, session=session, task=task)
    now = _now()
    claims = TokenClaims(
        given,
        parse_pairs(tag, "--tag"),
        tuple(model) if model else None,
        expires_at=now + timedelta(seconds=ttl),
    )
    _print_minted(*_minter(settings_from(None)).mint(claims, now), as_json=as_json)


def narrow(
    token: TokenText,
    ttl: Annotated[int | None, Ttl] = None,
    org: Part = None,
    team: Part = None,
    agent: Part = None,
    user: Part = None,
    session: Part = None,
    task: Part = None,
    tag: Tags = None,
    model: Models = None,
    as_json: Json = False,
) -> None:
    """Mint a narrower token from one: it carries all of that, may name more and allow less.

    It ends with its parent at the latest, and with its revocation.
    """
    settings = settings_from(None)
    minter, verifier = _minter(settings), build_verifier(settings)
    assert verifier is not None  # noqa: S101 - who can mint has a key
    now = _now()
    wish = Wish(
        _scopes(org=org, team=team, agent=agent, user=user, session=session, task=task),
        parse_pairs(tag, "--tag"),
        tuple(model) if model else None,
        ttl,
    )
    try:
        claims = narrowed(verifier.verify(_read(token)), wish, now, is_vouched=True)
    except ForbiddenError as error:
        # The API's list of models is a flag that is repeated.
        flag = "model" if (error.field or "").startswith("models[") else error.field
        place = f"--{flag}: " if flag else ""
        raise TokenError(f"{place}{error}") from None
    _print_minted(*minter.mint(claims, now), as_json=as_json)


def show(
    token: TokenText,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Show what a token says and whether our keys vouch for it; exits 1 if they don't.

    Where there is a ledger, it is asked whether the token was revoked.
    """
    from spendgate.adapters.signing_keys import read_signing_keys  # noqa: PLC0415 - slow to load
    from spendgate.adapters.spend_token import TokenNames, describe_token  # noqa: PLC0415

    settings = settings_from(home, ledger)
    keys = read_signing_keys(settings)
    text = _read(token)
    names = TokenNames(settings.token_audience, settings.token_issuer)
    described = describe_token(text, keys, names)
    if described["verified"] and has_ledger(settings):
        described |= _revoked(settings, text)
    if as_json:
        print_json(described)
    else:
        shown = {name: _readable(name, value) for name, value in described.items()}
        print_records([{"field": name, "value": value} for name, value in shown.items()])
    if keys is not None and not described["verified"]:
        raise typer.Exit(FAILED)


def revoke(
    token: Annotated[
        str | None,
        typer.Argument(
            help="A token's id (its jti), the token itself, or - to read that from stdin; "
            "without one and without --scope, what is revoked is listed."
        ),
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="Revoke all tokens so far of a scope, such as user:alice.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; shown to operators.")] = "by an operator",
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Refuse a token, and all that were narrowed from it, from now on, on every host."""
    settings = settings_from(home, ledger)
    if token is None and scope is None:
        _list_revoked(settings, as_json=as_json)
        return
    if token is not None and scope is not None:
        raise typer.BadParameter("give a token or --scope, not both", param_hint="--scope")
    now = utc_now()
    if scope is not None:
        revocation = Revocation(parse_rule_scope(scope, "--scope"), reason, now)
    else:
        revocation = _revocation(_read(token or ""), reason, now)
    with opened_ledger(settings, may_create=True) as opened:
        opened.policies.by(system_user()).revoke(revocation)
    minted = ", minted until now," if isinstance(revocation.subject, Scope) else ""
    say(f"{revocation.text}{minted} is revoked ({reason}); {SEEN_AT_ONCE}")


def _revocation(text: str, reason: str, now: datetime) -> Revocation:
    """Name the token by its id; a token itself also tells when the revocation is over."""
    try:
        if "." not in text:
            return Revocation.of_token(text, reason, now)
        from spendgate.adapters.spend_token import describe_token  # noqa: PLC0415 - slow to load

        described = describe_token(text, None)
        ends = described.get("exp")
        # Unverified: whoever may revoke may also be wrong about when the token would have ended.
        expires_at = datetime.fromtimestamp(ends, UTC) if isinstance(ends, int) else None
        return Revocation.of_token(str(described.get("jti", "")), reason, now, expires_at)
    except ScopeError as error:
        raise TokenError(str(error)) from None


def _list_revoked(settings: Settings, *, as_json: bool) -> None:
    with opened_ledger(settings) as opened:
        revoked = opened.policies.revocations()
    columns = ("subject", "reason", "revoked_at", "expires_at")
    rows = [
        (
            one.text,
            one.reason,
            one.revoked_at.isoformat(),
            None if one.expires_at is None else one.expires_at.isoformat(),
        )
        for one in revoked
    ]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def _revoked(settings: Settings, token: str) -> dict[str, object]:
    """Say whether the ledger has a token revoked."""
    verifier = build_verifier(settings)
    assert verifier is not None  # noqa: S101 - it has just vouched for this token
    with opened_ledger(settings) as opened:
        policy = opened.policies.policy()
    try:
        check_revoked(verifier.verify(token), policy)
    except TokenError as error:
        return {"verified": False, "problem": str(error)}
    return {}


def _minter(settings: Settings) -> TokenMinter:
    minter = build_minter(settings)
    if minter is None:
        raise TokenError(
            "there is no key to sign with; set SPENDGATE_SIGNING_KEY, as on the server"
        )
    return minter


def _scopes(**given: str | None) -> dict[str, str]:
    return {name: value for name, value in given.items() if value is not None}


def _print_minted(token: str, claims: TokenClaims, *, as_json: bool) -> None:
    if not as_json:
        say(token)
        return
    assert claims.expires_at is not None  # noqa: S101 - no token is minted without
    ends = claims.expires_at.isoformat().replace("+00:00", "Z")
    print_json({"spend_token": token, "expires_at": ends, "token_id": claims.token_ids[-1]})


def _read(token: str) -> str:
    return sys.stdin.read().strip() if token == "-" else token  # noqa: S105 - a dash is no secret


def _now() -> datetime:
    return utc_now().replace(microsecond=0)


def _readable(name: str, value: object) -> object:
    if name in {"iat", "exp", "root_iat"} and isinstance(value, int):
        return f"{value} ({datetime.fromtimestamp(value, UTC).isoformat()})"
    return value
