"""The checks of `doctor --workspace`: what a deploy needs, each with the command that mends it."""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound

from spendgate.adapters.bounded_wait import BoundedWait
from spendgate.adapters.lakebase import parse_lakebase_url
from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.shared_ledger import LAKEBASE_SCHEME
from spendgate.adapters.workspace import SDK_ERRORS, sdk_reason, workspace_client
from spendgate.adapters.workspace_secrets import CLIENT_SECRET, MADE, secret_keys
from spendgate.bootstrap import utc_now
from spendgate.cli.checks import Check, Status
from spendgate.cli.workspace_names import WAREHOUSE, Choices, Deployment, deployment_of

SECONDS = 15.0
"""How long the workspace may take for one check."""
CLI_VERSION_MIN = (1, 12)
_SHOWN_MAX = 8
_EVERYBODY = "account users"
_ALL = "ALL_PRIVILEGES"
_NOBODY = "cannot configure default credentials"
Look = Callable[[WorkspaceClient, Deployment], list[Check]]


def run_workspace_checks(choices: Choices, *, seconds: float = SECONDS) -> list[Check]:
    """Run all checks; one that fails doesn't stop the others, but without credentials none can."""
    wait = BoundedWait(seconds)

    def sign_in() -> tuple[WorkspaceClient, Deployment]:
        client = workspace_client(seconds / 3)  # it looks the host up first, which may fail
        me = client.current_user.me()
        return client, deployment_of(choices, me.user_name or "", me.id or "")

    try:
        client, names = wait(sign_in)
    except SDK_ERRORS as error:
        way_out = (
            "`databricks auth login --host https://…`, then DATABRICKS_CONFIG_PROFILE; "
            "`databricks auth profiles` lists those there are"
        )
        said = sdk_reason(error)
        if _NOBODY in str(error):
            said = "no profile, or no host and credentials"
        elif isinstance(error, OSError):
            said = f"the workspace doesn't answer: {said}"
            way_out = "check DATABRICKS_HOST, or the profile's host, and the way there"
        return [_cli(), Check("credentials", Status.FAIL, said, way_out)]
    found = [
        _cli(),
        Check("credentials", Status.OK, f"{names.user} at {client.config.host}"),
        _service_principal(names),
    ]
    looks: Sequence[tuple[str, Look]] = (
        ("catalog", _catalog),
        ("credentials scope", _credentials_scope),
        ("secret scope", _secret_scope),
        ("warehouse", _warehouse),
        ("models", _models),
        ("lakebase", _lakebase),
        ("endpoint", _endpoint),
    )
    for name, look in looks:
        try:
            found += wait(lambda look=look: look(client, names))
        except SDK_ERRORS as error:
            way_out = f"ask an administrator to let {names.user} see it, or try again"
            found.append(Check(name, Status.FAIL, sdk_reason(error), way_out))
    return found


