"""The secrets of a deployment: which there are, who makes them, and how the made ones are made."""

import base64
import secrets
from collections.abc import Mapping

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound, PermissionDenied

from spendgate.errors import HostError

SIGNING_KEY = "signing-key"
ADMIN_TOKEN = "admin-token"  # noqa: S105 - a name
WORKSPACE_HOST = "workspace-host"
CLIENT_SECRET = "client-secret"  # noqa: S105 - a name

MADE = (SIGNING_KEY, ADMIN_TOKEN, WORKSPACE_HOST)
"""In the bundle's own scope, by the setup job."""
GIVEN = (CLIENT_SECRET,)
"""In a scope made by hand, by a person, before the first deploy."""

KEY_BYTES = 32


def fill_scope(client: WorkspaceClient, scope: str) -> Mapping[str, bool]:
    """Make what a scope lacks; say of each secret whether it was made now.

    What is there is never replaced: a new signing key would refuse every token of the old one.

    Raises:
        HostError: if there is no such scope, or it can't be written.
        DatabricksError: if the workspace fails otherwise.
    """
    try:
        known = {one.key for one in client.secrets.list_secrets(scope)}
        made = {name: name not in known for name in MADE}
        for name, is_missing in made.items():
            if is_missing:
                client.secrets.put_secret(scope, name, string_value=_value(client, name))
    except NotFound:
        raise HostError(
            f"there is no secret scope {scope!r}; `databricks bundle deploy` makes it, or "
            f"`databricks secrets create-scope {scope}`"
        ) from None
    except PermissionDenied:
        me = client.current_user.me().user_name
        raise HostError(
            f"secret scope {scope!r} can't be written; an owner of it types `databricks secrets "
            f"put-acl {scope} {me} WRITE`"
        ) from None
    return made


def check_given(client: WorkspaceClient, scope: str) -> None:
    """See that the secrets which a person puts are there.

    Who runs this may have no right on that scope, and needs none: an endpoint's secrets are read
    with the right of who made the endpoint. Then nothing is said.

    Raises:
        HostError: naming what is missing and the command.
        DatabricksError: if the workspace fails otherwise.
    """
    put = f"`databricks secrets put-secret {scope} {CLIENT_SECRET}`"
    try:
        keys = secret_keys(client, scope)
    except NotFound:
        raise HostError(
            f"there is no secret scope {scope!r}; type `databricks secrets create-scope {scope}`, "
            f"then {put}"
        ) from None
    except PermissionDenied:
        return
    if CLIENT_SECRET not in keys:
        raise HostError(f"secret scope {scope!r} has no {CLIENT_SECRET}; type {put}, deploy again")


def secret_keys(client: WorkspaceClient, scope: str) -> frozenset[str]:
    """Return the names in a scope.

    Raises:
        DatabricksError: if it can't be read.
    """
    return frozenset(one.key for one in client.secrets.list_secrets(scope) if one.key)


def _value(client: WorkspaceClient, name: str) -> str:
    if name == WORKSPACE_HOST:
        # The endpoint's container isn't told, and its credentials need it.
        return client.config.host or ""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode().rstrip("=")
