# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# mlflow is typed in part only.
"""Register a version of the model, once: the wheel inside, tried before, never overwritten."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from spendgate.errors import HostError
from spendgate.serving.quiet import quiet_mlflow
from spendgate.serving.register import pinned_requirements, save_gate
from spendgate.serving.wheel import wheel_digest

DIGEST_TAG = "spendgate.wheel_digest"
VERSIONS_MADE_MAX = 10
"""Numbers between the last version and a wanted one; more is a slip of the finger."""
NAME = "gate"
_NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}

Trial = Callable[[Path], None]
"""Asks a saved model one question; raises HostError if it can't answer."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What to register, and where.

    Args:
        model: the registered model's full name.
        version: the number that the endpoint serves.
        wheel: the package that the model runs.
        experiment: where the run of the registration is kept.
        endpoints: model endpoints that the gate may call, declared as the model's resources.
        tracking_uri: where runs are.
        registry_uri: where models are.
    """

    model: str
    version: int
    wheel: Path
    experiment: str
    endpoints: Sequence[str] = ()
    tracking_uri: str = "databricks"
    registry_uri: str = "databricks-uc"


def register(plan: Registration, trial: Trial) -> Mapping[str, object]:
    """Make the wanted version unless it is there; say what was done.

    Raises:
        HostError: if the number belongs to other code, is gone or far away, or the model that was
            logged doesn't answer.
        MlflowException: if the registry refuses otherwise.
    """
    quiet_mlflow()
    mlflow.set_tracking_uri(plan.tracking_uri)
    mlflow.set_registry_uri(plan.registry_uri)
    client = MlflowClient(plan.tracking_uri, plan.registry_uri)
    digest = wheel_digest(plan.wheel)
    report = {"model": plan.model, "version": plan.version, "digest": digest}
    tagged = _digest_of(client, plan)
    if tagged == digest:
        return {**report, "registered": False}
    if tagged is not None:
        raise HostError(
            f"version {plan.version} of {plan.model} was made from other code: bump model_version "
            f"(`databricks bundle deploy --var model_version={_latest(client, plan.model) + 1}`)"
        )
    latest = _latest(client, plan.model)
    if plan.version <= latest:
        raise HostError(
            f"version {plan.version} of {plan.model} is gone and its number can't be made again: "
            f"set model_version to {latest + 1}"
        )
    if plan.version - latest > VERSIONS_MADE_MAX:
        raise HostError(
            f"model_version {plan.version} is far beyond the last one, {latest}: set it to "
            f"{latest + 1}"
        )
    logged = _log(plan, digest, trial)
    for _ in range(plan.version - latest):
        # A registry counts by itself: each version up to the wanted one is this code.
        made = mlflow.register_model(logged, plan.model, tags={DIGEST_TAG: digest})
        if int(made.version) == plan.version:
            return {**report, "registered": True}
    raise HostError(
        f"somebody else registers versions of {plan.model}: try again, with a free model_version"
    )


def _digest_of(client: MlflowClient, plan: Registration) -> str | None:
    """Return the digest of the wanted version, "" if it has none, None if there is no such one."""
    try:
        found = client.get_model_version(plan.model, str(plan.version))
    except MlflowException as error:
        if error.error_code in _NOT_THERE:
            return None
        raise
    return found.tags.get(DIGEST_TAG, "")


def _latest(client: MlflowClient, model: str) -> int:
    try:
        versions = client.search_model_versions(f"name='{model}'")
    except MlflowException as error:
        if error.error_code in _NOT_THERE:
            return 0
        raise
    return max((int(one.version) for one in versions), default=0)


def _log(plan: Registration, digest: str, trial: Trial) -> str:
    """Log a model that passed its trial; return its URI.

    It is saved before it is logged: `log_model` would ask the input example of it in this process,
    with whatever ledger and upstream this process has.
    """
    mlflow.set_experiment(plan.experiment)
    with tempfile.TemporaryDirectory(prefix="spendgate-model-") as scratch:
        folder = Path(scratch) / NAME
        requirements = pinned_requirements(f"code/{plan.wheel.name}")
        save_gate(
            folder,
            requirements,
            {DIGEST_TAG: digest},
            wheel=plan.wheel,
            endpoints=plan.endpoints,
        )
        trial(folder)
        with mlflow.start_run(run_name=f"version {plan.version}") as run:
            mlflow.log_artifacts(str(folder), NAME)
            return f"runs:/{run.info.run_id}/{NAME}"
