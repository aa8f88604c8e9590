"""The one way to a workspace's REST API: databricks-sdk, told not to wait for minutes.

The SDK looks a host up, and repeats failed requests, for up to 300 s (0.156: `_BaseClient`), and
asks its token server without a time-out; who must not hang wraps calls in a `BoundedWait`.
"""

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors.base import DatabricksError

SDK_ERRORS = (DatabricksError, ValueError, OSError, TimeoutError)
"""What its calls raise: refusals; missing credentials (ValueError); the network."""


def workspace_client(timeout_seconds: float) -> WorkspaceClient:
    """Return a client with the environment's credentials that doesn't retry for minutes."""
    return WorkspaceClient(
        config=Config(
            http_timeout_seconds=timeout_seconds,
            retry_timeout_seconds=max(1, round(timeout_seconds)),
        )
    )


def sdk_reason(error: BaseException) -> str:
    """Return the first line of an SDK's error: the rest lists the whole configuration."""
    lines = str(error).splitlines()
    first = lines[0].split(". Config:", maxsplit=1)[0] if lines else ""
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__
