"""Spend tokens: signed JWTs (HS256, by PyJWT) that vouch for who pays."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import jwt

from spendgate.domain.scope import WILDCARD, Dimension, ScopeError, checked_value
from spendgate.errors import TokenError
from spendgate.gateway.ports import TokenClaims

ALGORITHM = "HS256"
AUDIENCE = "spendgate"
KEY_BYTES_MIN = 32
LEEWAY_SECONDS = 5


class SpendTokenVerifier:
    """Checks tokens against one signing key."""

    def __init__(self, key: str) -> None:
        self._key = signing_bytes(key)

    def verify(self, token: str) -> TokenClaims:
        """Return a token's claims.

        Raises:
            TokenError: if the token is forged, expired, for another audience, or carries nothing.
        """
        try:
            payload = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "jti"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("the spend token has expired; mint a new one") from None
        except jwt.InvalidTokenError as error:
            raise TokenError(f"the spend token is invalid: {type(error).__name__}") from None
        return _claims(payload)


def mint_token(
    key: str,
    scopes: Mapping[str, str],
    *,
    ttl_seconds: int,
    now: datetime,
    tags: Mapping[str, str] | None = None,
    models: Sequence[str] | None = None,
) -> str:
    """Sign a token that carries scopes, tags and allowed models for `ttl_seconds`.

    Raises:
        TokenError: if there is nothing to vouch for, a value is unusable or the time isn't
        positive.
    """
    if not scopes:
        raise TokenError("a spend token must carry at least one scope, such as --agent")
    if ttl_seconds <= 0:
        raise TokenError("a spend token's ttl must be at least one second")
    payload: dict[str, Any] = {
        "aud": AUDIENCE,
        "jti": uuid.uuid4().hex,
        "iat": now,
        "exp": now + timedelta(seconds=ttl_seconds),
        **{name: _value(name, value) for name, value in scopes.items()},
    }
    if tags:
        payload["tags"] = {_value("tag", name): _value(name, tags[name]) for name in tags}
    if models is not None:
        payload["models"] = list(models)
    return jwt.encode(payload, signing_bytes(key), ALGORITHM)


def describe_token(token: str, key: str | None) -> dict[str, object]:
    """Return what a token says; `verified` tells whether the key vouches for it.

    Raises:
        TokenError: if the text is no JWT.
    """
    try:
        payload = cast("dict[str, object]", jwt.decode(token, options={"verify_signature": False}))
    except jwt.InvalidTokenError:
        raise TokenError("this is no spend token") from None
    problem = None
    try:
        if key is None:
            problem = "no signing key is configured"
        else:
            SpendTokenVerifier(key).verify(token)
    except TokenError as error:
        problem = str(error)
    return {**payload, "verified": problem is None, "problem": problem}


def signing_bytes(key: str) -> bytes:
    """Return the bytes to sign with: the key itself, or its SHA-256 where it has under 256 bits.

    HS256 asks for a key as long as its hash (RFC 7518 §3.2). Hashing makes a short key long enough,
    not harder to guess, so `doctor` warns of one.
    """
    raw = key.encode()
    return raw if len(raw) >= KEY_BYTES_MIN else hashlib.sha256(raw).digest()


def _claims(payload: Mapping[str, object]) -> TokenClaims:
    scopes = {
        name: _value(name, payload[name]) for name in Dimension if payload.get(name) is not None
    }
    tags: object = payload.get("tags") or {}
    models = payload.get("models")
    if not isinstance(tags, Mapping) or not (models is None or isinstance(models, list)):
        raise TokenError("the spend token is invalid: tags or models have the wrong form")
    if not scopes:
        raise TokenError("the spend token is invalid: it carries no scope")
    entries = cast("Mapping[str, object]", tags)
    return TokenClaims(
        scopes={str(name.value): value for name, value in scopes.items()},
        tags={name: _value(name, value) for name, value in entries.items()},
        models=None if models is None else tuple(str(one) for one in cast("list[object]", models)),
    )


def _value(name: str, value: object) -> str:
    if value == WILDCARD:
        raise TokenError(f"a spend token can't vouch for every {name}: '*' is a budget's word")
    try:
        return checked_value(name, value)
    except ScopeError as error:
        raise TokenError(f"the spend token is invalid: {error}") from None
