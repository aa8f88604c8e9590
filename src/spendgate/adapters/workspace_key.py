"""Workspace OAuth through databricks-sdk's own providers: U2M, M2M, PAT, notebook, Model Serving.

The SDK asks its token server without a time-out and looks a host up for up to 300 s (0.156:
`oauth.retrieve_token`, `_BaseClient`). So it works in a thread of its own: a call waits for that
thread only so long, and not at all while headers are young enough. Facts: reference/databricks.md
§3, reference/serving.md §4.4.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from databricks.sdk.core import Config

from spendgate.adapters.credentials import Headers
from spendgate.adapters.workspace import sdk_reason
from spendgate.errors import CredentialsError

FRESH_SECONDS = 15.0
"""Younger headers are used as they are."""

USABLE_SECONDS = 30.0
"""Older ones are waited for: the SDK gives tokens that live for 40 s at least."""

RENEWAL_SECONDS = 30.0
"""A workspace that keeps refusing is not asked for new tokens all the time."""

_STUCK_MAX = 4
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Fetch:
    """One look for headers, in a thread of its own."""

    started_at: float
    done: threading.Event = field(default_factory=threading.Event)
    headers: Headers | None = None
    problem: str = ""


class WorkspaceKey:
    """The headers of one workspace; safe for many threads."""

    def __init__(
        self,
        host: str | None,
        *,
        timeout_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._named_host = host
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._config: Config | None = None
        self._headers: Headers | None = None
        self._headers_at = 0.0
        self._renewed_at = -RENEWAL_SECONDS
        self._fetch: _Fetch | None = None
        self._stuck: list[_Fetch] = []

    @property
    def host(self) -> str:
        """The workspace's URL: the named one, or the environment's once headers were had."""
        config = self._config
        found = self._named_host or (config.host if config is not None else None)
        if not found:
            raise CredentialsError("no workspace is named: give url, or set DATABRICKS_HOST")
        return found.rstrip("/")

    def __call__(self) -> Headers:
        """Return the headers, waiting for at most `timeout_seconds`."""
        found = self._at_hand()
        if not isinstance(found, _Fetch):
            return found
        if not found.done.wait(self._timeout_seconds):
            raise CredentialsError(
                f"the workspace gave no token within {self._timeout_seconds:g} s; check "
                "DATABRICKS_HOST and the network"
            )
        if found.headers is None:
            raise CredentialsError(f"no token for the workspace: {found.problem}")
        return found.headers

    def ready(self) -> Headers | None:
        """Return the headers if they are young enough."""
        found = self._at_hand()
        return None if isinstance(found, _Fetch) else found

    def renew(self, refused: Headers) -> bool:
        """Start anew with other credentials than those refused."""
        with self._lock:
            if self._headers is None or dict(self._headers) != dict(refused):
                return True  # somebody else has renewed them
            now = self._clock()
            if now - self._renewed_at < RENEWAL_SECONDS:
                return False
            self._renewed_at = now
            # A new Config, because a provider keeps its token until that grows old.
            self._config = self._headers = None
            self._fetch = None
            return True

    def _at_hand(self) -> "Headers | _Fetch":
        """Return usable headers, seeing that they are renewed in time, or the fetch to wait for."""
        with self._lock:
            now = self._clock()
            age = now - self._headers_at
            if self._headers is not None and age < FRESH_SECONDS:
                return self._headers
            if self._fetch is None:
                self._fetch = self._started(now)
            elif now - self._fetch.started_at >= self._timeout_seconds:
                # Who waited for it has given up, and it may never end.
                self._leave(self._fetch)
                self._fetch = self._started(now)
            if self._headers is not None and age < USABLE_SECONDS:
                return self._headers
            return self._fetch

    def _started(self, now: float) -> _Fetch:
        self._stuck = [one for one in self._stuck if not one.done.is_set()]
        if len(self._stuck) >= _STUCK_MAX:
            raise CredentialsError("the workspace's token server doesn't answer")
        fetch = _Fetch(now)
        work = (fetch, self._config)
        threading.Thread(target=self._run, args=work, name="spendgate-token", daemon=True).start()
        return fetch

    def _leave(self, fetch: _Fetch) -> None:
        # What hangs may hold a lock inside its Config, so the next one gets a Config of its own.
        self._stuck.append(fetch)
        self._config = None

    def _run(self, fetch: _Fetch, config: Config | None) -> None:
        try:
            if config is None:
                seconds = self._timeout_seconds
                config = Config(
                    host=self._named_host,
                    http_timeout_seconds=seconds,
                    retry_timeout_seconds=max(1, round(seconds)),
                )
            headers = {name.lower(): value for name, value in config.authenticate().items()}
        except Exception as error:  # noqa: BLE001 - providers raise whatever their libraries raise
            fetch.problem = sdk_reason(error)
            _log.warning("no token for the workspace: %s", fetch.problem)
        else:
            fetch.headers = headers
            self._keep(fetch, config, headers)
        finally:
            self._finish(fetch)

    def _keep(self, fetch: _Fetch, config: Config, headers: Headers) -> None:
        with self._lock:
            if self._fetch is fetch:  # else it was given up, or its headers were refused meanwhile
                self._config, self._headers, self._headers_at = config, headers, self._clock()

    def _finish(self, fetch: _Fetch) -> None:
        with self._lock:
            if self._fetch is fetch:
                self._fetch = None
        fetch.done.set()
