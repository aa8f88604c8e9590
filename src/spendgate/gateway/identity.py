"""Who pays: spend token first, then what the body says, as far as the budgets accept it."""

from collections.abc import Mapping
from dataclasses import dataclass

from spendgate.domain.budget import Budget, Policy
from spendgate.domain.scope import TAG_PREFIX, Dimension, Identity
from spendgate.errors import ForbiddenError, TokenError
from spendgate.gateway.ports import TokenClaims, TokenVerifier
from spendgate.gateway.wire import Call

ANONYMOUS = "anonymous"
_TRUSTED_BY_DEFAULT = frozenset({Dimension.ORG, Dimension.TEAM, Dimension.AGENT, Dimension.USER})


@dataclass(frozen=True, slots=True)
class Caller:
    """An identity and what its token allows it to call; None allows every model."""

    identity: Identity
    models: tuple[str, ...] | None = None


def identify(call: Call, bearer: str | None, verifier: TokenVerifier | None) -> Caller:
    """Resolve who says to pay for a call; whether that is believed is for `check_trust`.

    A bearer counts as a spend token only when a key is configured, because every OpenAI client
    sends one. Tags alone name nobody: such a call is anonymous too.

    Raises:
        TokenError: if a token is needed and missing, or is no good one.
        ForbiddenError: if the body claims a value that the token doesn't cover.
    """
    claims = _claims(call, bearer, verifier)
    for name, value in claims.scopes.items():
        if call.asserted.get(name, value) != value:
            raise ForbiddenError(
                "scope_forbidden", f"the token is for another {name}", f"custom_inputs.{name}"
            )
    values = {**call.asserted, **claims.scopes} or {Dimension.USER.value: ANONYMOUS}
    trusted = frozenset(claims.scopes) | {f"{TAG_PREFIX}{name}" for name in claims.tags}
    return Caller(Identity(values, {**call.tags, **claims.tags}, trusted), claims.models)


def check_trust(caller: Caller, asserted: Mapping[str, str], policy: Policy, has_key: bool) -> None:
    """Refuse a value that only the body names where a token must carry it.

    What a token carries is trusted. Of the rest, org, team, agent and user are accepted only if no
    key is configured, or if every matching budget on that dimension says `asserted`.

    Raises:
        ForbiddenError: naming the dimension.
    """
    identity = caller.identity
    names = {*asserted, *(f"{TAG_PREFIX}{tag}" for tag in identity.tags)} - identity.trusted
    if not names:
        return
    scoped: dict[str, list[Budget]] = {name: [] for name in names}
    for budget in policy.budgets:
        # Only a budget with a word on trust, or any at all where a key is configured, can object.
        if (has_key or budget.trust) and budget.scope.match(identity) is not None:
            for name in names.intersection(budget.scope.dimensions):
                scoped[name].append(budget)
    for name, budgets in scoped.items():
        if any(not _accepts_asserted(one, name, has_key) for one in budgets) or (
            not budgets and has_key and name in _TRUSTED_BY_DEFAULT
        ):
            raise ForbiddenError(
                "scope_forbidden",
                f"{name} is only asserted; a spend token must carry it",
                f"custom_inputs.{name}",
            )


def _claims(call: Call, bearer: str | None, verifier: TokenVerifier | None) -> TokenClaims:
    token = call.spend_token or (bearer if verifier is not None else None)
    if verifier is None:
        if token is not None:
            raise TokenError("a spend token was sent, but this gate has no signing key to check it")
        return TokenClaims({}, {})
    if token is None:
        raise TokenError("a spend token is required: custom_inputs.spend_token, or the API key")
    return verifier.verify(token)


def _accepts_asserted(budget: Budget, name: str, has_key: bool) -> bool:
    said = budget.trust.get(name)
    if said is not None:
        return said == "asserted"
    return not has_key or name not in _TRUSTED_BY_DEFAULT
