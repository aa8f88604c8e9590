"""Spend tokens: minted, shown and checked."""

import base64
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from spendgate.adapters.spend_token import (
    ALGORITHM,
    AUDIENCE,
    KEY_BYTES_MIN,
    LEEWAY_SECONDS,
    SpendTokenVerifier,
    TokenNames,
    describe_token,
    mint_token,
    signing_bytes,
)
from spendgate.errors import TokenError
from spendgate.gateway.ports import TokenClaims

KEY = "a key that is long enough for HS256, really"


def mint(ttl_seconds: int = 600, key: str = KEY, age_seconds: int = 0, **scopes: str) -> str:
    now = datetime.now(UTC) - timedelta(seconds=age_seconds)
    return mint_token(key, scopes, ttl_seconds=ttl_seconds, now=now)


def test_what_is_minted_is_what_is_read() -> None:
    scopes = {"org": "acme", "team": "t", "agent": "a", "user": "ü", "session": "s", "task": "x"}
    token = mint_token(
        KEY,
        scopes,
        ttl_seconds=60,
        now=datetime.now(UTC),
        tags={"cost_center": "4711"},
        models=["big", "small"],
    )

    claims = SpendTokenVerifier(KEY).verify(token)

    assert claims == TokenClaims(scopes, {"cost_center": "4711"}, ("big", "small"))


def test_a_token_without_models_allows_them_all_and_an_empty_list_none() -> None:
    now = datetime.now(UTC)
    unlimited = mint(user="u")
    none = mint_token(KEY, {"user": "u"}, ttl_seconds=60, now=now, models=[])

    assert SpendTokenVerifier(KEY).verify(unlimited).models is None
    assert SpendTokenVerifier(KEY).verify(none).models == ()


def test_two_tokens_are_never_the_same() -> None:
    assert mint(user="u") != mint(user="u")


def test_a_token_ends_after_its_time_and_a_small_difference_of_clocks() -> None:
    verifier = SpendTokenVerifier(KEY)

    assert verifier.verify(mint(ttl_seconds=60, age_seconds=59, user="u")).scopes == {"user": "u"}
    with pytest.raises(TokenError, match="expired"):
        verifier.verify(mint(ttl_seconds=60, age_seconds=61 + LEEWAY_SECONDS, user="u"))


@pytest.mark.parametrize(
    ("scopes", "ttl_seconds"),
    [
        ({}, 60),
        ({"user": ""}, 60),
        ({"user": "*"}, 60),
        ({"user": "a\nb"}, 60),
        ({"user": "u" * 257}, 60),
        ({"user": "u"}, 0),
        ({"user": "u"}, -1),
    ],
)
def test_a_token_that_would_vouch_for_nothing_is_not_minted(
    scopes: dict[str, str], ttl_seconds: int
) -> None:
    with pytest.raises(TokenError):
        mint_token(KEY, scopes, ttl_seconds=ttl_seconds, now=datetime.now(UTC))


def test_a_wildcard_tag_is_not_minted() -> None:
    with pytest.raises(TokenError):
        mint_token(KEY, {"user": "u"}, ttl_seconds=60, now=datetime.now(UTC), tags={"cc": "*"})


def test_another_key_refuses_the_token() -> None:
    with pytest.raises(TokenError, match="invalid"):
        SpendTokenVerifier(KEY + "!").verify(mint(user="u"))


def test_an_error_never_repeats_the_token() -> None:
    token = mint(user="u", key=KEY + "!")

    with pytest.raises(TokenError) as caught:
        SpendTokenVerifier(KEY).verify(token)

    assert not any(part in str(caught.value) for part in token.split("."))


def test_a_short_key_is_hashed_and_a_long_one_is_used_as_it_is() -> None:
    assert len(signing_bytes("short")) == KEY_BYTES_MIN
    assert signing_bytes(KEY) == KEY.encode()
    token = mint(key="short", user="u")
    assert SpendTokenVerifier("short").verify(token).scopes == {"user": "u"}


def test_any_library_can_read_a_token() -> None:
    payload = jwt.decode(mint(user="u"), KEY, algorithms=[ALGORITHM], audience=AUDIENCE)

    assert payload["user"] == "u"
    assert payload["exp"] - payload["iat"] == 600


def test_claims_that_arent_ours_are_let_be() -> None:
    token = jwt.encode(
        {
            "aud": [AUDIENCE, "other"],
            "jti": "1",
            "exp": datetime(2099, 1, 1, tzinfo=UTC),
            "user": "u",
            "sub": "somebody",
        },
        KEY,
    )

    assert SpendTokenVerifier(KEY).verify(token).scopes == {"user": "u"}


def test_a_description_says_whether_the_key_vouches_for_it() -> None:
    token = mint(user="u")

    assert describe_token(token, KEY)["verified"] is True
    assert describe_token(token, KEY)["user"] == "u"
    unverified = describe_token(token, None)
    assert (unverified["verified"], unverified["problem"]) == (
        False,
        "no signing key is configured",
    )
    assert describe_token(token, KEY + "!")["verified"] is False
    expired = mint(ttl_seconds=1, age_seconds=100, user="u")
    assert "expired" in str(describe_token(expired, KEY)["problem"])


