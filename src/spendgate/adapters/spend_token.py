"""Spend tokens: signed JWTs (by PyJWT) that vouch for who pays."""

import hashlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import jwt

from spendgate.adapters.signing_keys import KEY_BYTES_MIN, SigningKey, SigningKeys, signing_bytes
from spendgate.domain.scope import WILDCARD, Dimension, ScopeError, checked_value
from spendgate.errors import TokenError
from spendgate.gateway.narrowing import PARENTS_MAX
from spendgate.gateway.ports import TokenClaims

ALGORITHM = "HS256"
AUDIENCE = "spendgate"
ISSUER = "spendgate"
LEEWAY_SECONDS = 5
TOKEN_CHARS_MAX = 8192
_VERIFIED_MAX = 2000
"""Tokens whose signature is known to be good: checking one costs as much as admitting a call."""

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.InvalidSignatureError, "it isn't signed with a key of this gate"),
    (jwt.InvalidAudienceError, "it is meant for another audience"),
    (jwt.InvalidIssuerError, "it comes from another issuer"),
    (jwt.InvalidAlgorithmError, "it isn't signed with the algorithm of this gate's key"),
    (jwt.ImmatureSignatureError, "it isn't valid yet; compare the clocks"),
)


@dataclass(frozen=True, slots=True)
class TokenNames:
    """For whom tokens are, and from whom: an issuer that is named must be in every token."""

    audience: str = AUDIENCE
    issuer: str | None = None


_NAMES = TokenNames()


class SpendTokenVerifier:
    """Checks tokens against the keys of a gate."""

    def __init__(self, keys: SigningKeys | str, names: TokenNames = _NAMES) -> None:
        self._keys = SigningKeys.of(keys)
        self._names = names
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, tuple[float, TokenClaims]] = OrderedDict()

    def verify(self, token: str) -> TokenClaims:
        """Return a token's claims.

        Raises:
            TokenError: if the token is forged, expired, for another audience, or carries nothing.
        """
        if len(token) > TOKEN_CHARS_MAX:
            raise TokenError(f"the spend token is longer than {TOKEN_CHARS_MAX} characters")
        if not token.isascii():
            raise TokenError("the spend token is invalid: it is no JWT")
        # By its digest, so that no secret is kept that could be read from memory and used.
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known = self._verified.get(digest)
        if known is not None and time.time() < known[0]:
            return known[1]
        payload = self._payload(token)
        claims = _claims(payload)
        with self._lock:
            self._verified[digest] = (float(payload["exp"]) + LEEWAY_SECONDS, claims)
            if len(self._verified) > _VERIFIED_MAX:
                self._verified.popitem(last=False)
        return claims

    def _payload(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            keys = self._keys.named(header.get("kid"))
            same = [one for one in keys if one.algorithm == header.get("alg")]
            if keys and not same:
                raise jwt.InvalidAlgorithmError
            for key in same:
                try:
                    return self._decoded(token, key)
                except jwt.InvalidSignatureError:
                    continue
        except jwt.ExpiredSignatureError:
            raise TokenError("the spend token has expired; mint a new one") from None
        except (jwt.InvalidTokenError, OverflowError) as error:
            raise TokenError(f"the spend token is invalid: {_reason(error)}") from None
        raise TokenError(f"the spend token is invalid: {_reason(jwt.InvalidSignatureError())}")

    def _decoded(self, token: str, key: SigningKey) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.verifying,
            algorithms=[key.algorithm],
            audience=self._names.audience,
            issuer=self._names.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "aud", "jti"]},
        )


class SpendTokenMinter:
    """Signs tokens with the first key that can."""

    def __init__(self, keys: SigningKeys | str, names: TokenNames = _NAMES) -> None:
        self._keys = SigningKeys.of(keys)
        self._names = names

    def mint(self, claims: TokenClaims, at: datetime) -> tuple[str, TokenClaims]:
        """Sign claims under a new id; `token_ids` holds those that the token was narrowed from.

        Returns:
            The token, and its claims with its own id.

        Raises:
            TokenError: if there is nothing to vouch for, a value is unusable, or only public keys
            are here.
        """
        if not claims.scopes:
            raise TokenError("a spend token must carry at least one scope, such as --agent")
        if claims.expires_at is None or claims.expires_at <= at:
            raise TokenError("a spend token's ttl must be at least one second")
        key = self._keys.signer
        token_id = uuid.uuid4().hex
        payload = self._payload(claims, token_id, at)
        assert key.signing is not None  # noqa: S101 - it is the signer
        headers = None if key.key_id is None else {"kid": key.key_id}
        token = jwt.encode(payload, key.signing, key.algorithm, headers=headers)
        if len(token) > TOKEN_CHARS_MAX:
            raise TokenError(f"the spend token would be longer than {TOKEN_CHARS_MAX} characters")
        return token, replace(claims, token_ids=(*claims.token_ids, token_id))

    def _payload(self, claims: TokenClaims, token_id: str, at: datetime) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "iss": self._names.issuer or ISSUER,
            "aud": self._names.audience,
            "jti": token_id,
            "iat": at,
            "exp": claims.expires_at,
            **{name: _value(name, value) for name, value in claims.scopes.items()},
        }
        if claims.tags:
            tags = claims.tags
            payload["tags"] = {_value("tag", name): _value(name, tags[name]) for name in tags}
        if claims.models is not None:
            payload["models"] = list(claims.models)
        if claims.asserted:
            payload["asserted"] = sorted(claims.asserted)
        if claims.token_ids:
            payload["parents"] = list(claims.token_ids)
            if claims.minted_at is not None:
                payload["root_iat"] = int(claims.minted_at.timestamp())
        return payload


