"""Keys of model servers: headers that are asked for anew before each attempt.

One small port for every client, threaded or asynchronous: a callable that gives headers and never
waits long, a look that never waits at all, and a way to say that a server refused them.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from spendgate.config import secret_named
from spendgate.errors import CredentialsError

Headers = Mapping[str, str]
NO_HEADERS: Headers = {}
KEY_BYTES_MAX = 16_384
FILE_SECONDS = 5.0
"""How long a key that was read from a file is used: a rotated secret is found within this time."""


class Credentials(Protocol):
    """Where a client's headers come from; safe for many threads."""

    def __call__(self) -> Headers:
        """Return headers that should be good now; may wait for a token server, but not for long.

        Raises:
            CredentialsError: if there are none; nothing was sent then.
        """
        ...

    def ready(self) -> Headers | None:
        """Return them if that takes no waiting, else None: ask again from a thread."""
        ...

    def renew(self, refused: Headers) -> bool:
        """Forget headers that a server refused; tell whether others may follow."""
        ...


class FixedKey:
    """A key that was given, or none at all."""

    def __init__(self, key: SecretStr | None = None) -> None:
        text = "" if key is None else key.get_secret_value()
        self._headers = bearer(text, "the key of --upstream") if text else NO_HEADERS

    def __call__(self) -> Headers:
        """Return the headers."""
        return self._headers

    def ready(self) -> Headers | None:
        """Return the headers."""
        return self._headers

    def renew(self, refused: Headers) -> bool:
        """Nothing else will come."""
        del refused
        return False


class ReferencedKey:
    """A key that an environment variable or a file holds; a file may change at any time."""

    def __init__(
        self, reference: str, upstream: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._scheme, _, self._place = reference.partition(":")
        self._what = f"the key of upstream {upstream!r}"
        self._clock = clock
        self._headers: Headers | None = None
        self._until = 0.0

    def __call__(self) -> Headers:
        """Return the headers; a file is read again every few seconds."""
        headers, now = self._headers, self._clock()
        if headers is None or now >= self._until:
            self._headers = headers = bearer(self._read(), self._what)
            self._until = now + FILE_SECONDS
        return headers

    def ready(self) -> Headers | None:
        """Return the headers: a small local file is no waiting."""
        return self()

    def renew(self, refused: Headers) -> bool:
        """Read the key again; another one is worth a try."""
        self._headers = None
        return self() != refused

    def _read(self) -> str:
        # The place is not named: who wrote the key itself there would find it in a log.
        if self._scheme == "env":
            key = secret_named(self._place)
            if key is None:
                raise CredentialsError(f"{self._what}: its environment variable isn't set")
            return key.get_secret_value()
        try:
            with Path(self._place).open(encoding="utf-8") as file:
                return file.read(KEY_BYTES_MAX)
        except OSError as error:
            raise CredentialsError(
                f"{self._what}: its file can't be read: {error.strerror}"
            ) from None
        except UnicodeDecodeError:
            raise CredentialsError(f"{self._what}: its file isn't text") from None


def bearer(key: str, what: str) -> Headers:
    """Return the header of a key.

    Raises:
        CredentialsError: if the text can't be a key; it is not repeated.
    """
    text = key.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise CredentialsError(f"{what} is empty or no single line of ASCII")
    return {"authorization": f"Bearer {text}"}
