"""Narrower tokens: what a bearer may pass on to a sub-agent, which then draws on the same budgets.

A narrowed token carries everything its parent carries, so every budget that binds the parent binds
it too. It may name more, allow less and end sooner; revoking its parent revokes it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from spendgate.domain.budget import Policy
from spendgate.domain.scope import TAG_PREFIX, WILDCARD, Dimension, ScopeError, checked_value
from spendgate.errors import (
    ForbiddenError,
    InvalidRequestError,
    LedgerBrokenError,
    LedgerUnavailableError,
    PolicyError,
    TokenError,
)
from spendgate.gateway.identity import bearer_of, check_revoked
from spendgate.gateway.json_object import JsonObject, is_list, is_object, json_list, json_object
from spendgate.gateway.own_inputs import TAGS_MAX
from spendgate.gateway.ports import Clock, TokenClaims, TokenMinter, TokenVerifier
from spendgate.gateway.reply import Reply, error_reply
from spendgate.gateway.wire import whole_number

PARENTS_MAX = 8
"""How often a token can be narrowed in a row: each time it grows by an id of 32 characters."""
TTL_SECONDS_MAX = 10 * 366 * 86_400
MODELS_MAX = 100
_OWN_WORDS = frozenset({Dimension.SESSION.value, Dimension.TASK.value})
"""What a bearer may add by itself: it could also say so in each body. Org, team, agent and user
would let it pay as somebody else."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a token shall be narrower; None and nothing leave its parent's word."""

    scopes: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    models: tuple[str, ...] | None = None
    ttl_seconds: int | None = None


class Narrowing:
    """Exchanges a good token for a narrower one, on the word of the token itself."""

    def __init__(
        self,
        verifier: TokenVerifier | None,
        minter: TokenMinter | None,
        policy: Callable[[], Policy],
        clock: Clock,
    ) -> None:
        self._verifier = verifier
        self._minter = minter
        self._policy = policy
        self._clock = clock

    def answer(self, body: JsonObject, headers: Mapping[str, str]) -> Reply:
        """Answer one request; nothing is raised.

        Args:
            body: `org` … `task`, `tags`, `models`, `ttl_seconds`, all optional.
            headers: request headers with lower-case names; `x-spend-token` or the bearer is the
            token to narrow.
        """
        try:
            return self._answer(parse_wish(body), headers)
        except InvalidRequestError as error:
            return error_reply(400, "invalid_request", str(error), param=error.field)
        except TokenError as error:
            return error_reply(401, "invalid_spend_token", str(error), param="spend_token")
        except ForbiddenError as error:
            return error_reply(403, error.code, str(error), param=error.field)
        except (LedgerUnavailableError, LedgerBrokenError, PolicyError):
            message = "the ledger can't be asked whether this token was revoked"
            return error_reply(503, "ledger_unavailable", message, retryable=True)

    def bearer_claims(self, headers: Mapping[str, str]) -> TokenClaims:
        """Return what the token of a request vouches for: `x-spend-token`, or the bearer.

        Raises:
            TokenError: if none is sent, or it is forged, expired or revoked.
        """
        token = headers.get("x-spend-token") or bearer_of(headers)
        if token is None:
            raise TokenError("send the spend token as the API key or as X-Spend-Token")
        if self._verifier is None:
            raise TokenError("this gate has no signing key, so it knows no spend tokens")
        claims = self._verifier.verify(token)
        check_revoked(claims, self._policy())
        return claims

    def _answer(self, wish: Wish, headers: Mapping[str, str]) -> Reply:
        parent = self.bearer_claims(headers)
        if self._minter is None:
            message = "this gate has public keys only; a token is narrowed where it was minted"
            raise ForbiddenError("narrowing_unavailable", message)
        at = self._clock()
        child, claims = self._minter.mint(narrowed(parent, wish, at, is_vouched=False), at)
        assert claims.expires_at is not None  # noqa: S101 - no token is minted without
        ends = claims.expires_at.isoformat().replace("+00:00", "Z")
        body: dict[str, object] = {
            "spend_token": child,
            "token_id": claims.token_ids[-1],
            "expires_at": ends,
        }
        return Reply(200, body)