def mint_token(
    key: SigningKeys | str,
    scopes: Mapping[str, str],
    *,
    ttl_seconds: int,
    now: datetime,
    tags: Mapping[str, str] | None = None,
    models: Sequence[str] | None = None,
    names: TokenNames = _NAMES,
) -> str:
    """Sign a token that carries scopes, tags and allowed models for `ttl_seconds`.

    Raises:
        TokenError: if there is nothing to vouch for, a value is unusable or the time isn't
        positive.
    """
    claims = TokenClaims(
        scopes,
        tags or {},
        None if models is None else tuple(models),
        expires_at=now + timedelta(seconds=ttl_seconds),
    )
    token, _ = SpendTokenMinter(key, names).mint(claims, now)
    return token


def describe_token(
    token: str, key: SigningKeys | str | None, names: TokenNames = _NAMES
) -> dict[str, object]:
    """Return what a token says; `verified` tells whether a key vouches for it.

    Raises:
        TokenError: if the text is no JWT.
    """
    try:
        payload = cast("dict[str, object]", jwt.decode(token, options={"verify_signature": False}))
        key_id = jwt.get_unverified_header(token).get("kid")
    except (jwt.InvalidTokenError, ValueError):
        raise TokenError("this is no spend token") from None
    problem = None
    try:
        if key is None:
            problem = "no signing key is configured"
        else:
            SpendTokenVerifier(key, names).verify(token)
    except TokenError as error:
        problem = str(error)
    named = {} if key_id is None else {"kid": key_id}
    return {**payload, **named, "verified": problem is None, "problem": problem}


def _reason(error: Exception) -> str:
    """Say what is wrong with a token in words of ours: PyJWT's may quote it."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it carries no {error.claim}"
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return "it is no JWT, or one that is damaged"


def _claims(payload: Mapping[str, object]) -> TokenClaims:
    scopes = {
        name.value: _value(name, payload[name])
        for name in Dimension
        if payload.get(name) is not None
    }
    tags: object = payload.get("tags") or {}
    models = payload.get("models")
    if not isinstance(tags, Mapping) or not (models is None or isinstance(models, list)):
        raise TokenError("the spend token is invalid: tags or models have the wrong form")
    if not scopes:
        raise TokenError("the spend token is invalid: it carries no scope")
    entries = cast("Mapping[str, object]", tags)
    parents = _texts(payload, "parents")
    if len(parents) > PARENTS_MAX:
        raise TokenError("the spend token is invalid: it was narrowed too often")
    return TokenClaims(
        scopes=scopes,
        tags={name: _value(name, value) for name, value in entries.items()},
        models=None if models is None else tuple(str(one) for one in cast("list[object]", models)),
        asserted=frozenset(_texts(payload, "asserted")),
        token_ids=(*parents, _value("jti", payload.get("jti"))),
        minted_at=_instant(payload, "root_iat" if "root_iat" in payload else "iat"),
        expires_at=_instant(payload, "exp"),
    )


def _texts(payload: Mapping[str, object], name: str) -> list[str]:
    found = payload.get(name, [])
    if not isinstance(found, list):
        raise TokenError(f"the spend token is invalid: {name} must be a list")
    return [_value(name, one) for one in cast("list[object]", found)]


def _instant(payload: Mapping[str, object], name: str) -> datetime | None:
    value = payload.get(name)
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(float(str(value)), UTC)
    except (ValueError, OverflowError, OSError):
        raise TokenError(f"the spend token is invalid: {name} is no time") from None


def _value(name: str, value: object) -> str:
    if value == WILDCARD:
        raise TokenError(f"a spend token can't vouch for every {name}: '*' is a budget's word")
    try:
        return checked_value(name, value)
    except ScopeError as error:
        raise TokenError(f"the spend token is invalid: {error}") from None


__all__ = [
    "ALGORITHM",
    "AUDIENCE",
    "KEY_BYTES_MIN",
    "LEEWAY_SECONDS",
    "TOKEN_CHARS_MAX",
    "SpendTokenMinter",
    "SpendTokenVerifier",
    "TokenNames",
    "describe_token",
    "mint_token",
    "signing_bytes",
]
