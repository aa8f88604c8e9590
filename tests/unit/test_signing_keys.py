"""Signing keys: one or several, secrets or pairs, from settings or files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import HMACAlgorithm

from spendgate.adapters.signing_keys import SigningKeys, read_signing_keys
from spendgate.adapters.spend_token import AUDIENCE, SpendTokenVerifier, mint_token
from spendgate.config import Settings
from spendgate.errors import HostError, TokenError

OLD, NEW = "the old key, long enough for HS256 ......", "the new key, long enough for HS256 ......"


def keys_of(**settings: object) -> SigningKeys:
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    found = read_signing_keys(Settings.model_validate(texts))
    assert found is not None
    return found


def minted(keys: SigningKeys | str) -> str:
    return mint_token(keys, {"user": "u"}, ttl_seconds=60, now=datetime.now(UTC))


def kid(token: str) -> object:
    return jwt.get_unverified_header(token).get("kid")


def pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_pem(key: Any) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def test_without_a_setting_there_are_no_keys() -> None:
    assert read_signing_keys(Settings()) is None


def test_the_first_key_signs_and_all_verify() -> None:
    before, after = keys_of(signing_keys={"a": OLD}), keys_of(signing_keys={"b": NEW, "a": OLD})
    old, new = minted(before), minted(after)

    assert (kid(old), kid(new)) == ("a", "b")
    for token in (old, new):
        assert SpendTokenVerifier(after).verify(token).scopes == {"user": "u"}
    with pytest.raises(TokenError, match="isn't signed with a key of this gate"):
        SpendTokenVerifier(before).verify(new)


def test_a_key_without_an_id_goes_on_verifying_beside_keys_with_ids() -> None:
    both = keys_of(signing_key=OLD, signing_keys={"b": NEW})

    assert kid(minted(both)) == "b"
    assert SpendTokenVerifier(both).verify(minted(OLD)).scopes == {"user": "u"}


def test_a_gate_with_the_key_alone_takes_tokens_that_name_its_id() -> None:
    assert SpendTokenVerifier(OLD).verify(minted(keys_of(signing_keys={"a": OLD})))


def test_a_token_that_names_a_key_is_tried_with_no_other() -> None:
    keys = keys_of(signing_keys={"a": OLD, "b": NEW})
    payload = {"aud": AUDIENCE, "jti": "1", "exp": datetime(2099, 1, 1, tzinfo=UTC), "user": "u"}
    crossed = jwt.encode(payload, NEW, "HS256", headers={"kid": "a"})
    unnamed = jwt.encode(payload, NEW, "HS256")
    strange = jwt.encode(payload, NEW, "HS256", headers={"kid": "z"})

    assert SpendTokenVerifier(keys).verify(unnamed).scopes == {"user": "u"}
    for token in (crossed, strange):
        with pytest.raises(TokenError, match="isn't signed with a key"):
            SpendTokenVerifier(keys).verify(token)


def test_keys_of_several_kinds_stand_side_by_side() -> None:
    pair = ed25519.Ed25519PrivateKey.generate()
    keys = keys_of(signing_keys={"p": pem(pair), "s": OLD})

    assert SpendTokenVerifier(keys).verify(minted(OLD)).scopes == {"user": "u"}
    assert SpendTokenVerifier(keys).verify(minted(pem(pair))).scopes == {"user": "u"}


@pytest.mark.parametrize(
    ("pair", "algorithm"),
    [
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
    ],
)
def test_a_public_key_verifies_and_cant_sign(pair: Any, algorithm: str) -> None:
    token = minted(keys_of(signing_keys={"p": pem(pair)}))
    public = keys_of(signing_key=public_pem(pair))

    assert jwt.get_unverified_header(token)["alg"] == algorithm
    assert SpendTokenVerifier(public).verify(token).scopes == {"user": "u"}
    assert not public.can_sign
    with pytest.raises(TokenError, match="only public keys"):
        minted(public)


def test_a_public_key_is_never_taken_for_a_shared_secret() -> None:
    pair = ed25519.Ed25519PrivateKey.generate()
    text = public_pem(pair)
    payload = {"aud": AUDIENCE, "jti": "1", "exp": datetime(2099, 1, 1, tzinfo=UTC), "user": "u"}
    # PyJWT won't sign with PEM as a secret; an attacker's library would.
    signer = jwt.PyJWS()
    signer.unregister_algorithm("HS256")
    signer.register_algorithm("HS256", _Careless())
    forged = signer.encode(json.dumps({**payload, "exp": 4e9}).encode(), text, "HS256")

    with pytest.raises(TokenError, match="algorithm"):
        SpendTokenVerifier(text).verify(forged)


class _Careless(HMACAlgorithm):
    def __init__(self) -> None:
        super().__init__(HMACAlgorithm.SHA256)

    def prepare_key(self, key: Any) -> bytes:
        return key.encode()


def test_a_key_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(NEW + "\n")

    one = keys_of(signing_key=f"file:{file}")
    several = keys_of(signing_keys={"b": f"file:{file}"})

    for keys in (one, several):
        assert SpendTokenVerifier(NEW).verify(minted(keys))


def test_all_keys_may_be_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"b": NEW, "a": OLD}))

    assert kid(minted(keys_of(signing_keys=f"file:{file}"))) == "b"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"signing_key": " "}, "SPENDGATE_SIGNING_KEY is set but empty"),
        ({"signing_keys": "no-json-secret"}, "isn't JSON"),
        ({"signing_keys": {}}, "must be an object"),
        ({"signing_keys": ["secret"]}, "must be an object"),
        ({"signing_keys": {"a": ""}}, "'a' is set but empty"),
        ({"signing_keys": {"a": 7}}, "'a' must be text"),
        ({"signing_keys": {"a b": "secret"}}, "a key id that isn't"),
        ({"signing_keys": {str(n): "secret" for n in range(17)}}, "more than 16 keys"),
        ({"signing_keys": '{"a": "secret", "a": "secret2"}'}, "a key id twice"),
        ({"signing_keys": {"a": "file:does-not-exist"}}, "'a': the file does-not-exist can't"),
        ({"signing_key": "-----BEGIN PUBLIC KEY-----\nsecret"}, "can't be read"),
        ({"signing_key": pem(ec.generate_private_key(ec.SECP384R1()))}, "of another kind"),
        ({"signing_key": pem(rsa.generate_private_key(65537, 2048))}, "of another kind"),
    ],
)
def test_a_wrong_key_is_told_without_repeating_it(
    settings: dict[str, object], problem: str
) -> None:
    with pytest.raises(HostError, match=problem) as caught:
        keys_of(**settings)

    assert "secret" not in str(caught.value)


def test_keys_never_print_themselves() -> None:
    assert OLD not in repr(keys_of(signing_keys={"a": OLD}))
