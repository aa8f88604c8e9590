"""Who pays: spend token first, then what the body says, as far as the budgets accept it."""

from collections.abc import Mapping
from dataclasses import dataclass

from spendgate.domain.budget import Budget, Policy
from spendgate.domain.scope import Dimension, Identity
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


def identify(
    call: Call, bearer: str | None, verifier: TokenVerifier | None, policy: Policy
) -> Caller:
    """Resolve who pays for a call.

    A bearer counts as a spend token only when a key is configured, because every OpenAI client
    sends one. What a token carries is trusted; org, team, agent and user that only the body names
    are accepted only if no key is configured, or if every budget on that dimension says `asserted`.

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
    values = {**call.asserted, **claims.scopes}
    if not values and not claims.tags and not call.tags:
        values = {Dimension.USER.value: ANONYMOUS}
    tags = {**call.tags, **claims.tags}
    trusted = frozenset(claims.scopes) | {f"tag.{name}" for name in claims.tags}
    identity = Identity(values, tags, trusted)
    _check_trust(identity, call.asserted, policy, verifier)
    return Caller(identity, claims.models)


def _claims(call: Call, bearer: str | None, verifier: TokenVerifier | None) -> TokenClaims:
    token = call.spend_token or (bearer if verifier is not None else None)
    if verifier is None:
        if token is not None:
            raise TokenError("a spend token was sent, but this gate has no signing key to check it")
        return TokenClaims({}, {})
    if token is None:
        raise TokenError("a spend token is required: custom_inputs.spend_token, or the API key")
    return verifier.verify(token)


def _check_trust(
    identity: Identity,
    asserted: Mapping[str, str],
    policy: Policy,
    verifier: TokenVerifier | None,
) -> None:
    matching = [one for one in policy.budgets if one.scope.match(identity) is not None]
    for name in [*asserted, *(f"tag.{tag}" for tag in identity.tags)]:
        if name in identity.trusted:
            continue
        scoped = [one for one in matching if name in one.scope.dimensions]
        if any(not _accepts_asserted(one, name, verifier) for one in scoped) or (
            not scoped and verifier is not None and name in _TRUSTED_BY_DEFAULT
        ):
            raise ForbiddenError(
                "scope_forbidden",
                f"{name} is only asserted; a spend token must carry it",
                f"custom_inputs.{name}",
            )


def _accepts_asserted(budget: Budget, name: str, verifier: TokenVerifier | None) -> bool:
    said = budget.trust.get(name)
    if said is not None:
        return said == "asserted"
    return verifier is None or name not in _TRUSTED_BY_DEFAULT
