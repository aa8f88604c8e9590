"""One model server as both clients need it: where it is, what it is sent, how long it may take."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from spendgate.adapters.credentials import Credentials, FixedKey, Headers, ReferencedKey
from spendgate.adapters.upstream_request import UpstreamRequest, base_url, shape_request
from spendgate.config import Settings
from spendgate.domain.upstream import WORKSPACE, UpstreamKind, UpstreamSpec, url_without_user
from spendgate.errors import CredentialsError, HostError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How long a server may take, and how many connections are kept to it; a host's settings."""

    timeout_seconds: float = 290.0
    connect_seconds: float = 5.0
    token_seconds: float = 10.0
    connections_max: int = 256
    keepalive_seconds: float = 2.0


def limits_of(settings: Settings) -> ServerLimits:
    """Return a host's limits for all servers; the policy may set some of them per server."""
    return ServerLimits(
        timeout_seconds=settings.upstream_timeout_seconds,
        connect_seconds=settings.connect_timeout_seconds,
        token_seconds=settings.upstream_token_seconds,
        connections_max=settings.upstream_connections_max,
        keepalive_seconds=settings.upstream_keepalive_seconds,
    )


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A server with its limits; `base` is asked for the URL when a call is made."""

    spec: UpstreamSpec
    base: Callable[[], str]
    credentials: Credentials
    limits: ServerLimits

    @property
    def timeout_seconds(self) -> float:
        """How long one call may take."""
        return self.spec.timeout_seconds or self.limits.timeout_seconds

    @property
    def connect_seconds(self) -> float:
        """How long a connection may take to open."""
        return self.spec.connect_seconds or self.limits.connect_seconds

    def request(self, route: str, body: Mapping[str, object]) -> UpstreamRequest:
        """Return what this server is sent; a workspace's URL may need its credentials first."""
        return shape_request(self.spec, self.base(), route, body)

    def is_renewed(self, status: int, headers: Headers) -> bool:
        """Tell whether a key was refused and another one may do."""
        if status != 401:
            return False
        try:
            return self.credentials.renew(headers)
        except CredentialsError as error:
            self.report(error)
            return False

    def report(self, error: CredentialsError) -> None:
        """Log why there is no key; a caller is only told that the server was not reached."""
        _log.warning("upstream %s: %s", self.spec.name, error)


def own_server(
    url: str, api_key: SecretStr | None = None, limits: ServerLimits | None = None
) -> ModelServer:
    """Return a host's own server: `--upstream` and its key.

    Raises:
        HostError: if the URL or the key can't be used.
    """
    if url == WORKSPACE:
        if api_key is not None:
            raise HostError(
                f"--upstream {WORKSPACE} takes the workspace's own credentials, no key; unset "
                "SPENDGATE_UPSTREAM_API_KEY"
            )
        spec = UpstreamSpec(WORKSPACE, kind=UpstreamKind.DATABRICKS)
        return named_server(spec, limits or ServerLimits())
    try:
        base = base_url(url_without_user(url))
    except ValueError as error:
        raise HostError(f"--upstream {error}") from None
    try:
        key = FixedKey(api_key)
    except CredentialsError as error:
        raise HostError(str(error)) from None
    spec = UpstreamSpec(base.split("://", 1)[1].split("/", 1)[0], base)
    return ModelServer(spec, lambda: base, key, limits or ServerLimits())


def named_server(spec: UpstreamSpec, limits: ServerLimits) -> ModelServer:
    """Return a server of the policy; its key is looked for when a call is made."""
    if spec.kind is UpstreamKind.DATABRICKS and spec.key is None:
        from spendgate.adapters.workspace_key import WorkspaceKey  # noqa: PLC0415 - slow to load

        workspace = WorkspaceKey(spec.url, timeout_seconds=limits.token_seconds)
        return ModelServer(spec, lambda: workspace.host, workspace, limits)
    credentials = FixedKey() if spec.key is None else ReferencedKey(spec.key, spec.name)
    url = spec.url or ""
    base = url if spec.kind is UpstreamKind.DATABRICKS else base_url(url, what=spec.name)
    return ModelServer(spec, lambda: base, credentials, limits)
