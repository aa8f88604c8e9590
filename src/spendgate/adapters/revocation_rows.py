"""Revocations as a ledger stores them: rows of its `meta`, which every ledger has."""

import json
from collections.abc import Sequence

from spendgate.adapters.event_codec import from_micros, to_micros
from spendgate.adapters.plain_data import as_mapping
from spendgate.domain.revocation import Revocation, subject_of
from spendgate.domain.scope import ScopeError
from spendgate.errors import PolicyError

_PREFIX = "revoked "
FIRST_KEY = _PREFIX
"""The keys of all revocations are from here …"""
LAST_KEY = "revoked!"
"""… to before here: `!` follows the space, and a `meta` orders its keys by their bytes."""


def key_of(revocation: Revocation) -> str:
    """Return the key of a revocation's row."""
    return f"{_PREFIX}{revocation.text}"


def encode_revocation(revocation: Revocation) -> str:
    """Write what a revocation says beside its key, as JSON."""
    ends = revocation.expires_at
    return json.dumps(
        {
            "reason": revocation.reason,
            "revoked_at": to_micros(revocation.revoked_at),
            "expires_at": None if ends is None else to_micros(ends),
        }
    )


def decode_revocation(row: Sequence[object]) -> Revocation:
    """Read a row's key and value.

    Raises:
        PolicyError: if the row is none of this version.
    """
    key, value = str(row[0]), str(row[1])
    try:
        fields = as_mapping(json.loads(value)) or {}
        ends = fields["expires_at"]
        return Revocation(
            subject_of(key.removeprefix(_PREFIX)),
            str(fields["reason"]),
            from_micros(int(str(fields["revoked_at"]))),
            None if ends is None else from_micros(int(str(ends))),
        )
    except (KeyError, ValueError, ScopeError):
        raise PolicyError(f"stored revocation {key[:80]!r}: has another form") from None