def narrowed(parent: TokenClaims, wish: Wish, at: datetime, *, is_vouched: bool) -> TokenClaims:
    """Return the claims of a narrower token; it ends with its parent at the latest.

    Args:
        parent: the token's claims.
        wish: how it shall be narrower.
        at: the time.
        is_vouched: whether who holds the signing key says so. If not, only session, task and tags
            can be added, and they count as asserted.

    Raises:
        ForbiddenError: if the wish is wider than the parent anywhere.
    """
    for name, value in wish.scopes.items():
        if parent.scopes.get(name, value) != value:
            raise ForbiddenError("scope_forbidden", f"the token is for another {name}", name)
        if name not in parent.scopes and not is_vouched and name not in _OWN_WORDS:
            message = (
                f"a token can't give itself a {name}; it can add session, task and tags, who holds "
                "the signing key the rest"
            )
            raise ForbiddenError("scope_forbidden", message, name)
    for name, value in wish.tags.items():
        if parent.tags.get(name, value) != value:
            message = "the token has this tag with another value"
            raise ForbiddenError("scope_forbidden", message, f"tags.{name}")
    if len({*parent.tags, *wish.tags}) > TAGS_MAX:
        raise ForbiddenError("scope_forbidden", f"a token carries up to {TAGS_MAX} tags", "tags")
    for index, model in enumerate(wish.models or ()):
        if parent.models is not None and model not in parent.models:
            message = "the token doesn't allow this model"
            raise ForbiddenError("model_forbidden", message, f"models[{index}]")
    if len(parent.token_ids) >= PARENTS_MAX:
        message = f"a token can be narrowed {PARENTS_MAX} times in a row; narrow an earlier one"
        raise ForbiddenError("scope_forbidden", message)
    added = {name for name in wish.scopes if name not in parent.scopes}
    added |= {f"{TAG_PREFIX}{name}" for name in wish.tags if name not in parent.tags}
    ends = [parent.expires_at] if parent.expires_at is not None else []
    if wish.ttl_seconds is not None:
        ends.append(at + timedelta(seconds=wish.ttl_seconds))
    return replace(
        parent,
        scopes={**parent.scopes, **wish.scopes},
        tags={**parent.tags, **wish.tags},
        models=parent.models if wish.models is None else wish.models,
        asserted=parent.asserted if is_vouched else parent.asserted | added,
        expires_at=min(ends, default=None),
    )


def parse_wish(body: JsonObject) -> Wish:
    """Check a request for a narrower token.

    Raises:
        InvalidRequestError: naming the field, what is wrong with it and the way out.
    """
    known = {*(one.value for one in Dimension), "tags", "models", "ttl_seconds"}
    for name in body:
        if name not in known:
            text = f"there is no field {name[:40]!r}; known are {', '.join(sorted(known))}"
            raise InvalidRequestError(text, name[:40])
    ttl = body.get("ttl_seconds")
    return Wish(
        {one.value: _text(one.value, body[one]) for one in Dimension if body.get(one) is not None},
        _tags(body.get("tags")),
        _models(body.get("models")),
        None if ttl is None else whole_number(ttl, "ttl_seconds", 1, TTL_SECONDS_MAX),
    )


def _tags(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not is_object(value) or len(value) > TAGS_MAX:
        raise InvalidRequestError(f"tags must be an object of up to {TAGS_MAX} strings", "tags")
    return {_text("tags", name): _text("tags", one) for name, one in json_object(value).items()}


def _models(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not is_list(value) or len(value) > MODELS_MAX:
        raise InvalidRequestError(f"models must be a list of up to {MODELS_MAX} names", "models")
    return tuple(_text("models", one) for one in json_list(value))


def _text(place: str, value: object) -> str:
    if value == WILDCARD:
        raise InvalidRequestError(f"{place} can't be '*'; that is a budget's word", place)
    try:
        return checked_value(place, value)
    except ScopeError as error:
        raise InvalidRequestError(str(error), place) from None
