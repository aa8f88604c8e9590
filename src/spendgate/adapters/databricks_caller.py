# pyright: reportMissingTypeStubs=false
# databricks-ai-bridge ships no types.
"""Who queries a Model Serving endpoint: the user on whose behalf the platform lets us ask.

databricks-ai-bridge finds the user's token of the request that this thread answers; the workspace
says whose it is. So it must be asked in the thread in which MLflow called `predict`.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import PermissionDenied, Unauthenticated
from databricks.sdk.errors.base import DatabricksError
from databricks_ai_bridge import ModelServingUserCredentials

from spendgate.adapters.per_process import PerProcess
from spendgate.domain.scope import WILDCARD, Dimension, ScopeError, checked_value
from spendgate.errors import CallerError, CallerUnavailableError

API_SCOPES = ("iam.current-user:read",)
"""What the logged model's UserAuthPolicy must ask for, so that a token says whose it is."""

_KNOWN_MAX = 10_000
_KNOWN_SECONDS = 3600.0
"""A token's user never changes; it is only forgotten so that old tokens make room."""


class DatabricksCaller:
    """Asks the workspace whose token a request carries, once per token."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        known_max: int = _KNOWN_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._known_max = known_max
        self._clock = clock
        self._client = PerProcess(self._make_client)
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def __call__(self) -> dict[str, str]:
        """Return the caller as `{"user": name}`.

        Raises:
            CallerError: if the platform passed no user token on, or the workspace refuses it.
            CallerUnavailableError: if the workspace doesn't answer in time.
        """
        client, digest = self._request()
        now = self._clock()
        with self._lock:
            known = self._known.get(digest)
        if known is None or now >= known[1]:
            known = (self._ask(client), now + _KNOWN_SECONDS)
            with self._lock:
                self._known[digest] = known
                while len(self._known) > self._known_max:
                    self._known.popitem(last=False)
        return {Dimension.USER.value: known[0]}

    def _request(self) -> tuple[WorkspaceClient, bytes]:
        """Return the client and the digest of the token that it uses for this request."""
        try:
            client = self._client.get()
            header = client.config.authenticate()["Authorization"]
        # RuntimeError is ai-bridge's for a missing token, ValueError the SDK's for the same.
        except (ValueError, RuntimeError, KeyError):
            raise CallerError(
                "Model Serving passed no user token on: log the model with a UserAuthPolicy of "
                f"{', '.join(API_SCOPES)}, and enable on-behalf-of-user authorization in the "
                "workspace"
            ) from None
        return client, hashlib.sha256(header.encode()).digest()

    def _ask(self, client: WorkspaceClient) -> str:
        try:
            name = checked_value("the caller's name", client.current_user.me().user_name)
            if name == WILDCARD:
                raise ScopeError("the caller's name can't be '*'; that is a budget's word")
            return name
        except (Unauthenticated, PermissionDenied) as error:
            raise CallerError(
                f"the workspace doesn't say whose token this is ({type(error).__name__}); the "
                f"model's UserAuthPolicy must have {', '.join(API_SCOPES)}"
            ) from None
        except ScopeError as error:
            raise CallerError(str(error)) from None
        # ValueError is what the SDK makes of an answer that is no JSON.
        except (DatabricksError, OSError, TimeoutError, ValueError) as error:
            raise CallerUnavailableError(
                f"the workspace can't be asked who calls ({type(error).__name__}); try again"
            ) from None

    def _make_client(self) -> WorkspaceClient:
        credentials = ModelServingUserCredentials()
        return WorkspaceClient(
            config=Config(
                credentials_strategy=credentials,
                # Named, or credentials of ours in the environment would make two ways to log in.
                auth_type=credentials.auth_type(),
                http_timeout_seconds=self._timeout_seconds,
                retry_timeout_seconds=max(1, round(self._timeout_seconds)),
            )
        )
