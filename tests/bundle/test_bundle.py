"""The bundle without a workspace: every target is right, and every seeded mistake is found."""

import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.bundle.checks import CHECKS, Check
from tests.bundle.documents import (
    MAIN,
    ROOT,
    TARGETS,
    Documents,
    bundle_of,
    mutated,
    read_documents,
)
from tests.bundle.quartz import quartz_problem

from spendgate import __version__
from spendgate.adapters.workspace_secrets import GIVEN, MADE

DOCUMENTS = read_documents()
DESIGN_JOBS = {
    "setup", "drain", "aggregate", "reconcile", "sync_policies", "chargeback", "maintain"
}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.__name__)
def test_the_bundle_is_right(check: Check, target: str):
    assert check(bundle_of(DOCUMENTS, target)) == []


def test_everything_the_outcome_names_is_there():
    bundle = bundle_of(DOCUMENTS, "prod")
    kinds = {one.kind for one in bundle.resources}

    assert {one.key for one in bundle.of("jobs")} == DESIGN_JOBS
    assert kinds >= {
        "alerts", "apps", "experiments", "job_runs", "model_serving_endpoints", "postgres_branches",
        "postgres_endpoints", "postgres_projects", "postgres_roles", "registered_models", "schemas",
        "secret_scopes", "volumes",
    }  # fmt: skip
    has_drawing = (ROOT / "resources/spend.lvdash.json").exists()
    assert len(bundle.of("dashboards")) == has_drawing
    assert len((ROOT / MAIN).read_text("utf-8").splitlines()) < 100


def test_the_app_is_deployed_only_where_somebody_includes_it():
    assert not any("app/" in pattern for pattern in DOCUMENTS[MAIN]["include"])
    (wheel,) = (ROOT / "resources/app/source/requirements.txt").read_text("utf-8").splitlines()
    assert wheel == f"./spendgate-{__version__}-py3-none-any.whl"


def test_an_own_postgres_takes_the_lakebase_away():
    documents = {file: document for file, document in DOCUMENTS.items() if "lakebase/" not in file}
    own = mutated(
        documents,
        _set(MAIN, "variables.ledger_url.default", "secret:spendgate-credentials/ledger-url"),
    )
    bundle = bundle_of(own, "prod")

    assert [line for check in CHECKS for line in check(bundle)] == []
    assert not [one for one in bundle.resources if one.kind.startswith("postgres")]


def test_a_release_is_built_under_one_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert "version" not in project.get("dynamic", ())
    assert project["version"] == __version__
    assert DOCUMENTS[MAIN]["artifacts"]["wheel"]["build"] == "uv build --wheel"


def test_the_page_about_it_names_every_secret_and_the_doctor_s_command():
    page = (ROOT / "docs/deploy.md").read_text("utf-8")

    assert [name for name in (*MADE, *GIVEN) if f"`{name}`" not in page] == []
    assert "spendgate doctor --workspace" in page
    assert "spendgate doctor --workspace" in (ROOT / "README.md").read_text("utf-8")


def _at(documents: Documents, file: str, path: str) -> tuple[Any, Any]:
    *way, last = path.split(".")
    place = documents[file]
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    return place, int(last) if isinstance(place, list) else last


def _set(file: str, path: str, value: object) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        place, last = _at(documents, file, path)
        place[last] = value

    return change


def _drop(file: str, path: str) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        place, last = _at(documents, file, path)
        del place[last]

    return change


def _add(file: str, text: str) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        documents[file] = yaml.safe_load(text)

    return change


DRAIN = "resources/drain.job.yml"
ALERT = "resources/budget_exhausted.alert.yml"
GATE = "resources/gate.model_serving_endpoint.yml"
ENTITY = "resources.model_serving_endpoints.gate.config.served_entities.0"
TASK = "resources.jobs.drain.tasks.0"
SETUP = "resources/setup.job.yml"
PROJECT = "resources/lakebase/ledger_project.postgres_project.yml"
ROLE = "resources/lakebase/ledger_role.postgres_role.yml"

