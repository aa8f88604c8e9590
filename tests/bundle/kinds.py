"""What a resource of each kind may hold, by databricks-bundles' strict classes.

It has none of the Lakebase kinds; there a resource is the SDK's spec, its id and its parent side by
side (https://docs.databricks.com/aws/en/oltp/projects/manage-with-bundles).
"""

import dataclasses
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from databricks.bundles.alerts import Alert
from databricks.bundles.apps import App
from databricks.bundles.dashboards import Dashboard
from databricks.bundles.experiments import MlflowExperiment
from databricks.bundles.job_runs import JobRun
from databricks.bundles.jobs import Job
from databricks.bundles.model_serving_endpoints import ModelServingEndpoint
from databricks.bundles.registered_models import RegisteredModel
from databricks.bundles.schemas import Schema
from databricks.bundles.secret_scopes import SecretScope
from databricks.bundles.volumes import Volume
from databricks.sdk.service import postgres
from tests.bundle.documents import Bundle, Resource

STRICT: Mapping[str, Any] = {  # classes with `from_dict`, which their base class lacks
    "alerts": Alert,
    "apps": App,
    "dashboards": Dashboard,
    "experiments": MlflowExperiment,
    "job_runs": JobRun,
    "jobs": Job,
    "model_serving_endpoints": ModelServingEndpoint,
    "registered_models": RegisteredModel,
    "schemas": Schema,
    "secret_scopes": SecretScope,
    "volumes": Volume,
}

LAKEBASE: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "postgres_projects": (postgres.ProjectSpec, ("project_id",)),
    "postgres_branches": (postgres.BranchSpec, ("parent", "branch_id")),
    "postgres_endpoints": (postgres.EndpointSpec, ("parent", "endpoint_id", "endpoint_type")),
    "postgres_roles": (postgres.RoleRoleSpec, ("parent", "role_id")),
}

OUTPUTS: Mapping[str, frozenset[str]] = {
    "jobs": frozenset({"id"}),
    "job_runs": frozenset({"id", "state.result_state"}),
    "postgres_projects": frozenset({"id"}),
    "postgres_branches": frozenset({"id"}),
    "postgres_endpoints": frozenset({"id"}),
    "postgres_roles": frozenset({"id"}),
    "registered_models": frozenset({"id", "full_name"}),
}
"""What the engine knows of a resource beyond its own fields."""


def unknown_kinds_and_fields(bundle: Bundle) -> list[str]:
    """Load every resource strictly."""
    problems: list[str] = []
    for one in bundle.resources:
        if one.kind in LAKEBASE:
            problems += _lakebase(one)
        elif one.kind not in STRICT:
            problems.append(f"{one.name}: there is no resource type {one.kind}")
        else:
            try:
                STRICT[one.kind].from_dict(one.value)
            except (TypeError, ValueError) as error:
                problems.append(f"{one.name}: {error}")
    return problems


def _lakebase(one: Resource) -> list[str]:
    spec, required = LAKEBASE[one.kind]
    fields = typing.get_type_hints(spec)
    problems = [f"{one.name}: {name} is missing" for name in required if name not in one.value]
    for name, value in one.value.items():
        if name in required and name not in fields:
            continue
        if name == "replace_existing" and isinstance(value, bool):
            continue
        if name not in fields:
            problems.append(f"{one.name}: unexpected field {name!r}")
        elif not _fits(value, fields[name]):
            problems.append(f"{one.name}: {name} can't be {value!r}")
    return problems


def _fits(value: object, hint: object) -> bool:
    options = [one for one in typing.get_args(hint) if one is not type(None)] or [hint]
    kind = options[0]
    if typing.get_origin(kind) is list:
        (inner,) = typing.get_args(kind)
        return isinstance(value, list) and all(_fits(one, inner) for one in value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return value in [member.value for member in kind]
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if dataclasses.is_dataclass(kind):
        return isinstance(value, dict)
    if kind in {str, int, bool}:
        return type(value) is kind
    return isinstance(value, str)  # durations and instants are written as text
