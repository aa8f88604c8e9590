"""Flags of the commands that look at a workspace: the bundle's variables, by the bundle's names."""

from typing import Annotated

import typer

from spendgate.cli.workspace_names import Target

InWorkspace = Annotated[
    bool, typer.Option("--workspace", help="Look at the workspace that the bundle deploys to.")
]
OfTarget = Annotated[
    Target, typer.Option("--target", "-t", envvar="DATABRICKS_BUNDLE_TARGET", help="Which target.")
]
Catalog = Annotated[str, typer.Option(envvar="BUNDLE_VAR_catalog", help="The bundle's catalog.")]
Schema = Annotated[str, typer.Option(envvar="BUNDLE_VAR_schema", help="The bundle's schema.")]
ServicePrincipal = Annotated[
    str | None,
    typer.Option(envvar="BUNDLE_VAR_service_principal", help="Application id; default you."),
]
CredentialsScope = Annotated[
    str, typer.Option(envvar="BUNDLE_VAR_credentials_scope", help="Scope of client-secret.")
]
WarehouseId = Annotated[
    str | None, typer.Option(envvar="BUNDLE_VAR_warehouse_id", help="SQL warehouse.")
]