MISTAKES: dict[str, tuple[Callable[[Documents], None], str]] = {
    "an unknown field": (_set(DRAIN, "resources.jobs.drain.max_runz", 1), "max_runz"),
    "a wrong enumeration": (_set(GATE, f"{ENTITY}.workload_type", "TPU"), "TPU"),
    "a missing field": (
        _drop(ALERT, "resources.alerts.budget_exhausted.display_name"),
        "display_name",
    ),
    "an unknown type": (
        _add("resources/x.gizmo.yml", "{resources: {gizmos: {x: {}}}}"),
        "there is no resource type gizmos",
    ),
    "an unknown field of Lakebase": (
        _set(PROJECT, "resources.postgres_projects.ledger_project.pg_versjon", 17),
        "pg_versjon",
    ),
    "a wrong enumeration of Lakebase": (
        _set(ROLE, "resources.postgres_roles.ledger_role.identity_type", "ROBOT"),
        "ROBOT",
    ),
    "a missing field of Lakebase": (
        _drop(ROLE, "resources.postgres_roles.ledger_role.parent"),
        "parent is missing",
    ),
    "a misspelt variable": (
        _set(GATE, f"{ENTITY}.entity_version", "${var.model_versoin}"),
        "${var.model_versoin} names nothing",
    ),
    "a misspelt resource": (
        _set(GATE, f"{ENTITY}.entity_name", "${resources.registered_models.gte.full_name}"),
        "names nothing",
    ),
    "a misspelt field of a resource": (
        _set(GATE, f"{ENTITY}.entity_name", "${resources.registered_models.gate_model.fullname}"),
        "has no such field",
    ),
    "a circle": (
        _set(
            "resources/first_setup.job_run.yml",
            "resources.job_runs.first_setup.job_parameters.x",
            "${resources.jobs.drain.id}",
        ),
        "waits for itself",
    ),
    "a key of two types": (
        _add(
            "resources/gate.volume.yml",
            "{resources: {volumes: {gate: {catalog_name: main, schema_name: "
            "'${resources.schemas.spend.name}', name: x}}}}",
        ),
        "gate is the key of 2 resources",
    ),
    "two resources in a file": (
        _set(DRAIN, "resources.jobs.drain2", {"name": "x", "run_as": {"user_name": "x"}}),
        "holds drain.job.yml, drain2.job.yml",
    ),
    "a resource in databricks.yml": (
        _set(MAIN, "resources", {"jobs": {"x": {"run_as": {"user_name": "x"}}}}),
        "databricks.yml holds jobs.x",
    ),
    "a missing notebook": (
        _set(DRAIN, f"{TASK}.notebook_task", {"notebook_path": "../notebooks/none.py"}),
        "there is no ../notebooks/none.py",
    ),
    "a wheel from elsewhere": (
        _set(DRAIN, "resources.jobs.drain.environments.0.spec.dependencies", ["./dist/*.whl"]),
        "is not where the wheel is built",
    ),
    "a dashboard that is no JSON": (
        _add(
            "resources/drawn.dashboard.yml",
            "{resources: {dashboards: {drawn: {display_name: x, file_path: ../databricks.yml}}}}",
        ),
        "is no dashboard",
    ),
    "an entry point that isn't there": (
        _set(DRAIN, f"{TASK}.python_wheel_task.entry_point", "spendgate-jobs"),
        "the wheel has no spendgate-jobs",
    ),
    "a job that isn't there": (
        _set(DRAIN, f"{TASK}.python_wheel_task.parameters.0", "drian"),
        "invalid choice: 'drian'",
    ),
    "a parameter that isn't there": (
        _set(DRAIN, f"{TASK}.python_wheel_task.parameters.1", "--katalog=main"),
        "unrecognized arguments: --katalog=main",
    ),
    "a missing parameter of a task": (
        _drop(SETUP, "resources.jobs.setup.tasks.3.python_wheel_task.parameters.1"),
        "required: --model",
    ),
    "a parameter that the job doesn't have": (
        _drop(SETUP, "resources.jobs.setup.parameters"),
        "the job has no parameter model_version",
    ),
    "a misspelt environment": (
        _set(DRAIN, f"{TASK}.environment_key", "weel"),
        "no such environment",
    ),
    "a task after none": (
        _set(DRAIN, f"{TASK}.depends_on", [{"task_key": "before"}]),
        "no task before",
    ),
    "a cron that is none": (
        _set(DRAIN, "resources.jobs.drain.schedule.quartz_cron_expression", "hello"),
        "has 1 fields instead of 6",
    ),
    "a cron with a 61st minute": (
        _set(
            ALERT, "resources.alerts.budget_exhausted.schedule.quartz_cron_schedule", "0 61 7 * * ?"
        ),
        "minute can't be '61'",
    ),
    "a schedule that runs in each copy": (
        _set(DRAIN, "resources.jobs.drain.schedule.pause_status", "UNPAUSED"),
        "pause_status is set",
    ),
    "a secret that nobody makes": (
        _set(GATE, f"{ENTITY}.environment_vars.X", "{{secrets/spendgate-credentials/pasword}}"),
        "nobody makes spendgate-credentials/pasword",
    ),
    "a secret of the app that nobody makes": (
        _set(
            "resources/app/gate_app.app.yml",
            "resources.apps.gate_app.resources.0.secret.key",
            "singing-key",
        ),
        "nobody makes",
    ),
    "a schema that is written out": (
        _set("resources/files.volume.yml", "resources.volumes.files.schema_name", "spendgate"),
        "'spendgate' is written out",
    ),
    "a schema that is written out in a query": (
        _set(
            ALERT,
            "resources.alerts.budget_exhausted.query_text",
            "SELECT count(*) AS n FROM main.spendgate.budget_state",
        ),
        "is written out",
    ),
    "a model that is written out": (
        _set(GATE, f"{ENTITY}.entity_name", "${var.catalog}.${var.schema}.gate"),
        "is written out",
    ),
    "a schema that is written out in a parameter": (
        _set(DRAIN, f"{TASK}.python_wheel_task.parameters.2", "--schema=${var.schema}"),
        "is written out",
    ),
    "a secret scope that developers share": (
        _drop(MAIN, "targets.dev.variables.secret_scope"),
        "every developer's name is 'spendgate-dev'",
    ),
    "a project that Lakebase doesn't take": (
        _set(MAIN, "targets.dev.variables.ledger_project", "${workspace.current_user.id}_tester"),
        "project_id can't be",
    ),
    "a run_as beside an endpoint": (
        _set(MAIN, "run_as", {"user_name": "x"}),
        "run_as of the whole bundle",
    ),
    "production without a place": (_drop(MAIN, "targets.prod.workspace"), "workspace.root_path"),
    "a wheel with another name each time": (
        _set(MAIN, "artifacts.wheel.dynamic_version", True),
        "dynamic_version",
    ),
    "a variable without a default": (
        _drop(MAIN, "variables.schema.default"),
        "variable schema has no description or no default",
    ),
    "an AI gateway before the gate": (
        _set(GATE, "resources.model_serving_endpoints.gate.ai_gateway", {}),
        "ai_gateway isn't for custom models",
    ),
    "permissions that stand twice": (
        _set(
            GATE,
            "resources.model_serving_endpoints.gate.permissions",
            [{"level": "CAN_QUERY", "service_principal_name": "${var.service_principal}"}],
        ),
        "permissions stand twice",
    ),
    "a job of whoever deploys it": (
        _drop(DRAIN, "resources.jobs.drain.run_as"),
        "runs as whoever deploys it",
    ),
    "a setup before its grants": (
        _drop(
            "resources/first_setup.job_run.yml",
            "resources.job_runs.first_setup.job_parameters.schema_granted_to",
        ),
        "doesn't wait for the grants of schemas.spend",
    ),
    "a grant that isn't there": (
        _set(
            "resources/first_setup.job_run.yml",
            "resources.job_runs.first_setup.job_parameters.schema_granted_to",
            "${resources.schemas.spend.grants[1].principal}",
        ),
        "has no such field: grants[1].principal",
    ),
    "an endpoint that sleeps": (
        _set(MAIN, "variables.scale_to_zero.default", True),
        "sleeps in production",
    ),
    "an endpoint before its model": (
        _drop(GATE, "resources.model_serving_endpoints.gate.tags"),
        "doesn't wait for the registration",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_seeded_mistake_is_found(name: str):
    mutation, said = MISTAKES[name]
    changed = mutated(DOCUMENTS, mutation)

    found: list[str] = []
    for target in TARGETS:
        bundle = bundle_of(changed, target)
        for check in CHECKS:
            try:
                found += check(bundle)
            except KeyError:  # another check says what is missing
                continue
    assert any(said in line for line in found), found


@pytest.mark.parametrize(
    "wrong",
    ["* * * * *", "0 0 0 * * *", "0 0 24 * * ?", "0 0 0 ? * ?", "0 0 0 * * MOO", "0 0/0 0 * * ?",
     "? 0 0 * * ?"],
)  # fmt: skip
def test_what_quartz_refuses_is_refused(wrong: str):
    assert quartz_problem(wrong) is not None


@pytest.mark.parametrize(
    "right", ["0 0/15 * * * ?", "0 30 7 ? * MON-FRI", "0 0 7 1,15 * ?", "0 0 0 1 JAN ? 2030"]
)
def test_what_quartz_takes_is_taken(right: str):
    assert quartz_problem(right) is None
