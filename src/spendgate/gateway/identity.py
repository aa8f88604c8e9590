"""Who pays: spend token and platform first, then what the body says, as far as it is believed."""

from collections.abc import Mapping
from typing import Protocol

from spendgate.domain.budget import Budget, Policy
from spendgate.domain.scope import PRINCIPAL, TAG_PREFIX, Dimension, Identity
from spendgate.errors import CallerError, ForbiddenError, TokenError
from spendgate.gateway.ports import NO_CLAIMS, TokenClaims, TokenVerifier
from spendgate.gateway.value_object import value_object

ANONYMOUS = "anonymous"


class Said(Protocol):
    """What a request says of who pays for it."""

    @property
    def asserted(self) -> Mapping[str, str]:
        """Values per dimension."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """Free tags."""
        ...

    @property
    def spend_token(self) -> str | None:
        """A token that is marked as one."""
        ...


@value_object
class Caller:
    """An identity, the token that speaks for it, and which dimensions mustn't just be asserted."""

    identity: Identity
    claims: TokenClaims = NO_CLAIMS
    asserted: frozenset[str] = frozenset()
    must_be_vouched: frozenset[str] = frozenset()

    @property
    def models(self) -> tuple[str, ...] | None:
        """What the token allows it to call; None allows every model."""
        return self.claims.models


def identify(
    call: Said,
    bearer: str | None,
    verifier: TokenVerifier | None,
    vouched: Mapping[str, str] | None = None,
) -> Caller:
    """Resolve who says to pay for a call; whether that is believed is for `check_trust`.

    A bearer counts as a spend token only when a key is configured, because every OpenAI client
    sends one, and never where the platform says who calls, because there it is the platform's own.
    Tags alone name nobody: such a call is anonymous too.

    Args:
        call: the request, or what it says of its caller.
        bearer: what `Authorization` carries.
        verifier: checks spend tokens; None where no key is configured.
        vouched: what the platform says about the caller, nothing if it doesn't know; None where it
            isn't asked.

    Raises:
        TokenError: if a token is needed and missing, or is no good one.
        CallerError: if the platform should say who calls and doesn't.
        ForbiddenError: if body, token and platform contradict each other.
    """
    claims = _claims(call, bearer, verifier, vouched)
    platform = vouched or {}
    for name, value in platform.items():
        if claims.scopes.get(name, value) != value:
            message = f"the spend token is for another {name} than the one who calls"
            raise ForbiddenError("scope_forbidden", message, "spend_token")
    proven = {**claims.scopes, **platform}
    for name, value in proven.items():
        if call.asserted.get(name, value) != value:
            source = "caller is" if name in platform else "token is for"
            message = f"the {source} another {name}"
            raise ForbiddenError("scope_forbidden", message, f"custom_inputs.{name}")
    for name, value in claims.tags.items():
        if call.tags.get(name, value) != value:
            message = "the token has this tag with another value"
            raise ForbiddenError("scope_forbidden", message, f"custom_inputs.tags.{name}")
    values = {**call.asserted, **proven} or {Dimension.USER.value: ANONYMOUS}
    tags = {**call.tags, **claims.tags}
    # What a token's bearer added when it narrowed the token binds, but nobody vouches for it.
    carried = frozenset(claims.scopes) | {f"{TAG_PREFIX}{name}" for name in claims.tags}
    trusted = (carried - claims.asserted) | frozenset(platform)
    said = frozenset(call.asserted) | claims.asserted | {f"{TAG_PREFIX}{name}" for name in tags}
    return Caller(
        Identity(values, tags, trusted), claims, said - trusted, _must_be_vouched(verifier, vouched)
    )


def check_trust(caller: Caller, policy: Policy) -> None:
    """Refuse a value that is only asserted where somebody must vouch for it.

    What a token or the platform says is trusted. Of the rest, org, team, agent and user are
    accepted only if no key is configured, or if every matching budget on that dimension says
    `asserted`; where only the platform vouches, that goes for user alone.

    Raises:
        ForbiddenError: naming the dimension.
    """
    names, must = caller.asserted, caller.must_be_vouched
    if not names:
        return
    # Only a budget with a word on trust, or any at all where somebody vouches, can object.
    objecting = policy.budgets if must else [one for one in policy.budgets if one.trust]
    if not objecting and not must:
        return
    scoped: dict[str, list[Budget]] = {name: [] for name in sorted(names)}
    for budget in objecting:
        if budget.scope.match(caller.identity) is not None:
            for name in names.intersection(budget.scope.dimensions):
                scoped[name].append(budget)
    for name, budgets in scoped.items():
        if not budgets and name not in must:
            continue
        if not budgets or any(not _accepts_asserted(one, name, must) for one in budgets):
            raise ForbiddenError(
                "scope_forbidden",
                f"{name} is only asserted; a spend token must carry it",
                f"custom_inputs.{name}",
            )


def check_revoked(claims: TokenClaims, policy: Policy) -> None:
    """Refuse a spend token that was revoked, or that was narrowed from one.

    Raises:
        TokenError: if it was.
    """
    if claims is NO_CLAIMS:
        return
    vouched = Identity(claims.scopes, claims.tags)
    if policy.revoked.cover(claims.token_ids, claims.minted_at, vouched):
        raise TokenError("the spend token was revoked; ask for a new one")


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """Return what `Authorization: Bearer` carries."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _claims(
    call: Said,
    bearer: str | None,
    verifier: TokenVerifier | None,
    vouched: Mapping[str, str] | None,
) -> TokenClaims:
    token = call.spend_token
    if token is None and verifier is not None and vouched is None:
        token = bearer
    if token is not None:
        if verifier is None:
            raise TokenError("a spend token was sent, but this gate has no signing key to check it")
        return verifier.verify(token)
    if vouched:
        return NO_CLAIMS
    if verifier is not None:
        header = "X-Spend-Token" if vouched is not None else "the API key"
        places = f"custom_inputs.spend_token, or on the ASGI host {header}"
        raise TokenError(f"a spend token is required: {places}")
    if vouched is not None:
        raise CallerError("the platform doesn't say who calls, and this gate believes nobody else")
    return NO_CLAIMS


def _must_be_vouched(
    verifier: TokenVerifier | None, vouched: Mapping[str, str] | None
) -> frozenset[str]:
    if verifier is not None:
        return frozenset(PRINCIPAL)
    return frozenset() if vouched is None else frozenset({Dimension.USER.value})


def _accepts_asserted(budget: Budget, name: str, must: frozenset[str]) -> bool:
    said = budget.trust.get(name)
    return name not in must if said is None else said == "asserted"