def test_what_is_no_token_cant_be_described() -> None:
    with pytest.raises(TokenError):
        describe_token("garbage", KEY)


def part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


CLAIMS = {"aud": AUDIENCE, "jti": "1", "exp": 4_000_000_000, "user": "u"}
HEADER = {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize(
    "forged",
    [
        f"{part({'alg': 'none'})}.{part(CLAIMS)}.",
        f"{part({'alg': 'NONE'})}.{part(CLAIMS)}.",
        f"{part({'typ': 'JWT'})}.{part(CLAIMS)}.{part('x')}",
        f"{part({'alg': ['HS256']})}.{part(CLAIMS)}.{part('x')}",
        f"{part({**HEADER, 'kid': '../../dev/null'})}.{part(CLAIMS)}.{part('x')}",
        f"{part({**HEADER, 'kid': ['a']})}.{part(CLAIMS)}.{part('x')}",
        f"{part({**HEADER, 'jwk': {'kty': 'oct', 'k': 'eA'}})}.{part(CLAIMS)}.{part('x')}",
        f"{part({**HEADER, 'b64': False, 'crit': ['b64']})}..{part('x')}",
        f"{part('[' * 3000)}.{part(CLAIMS)}.{part('x')}",
        f"{part(HEADER)}.{part('{' * 3000)}.{part('x')}",
        f"{part(HEADER)}.{part(CLAIMS)}.{part('x')}",
        f"{part(HEADER)}.{part(CLAIMS)}.",
        "a.b.c.d.e",
        "",
        " ",
        "\x00",
        "ü.ü.ü",
        "\ud800.a.b",
        "x" * 10_000,
        mint(user="u") + "\n",
        " " + mint(user="u"),
        mint(user="u").replace(".", "\uff0e"),
    ],
)
def test_whatever_is_sent_as_a_token_is_refused_in_our_own_words(forged: str) -> None:
    with pytest.raises(TokenError, match="spend token") as caught:
        SpendTokenVerifier(KEY).verify(forged)

    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"aud": "staging"}, "for another audience"),
        ({"exp": None}, "carries no exp"),
        ({"aud": None}, "carries no aud"),
        ({"jti": None}, "carries no jti"),
        ({"iat": 4_000_000_000}, "isn't valid yet"),
        ({"nbf": 4_000_000_000}, "isn't valid yet"),
        ({"exp": 1}, "has expired"),
        ({"exp": float("inf")}, "spend token is invalid"),
        ({"exp": 1e30}, "exp is no time"),
        ({"iat": -1e30}, "iat is no time"),
        ({"root_iat": "x", "parents": ["p"]}, "root_iat is no time"),
        ({"parents": "p"}, "parents must be a list"),
        ({"parents": ["p"] * 9}, "narrowed too often"),
        ({"asserted": [7]}, "asserted must be a string"),
        ({"user": "\u200bu"}, "unprintable"),
    ],
)
def test_a_signed_token_that_is_wrong_is_told_why(claims: dict[str, object], problem: str) -> None:
    payload = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}

    with pytest.raises(TokenError, match=problem):
        SpendTokenVerifier(KEY).verify(jwt.encode(payload, KEY, "HS256"))


def test_the_issuer_is_asked_for_where_one_is_named() -> None:
    ours, theirs = TokenNames(issuer="us"), TokenNames(issuer="them")
    text = mint_token(KEY, {"user": "u"}, ttl_seconds=60, now=datetime.now(UTC), names=ours)

    assert SpendTokenVerifier(KEY, ours).verify(text)
    assert SpendTokenVerifier(KEY).verify(text)
    with pytest.raises(TokenError, match="another issuer"):
        SpendTokenVerifier(KEY, theirs).verify(text)
    with pytest.raises(TokenError, match="carries no iss"):
        SpendTokenVerifier(KEY, ours).verify(jwt.encode(CLAIMS, KEY, "HS256"))


def test_each_stage_has_its_own_audience() -> None:
    staging = TokenNames(audience="staging")
    text = mint_token(KEY, {"user": "u"}, ttl_seconds=60, now=datetime.now(UTC), names=staging)

    assert SpendTokenVerifier(KEY, staging).verify(text)
    with pytest.raises(TokenError, match="another audience"):
        SpendTokenVerifier(KEY).verify(text)


def test_a_token_that_was_verified_before_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, text = SpendTokenVerifier(KEY), mint(ttl_seconds=60, user="u")
    first = verifier.verify(text)
    assert verifier.verify(text) is first  # its signature wasn't checked again

    ends = first.expires_at
    assert ends is not None
    monkeypatch.setattr("time.time", lambda: ends.timestamp() + LEEWAY_SECONDS)
    checked: list[str] = []
    monkeypatch.setattr(verifier, "_payload", lambda text: checked.append(text) or {**CLAIMS})
    verifier.verify(text)

    assert checked == [text]
