"""Model servers and the ways between them: who serves a model, and what may stand in for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

ATTEMPTS_MAX = 10
"""However many places there are: a call that ten attempts didn't serve is told so."""


class UpstreamKind(StrEnum):
    """Which dialect of paths and credentials a model server speaks."""

    OPENAI = "openai"
    DATABRICKS = "databricks"


class WorkspacePath(StrEnum):
    """By which of its doors a Databricks workspace is called; they report usage apart."""

    INVOCATIONS = "invocations"
    OPENAI = "openai"
    AI_GATEWAY = "ai_gateway"


class Strategy(StrEnum):
    """How a router chooses: the cheapest that fits, the first that fits, or always the first."""

    COST_OPTIMIZED = "cost_optimized"
    PRIORITY = "priority"
    FIXED = "fixed"


class Cause(StrEnum):
    """Why an attempt failed before its first byte, as far as it decides about another one."""

    CONNECT = "connect"
    """Not sent: no address, no connection, no credentials."""

    RATE_LIMIT = "429"
    SERVER_ERROR = "5xx"
    LOST = "lost"
    """Sent, and no answer came: a time-out, a connection that broke."""

    DENIED = "denied"
    """401, 403, 404: this server doesn't serve this model to us."""


WORKSPACE = "databricks"
"""Instead of a host's own URL: the workspace that the environment's credentials name."""


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """One model server as the policy describes it; a secret is only ever referred to.

    None stands for the host's own setting. `url` may be missing for a workspace that the
    environment names. `aliases` says how the server itself calls a model.
    """

    name: str
    url: str | None = None
    kind: UpstreamKind = UpstreamKind.OPENAI
    path: WorkspacePath = WorkspacePath.INVOCATIONS
    key: str | None = None
    models: tuple[str, ...] = ("*",)
    aliases: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    geo: str | None = None
    timeout_seconds: float | None = None
    connect_seconds: float | None = None
    bills_5xx: bool | None = None
    sends_usage_context: bool = True

    def serves(self, model: str) -> bool:
        """Tell whether this server is named for a model, by its name or a pattern."""
        return model in self.aliases or any(fnmatchcase(model, one) for one in self.models)

    def own_name(self, model: str) -> str:
        """Return what this server calls a model."""
        return self.aliases.get(model, model)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, how long and why a call is tried again; each attempt has its own hold.

    `attempts_max` counts the first attempt; None tries each place once.
    """

    attempts_max: int | None = None
    total_seconds: float = 60.0
    backoff_seconds: float = 0.5
    causes: tuple[Cause, ...] = (Cause.CONNECT, Cause.RATE_LIMIT, Cause.SERVER_ERROR)


@dataclass(frozen=True, slots=True)
class Router:
    """Which models a call may be served by besides the one it names.

    A call for the model `name` is served by one of `candidates`; a call for any other model goes to
    that model's `fallbacks` when all its servers fail. `call_max_nano` leaves out a candidate on
    which this call could cost more.
    """

    name: str = "auto"
    strategy: Strategy = Strategy.PRIORITY
    candidates: tuple[str, ...] = ()
    fallbacks: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]], hash=False
    )
    retries: Retries = Retries()
    call_max_nano: int | None = None

    def routes(self, model: str) -> bool:
        """Tell whether a model's name asks for the router's choice."""
        return bool(self.candidates) and model == self.name


def url_without_user(url: str) -> str:
    """Return a host's URL of its model server; messages quote it, so it may hold no credentials.

    Raises:
        ValueError: if it does, without quoting it.
    """
    if "@" in url:  # a password may hold any other character, so all of the text counts
        raise ValueError(
            "holds a user or password before the @; take them out and set "
            "SPENDGATE_UPSTREAM_API_KEY"
        )
    return url


def longest_seconds(specs: tuple[UpstreamSpec, ...], router: Router, own_seconds: float) -> float:
    """Return how long one call may take with all its attempts, in seconds.

    No attempt begins after `total_seconds`, so one attempt's time comes on top. `own_seconds` is
    the time-out of servers that name none.
    """
    longest = max([own_seconds, *(one.timeout_seconds or 0.0 for one in specs)])
    may_try_again = bool(specs) or router != Router()
    return longest + router.retries.total_seconds if may_try_again else longest


def serving(specs: Iterable[UpstreamSpec], model: str) -> tuple[UpstreamSpec, ...]:
    """Return the servers of a model in their order of preference."""
    return tuple(one for one in specs if one.serves(model))
