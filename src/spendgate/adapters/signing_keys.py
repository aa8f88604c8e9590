"""The keys that spend tokens are signed with: shared secrets, or key pairs in PEM.

`SPENDGATE_SIGNING_KEY` holds one key without an id, `SPENDGATE_SIGNING_KEYS` several with ids, so
that a new one can be known to every host before the first token is signed with it. Each key has
one algorithm and is never tried with another.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from spendgate.adapters.plain_data import as_mapping
from spendgate.config import Settings
from spendgate.errors import HostError, TokenError

KEY_BYTES_MIN = 32
KEYS_MAX = 16
FILE_BYTES_MAX = 65_536
FILE_PREFIX = "file:"
ONE_KEY, MANY_KEYS = "SPENDGATE_SIGNING_KEY", "SPENDGATE_SIGNING_KEYS"

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PEM = "-----BEGIN "


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key with its only algorithm; `signing` is None where just the public half is known."""

    key_id: str | None
    algorithm: str
    verifying: PublicKey | bytes = field(repr=False)
    signing: PrivateKey | bytes | None = field(repr=False)
    is_short: bool = False


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """All keys of a gate; the first that can, signs, and each verifies."""

    keys: tuple[SigningKey, ...]

    @classmethod
    def of(cls, key: "str | SigningKeys") -> "SigningKeys":
        """Return keys as they are, and one key's text as the only key."""
        return key if isinstance(key, cls) else cls((parse_key(str(key), None, ONE_KEY),))

    @property
    def can_sign(self) -> bool:
        """Whether there is more than public keys."""
        return any(one.signing is not None for one in self.keys)

    @property
    def signer(self) -> SigningKey:
        """The key that new tokens are signed with.

        Raises:
            TokenError: if there are only public keys.
        """
        for key in self.keys:
            if key.signing is not None:
                return key
        raise TokenError("only public keys are configured here; sign where the private key is")

    def named(self, key_id: object) -> Sequence[SigningKey]:
        """Return the keys that a token may be signed with, by the key id in its header.

        A key without an id stands for any id, and a token without one may be of any key.
        """
        same = [one for one in self.keys if one.key_id == key_id]
        return same or [one for one in self.keys if key_id is None or one.key_id is None]


def read_signing_keys(settings: Settings) -> SigningKeys | None:
    """Return the keys that the settings name, those with ids first; None if there are none.

    Raises:
        HostError: naming the setting and what is wrong, never the key.
    """
    found: list[SigningKey] = []
    if settings.signing_keys is not None:
        text = _resolved(settings.signing_keys.get_secret_value(), MANY_KEYS)
        found += _keys_with_ids(text)
    if settings.signing_key is not None:
        text = _resolved(settings.signing_key.get_secret_value(), ONE_KEY)
        found.append(parse_key(text, None, ONE_KEY))
    return SigningKeys(tuple(found)) if found else None


def parse_key(text: str, key_id: str | None, where: str) -> SigningKey:
    """Read one key: PEM for Ed25519 (EdDSA) or P-256 (ES256), any other text for HS256.

    Raises:
        HostError: if the text is empty or a PEM of another kind.
    """
    if not text.strip():
        raise HostError(f"{where} is set but empty; unset it or give it a key")
    if text.lstrip().startswith(_PEM):
        return _pem_key(text.strip().encode(), key_id, where)
    raw = text.encode()
    key = signing_bytes(text)
    return SigningKey(key_id, "HS256", key, key, is_short=len(raw) < KEY_BYTES_MIN)


def signing_bytes(key: str) -> bytes:
    """Return the bytes to sign with: the key itself, or its SHA-256 where it has under 256 bits.

    HS256 asks for a key as long as its hash (RFC 7518 §3.2). Hashing makes a short key long enough,
    not harder to guess, so `doctor` warns of one.
    """
    raw = key.encode()
    return raw if len(raw) >= KEY_BYTES_MIN else hashlib.sha256(raw).digest()


def _keys_with_ids(text: str) -> Iterable[SigningKey]:
    pairs: list[tuple[str, object]] = []
    try:
        # By pairs: a key id that stands twice would quietly lose its first key.
        read = json.loads(text, object_pairs_hook=lambda some: pairs.extend(some) or dict(some))
    except ValueError:
        raise HostError(f'{MANY_KEYS} isn\'t JSON; write {{"2026-08": "key", …}}') from None
    keys = as_mapping(read)
    if not keys:
        raise HostError(f'{MANY_KEYS} must be an object of keys by their ids: {{"2026-08": "key"}}')
    if len(pairs) > min(len(keys), KEYS_MAX):
        raise HostError(f"{MANY_KEYS} has a key id twice, or more than {KEYS_MAX} keys")
    for key_id, key in keys.items():
        if not _KEY_ID.fullmatch(key_id):
            raise HostError(f"{MANY_KEYS} has a key id that isn't up to 64 of A-Z a-z 0-9 . _ -")
        where = f"{MANY_KEYS} {key_id!r}"
        if not isinstance(key, str):
            raise HostError(f"{where} must be text")
        yield parse_key(_resolved(key, where), key_id, where)


def _resolved(text: str, where: str) -> str:
    """Return a key, or the content of the file that `file:PATH` names."""
    if not text.startswith(FILE_PREFIX):
        return text
    path = Path(text.removeprefix(FILE_PREFIX))
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise HostError(f"{where}: the file {path} is larger than {FILE_BYTES_MAX} bytes")
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise HostError(f"{where}: the file {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise HostError(f"{where}: the file {path} isn't text") from None


def _pem_key(pem: bytes, key_id: str | None, where: str) -> SigningKey:
    private: object = None
    try:
        if b"PRIVATE KEY" in pem.splitlines()[0]:
            private = serialization.load_pem_private_key(pem, password=None)
            public: object = private.public_key()
        else:
            public = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise HostError(f"{where} is a PEM that can't be read, or needs a password") from None
    signing = cast("PrivateKey | None", private)  # of the same kind as its public half
    if isinstance(public, ed25519.Ed25519PublicKey):
        return SigningKey(key_id, "EdDSA", public, signing)
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        return SigningKey(key_id, "ES256", public, signing)
    raise HostError(f"{where} is a PEM of another kind; use Ed25519 or P-256")