def _cli() -> Check:
    name, least = "databricks cli", ".".join(map(str, CLI_VERSION_MIN))
    way_out = f"install {least} or newer: https://docs.databricks.com/dev-tools/cli/install"
    program = shutil.which("databricks")
    if program is None:
        return Check(name, Status.WARN, "no databricks on the PATH", way_out)
    try:
        said = subprocess.run(  # noqa: S603 - the program found above, no user input
            [program, "--version"], capture_output=True, text=True, timeout=SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return Check(name, Status.WARN, f"{program} doesn't answer", way_out)
    version = re.search(r"(\d+)\.(\d+)\.\d+", said)
    if version is None or (int(version[1]), int(version[2])) < CLI_VERSION_MIN:
        return Check(name, Status.FAIL, f"is {version[0] if version else said[:40]!r}", way_out)
    return Check(name, Status.OK, version[0])


def _service_principal(names: Deployment) -> Check:
    if names.has_application_id:
        return Check("service principal", Status.OK, names.service_principal)
    way_out = (
        "BUNDLE_VAR_service_principal=<application id>; `databricks service-principals list` "
        "shows those there are"
    )
    detail = f"{names.service_principal!r} is no application id"
    return Check("service principal", Status.FAIL, detail, way_out)


def _catalog(client: WorkspaceClient, names: Deployment) -> list[Check]:
    catalog = names.catalog
    try:
        owner = client.catalogs.get(catalog).owner
    except NotFound:
        way_out = f"`databricks catalogs create {catalog}`, or BUNDLE_VAR_catalog=<another>"
        return [Check("catalog", Status.FAIL, f"there is no catalog {catalog!r}", way_out)]
    answer = client.grants.get_effective("catalog", catalog)
    holders: dict[str, set[str]] = {}
    for one in answer.privilege_assignments or []:
        for privilege in one.privileges or []:
            if privilege.privilege is not None and one.principal is not None:
                holders.setdefault(privilege.privilege.value, set()).add(one.principal)
    needed = [(names.user, "USE_CATALOG"), (names.user, "CREATE_SCHEMA")]
    if names.service_principal != names.user:
        needed.append((names.service_principal, "USE_CATALOG"))
    found = [Check("catalog", Status.OK, catalog)]
    for principal, privilege in needed:
        having = holders.get(privilege, set()) | holders.get(_ALL, set())
        if principal != owner and not {principal, _EVERYBODY} & having:
            found.append(_missing_grant(catalog, principal, privilege, having))
    return found


def _missing_grant(catalog: str, principal: str, privilege: str, having: set[str]) -> Check:
    change = f'{{"changes": [{{"principal": "{principal}", "add": ["{privilege}"]}}]}}'
    way_out = f"`databricks grants update catalog {catalog} --json '{change}'`"
    if having:
        detail = f"{principal} needs {privilege}, unless in {', '.join(sorted(having))}"
        return Check("grants", Status.WARN, detail, way_out)
    return Check("grants", Status.FAIL, f"{principal} needs {privilege} on {catalog}", way_out)


def _credentials_scope(client: WorkspaceClient, names: Deployment) -> list[Check]:
    name, scope = "credentials scope", names.credentials_scope
    put = f"databricks secrets put-secret {scope} {CLIENT_SECRET}"
    try:
        keys = secret_keys(client, scope)
    except NotFound:
        way_out = f"`databricks secrets create-scope {scope}`, then `{put}`"
        return [Check(name, Status.FAIL, f"there is no secret scope {scope!r}", way_out)]
    if CLIENT_SECRET not in keys:
        return [Check(name, Status.FAIL, f"{scope} has no {CLIENT_SECRET}", f"`{put}`")]
    return [Check(name, Status.OK, f"{scope}/{CLIENT_SECRET}")]


def _secret_scope(client: WorkspaceClient, names: Deployment) -> list[Check]:
    name, scope = "secret scope", names.secret_scope
    try:
        missing = [key for key in MADE if key not in secret_keys(client, scope)]
    except NotFound:
        return [Check(name, Status.WARN, f"no {scope} yet", f"made by {names.deploy}")]
    if missing:
        way_out = f"`databricks bundle run -t {names.target} setup`"
        return [Check(name, Status.FAIL, f"{scope} has no {', '.join(missing)}", way_out)]
    return [Check(name, Status.OK, f"{scope}: {', '.join(MADE)}")]


def _warehouse(client: WorkspaceClient, names: Deployment) -> list[Check]:
    known = {one.id or "": one.name or "" for one in client.warehouses.list()}
    wanted = names.warehouse_id
    if wanted in known or (wanted is None and WAREHOUSE in known.values()):
        return [Check("warehouse", Status.OK, WAREHOUSE if wanted is None else known[wanted])]
    there = ", ".join(f"{name} = {one}" for one, name in list(known.items())[:_SHOWN_MAX]) or "none"
    detail = f"there is no warehouse {wanted or WAREHOUSE!r}; there are: {there}"
    return [Check("warehouse", Status.FAIL, detail, "BUNDLE_VAR_warehouse_id=<id of one>")]


def _models(client: WorkspaceClient, names: Deployment) -> list[Check]:
    book, at = load_price_book((), ()), utc_now()
    models = sorted(
        one.name
        for one in client.serving_endpoints.list()
        if one.name and one.name != names.endpoint and (one.task or "").startswith("llm/")
    )
    if not models:
        way_out = f"let {names.user} and {names.service_principal} query model endpoints"
        return [Check("models", Status.FAIL, "no model endpoint is seen here", way_out)]
    unpriced = [name for name in models if not book.has(name, at)]
    priced = len(models) - len(unpriced)
    figures = {"priced_models": priced, "unpriced_models": len(unpriced)}
    if not unpriced:
        return [Check("models", Status.OK, f"{priced}, all with a price", figures=figures)]
    shown = ", ".join(unpriced[:_SHOWN_MAX]) + (" …" if len(unpriced) > _SHOWN_MAX else "")
    detail = f"{priced} with a price; calls of these are refused: {shown}"
    way_out = "`spendgate price set MODEL --input … --output … --from DATE`, where they are wanted"
    return [Check("models", Status.WARN, detail, way_out, figures)]


def _lakebase(client: WorkspaceClient, names: Deployment) -> list[Check]:
    if not names.ledger_url.startswith(LAKEBASE_SCHEME):
        return []
    endpoint = parse_lakebase_url(names.ledger_url).endpoint
    try:
        status = client.postgres.get_endpoint(endpoint).status
    except NotFound:
        way_out = f"made by {names.deploy}"
        return [Check("lakebase", Status.WARN, f"no {endpoint} yet", way_out)]
    host = status.hosts.host if status is not None and status.hosts is not None else None
    if not host:
        way_out = "enable the endpoint in the project's page"
        return [Check("lakebase", Status.FAIL, f"{endpoint} has no host", way_out)]
    if not client.postgres.generate_database_credential(endpoint).token:
        way_out = f"give {names.user} a role in the project"
        return [Check("lakebase", Status.FAIL, f"{endpoint} gives no token", way_out)]
    return [Check("lakebase", Status.OK, f"{endpoint} gives a token")]


def _endpoint(client: WorkspaceClient, names: Deployment) -> list[Check]:
    try:
        state = client.serving_endpoints.get(names.endpoint).state
    except NotFound:
        way_out = f"made by {names.deploy}"
        return [Check("endpoint", Status.WARN, f"no {names.endpoint} yet", way_out)]
    ready = state.ready.value if state is not None and state.ready is not None else "UNKNOWN"
    if ready == "READY":
        return [Check("endpoint", Status.OK, f"{names.endpoint} is ready")]
    way_out = f"`databricks serving-endpoints build-logs {names.endpoint} gate` says why"
    return [Check("endpoint", Status.FAIL, f"{names.endpoint} is {ready}", way_out)]
