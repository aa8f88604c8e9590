"""Run an ASGI app on uvicorn: checks before the start, quiet logs, one line when it is ready."""

import asyncio
import http.client
import logging
import math
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from uvicorn.supervisors import Multiprocess

from spendgate.bootstrap import build_caller, build_gateway, open_ledger, refuse_forgetting
from spendgate.config import Settings
from spendgate.domain.budget import Policy
from spendgate.domain.upstream import longest_seconds
from spendgate.errors import HostError
from spendgate.web.bounded_head import BoundedHeadProtocol

_logger = logging.getLogger("spendgate.web")

_PROBE_SECONDS = 0.1
_CLIENT_DEAD_MS = 120_000
_FILES = 65_536
_MARGIN_SECONDS = 30
# Longer than a load balancer keeps an idle connection (60 s), so that it closes first.
_KEEP_ALIVE_SECONDS = 75
# A worker that imports MLflow on a busy machine answers late; it isn't dead.
_WORKER_ANSWER_SECONDS = 60
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "spendgate": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
    },
}


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """What to run and how it says that it is ready."""

    name: str
    factory: str
    """Import string of a function without arguments that makes the ASGI app."""

    ready_path: str
    environment: Mapping[str, str]
    workers: int
    call_seconds: int
    """How long one call may take; a stopping server waits no longer for its clients."""

    client_seconds: float
    """How long a client may take to send a head."""


def check_settings(settings: Settings) -> Policy:
    """Refuse settings that no worker could start with, before what is slow.

    Returns the policy to start with.

    Raises:
        SpendgateError: naming the setting and the way out.
    """
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"the home folder {home} can't be made: {error.strerror}") from None
    if not os.access(home, os.W_OK | os.X_OK):
        raise HostError(f"the home folder {home} isn't writable; choose another with --home")
    build_caller(settings)
    with closing(open_ledger(settings)) as ledger:
        refuse_forgetting(settings, ledger)
        build_gateway(settings, ledger)
        return ledger.policies.policy()


def call_seconds(settings: Settings, policy: Policy) -> int:
    """Return how long one call may take: its model calls, waiting for money, the ledger."""
    calls = longest_seconds(policy.upstreams, policy.router, settings.upstream_timeout_seconds)
    return math.ceil(calls + settings.held_wait_seconds + _MARGIN_SECONDS)


def bind(host: str, port: int) -> socket.socket:
    """Bind a TCP socket without listening yet.

    The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer waits
    45 ms for the client's acknowledgement (measured with uvicorn's own socket and two workers).

    Raises:
        HostError: if the address is taken or isn't ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise HostError(f"the address {host!r} can't be used: {error.strerror}") from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Of a client that neither reads nor closes, the connection and its buffers are freed.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _CLIENT_DEAD_MS)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise HostError(_port_message(host, port, error)) from None
    return bound


def run_server(plan: ServerPlan, bound: socket.socket) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT; calls in flight finish first.

    Raises:
        HostError: if somebody else began to listen on the port meanwhile.
    """
    os.environ.update(plan.environment)
    _allow_many_connections()
    config = server_config(plan)
    host, port = bound.getsockname()[:2]
    threading.Thread(target=_announce, args=(plan, host, port), daemon=True).start()
    if plan.workers > 1:
        with tempfile.TemporaryDirectory(prefix="spendgate-metrics-") as folder:
            os.environ.update(PROMETHEUS_MULTIPROC_DIR=folder)  # workers add up there
            Multiprocess(config, sockets=[bound]).run()
        return
    # uvicorn raises the signal again when it has shut down; the default action would end the
    # process as killed, before what follows the server.
    signal.signal(signal.SIGTERM, _exit_cleanly)
    try:
        uvicorn.Server(config).run(sockets=[bound])
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise HostError(_port_message(host, port, error)) from None


def server_config(plan: ServerPlan) -> uvicorn.Config:
    """Return how uvicorn runs a plan."""
    protocol = partial(BoundedHeadProtocol, head_seconds=plan.client_seconds)
    return uvicorn.Config(
        plan.factory,
        factory=True,
        http=cast("type[asyncio.Protocol]", protocol),  # uvicorn only calls it
        workers=plan.workers,
        lifespan="on",
        log_config=_LOGGING,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks for the client's address, which they'd rewrite
        ws="none",
        timeout_graceful_shutdown=plan.call_seconds,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_worker_healthcheck=_WORKER_ANSWER_SECONDS,
    )


def _allow_many_connections() -> None:
    """Take as many open files as the system gives: a call has two, and 1,024 is common."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _exit_cleanly(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _port_message(host: str, port: int, error: OSError) -> str:
    return f"port {port} of {host} can't be used: {error.strerror}; choose another with --port"


def _announce(plan: ServerPlan, host: str, port: int) -> None:
    """Log the URL once the server itself answers on it."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    while not _answers(reachable, port, plan.ready_path):
        time.sleep(_PROBE_SECONDS)
    shown = f"[{reachable}]" if ":" in reachable else reachable
    _logger.info("%s is ready at http://%s:%d", plan.name, shown, port)


def _answers(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
