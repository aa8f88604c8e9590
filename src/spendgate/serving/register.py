# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# mlflow is typed in part only.
"""Log the model: from code, with pinned requirements, again only when something changed."""

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.resources import files
from pathlib import Path

import mlflow.pyfunc
import yaml
from mlflow.models.auth_policy import AuthPolicy, SystemAuthPolicy, UserAuthPolicy
from mlflow.models.resources import DatabricksServingEndpoint

from spendgate import __version__
from spendgate.errors import HostError
from spendgate.gateway.json_object import json_object
from spendgate.serving.quiet import quiet_mlflow
from spendgate.serving.signature import INPUT_EXAMPLE, TASK_METADATA, served_signature

MODEL_CODE = Path(str(files("spendgate.serving") / "model.py"))
_DIGEST = "spendgate_digest"
_DISTRIBUTION = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[a-z0-9,]+\])?")


def log_served_model(
    path: Path, *, package: str = f"spendgate=={__version__}", on_behalf_of_user: bool = False
) -> Path:
    """Save the model to a folder unless the same one is there; return the folder.

    Args:
        path: the model's folder; replaced as a whole when version, code or signature changed.
        package: how the model's environment installs this package: a requirement or a wheel.
        on_behalf_of_user: whether the model may ask whose call it answers
            (SPENDGATE_ON_BEHALF_OF_USER on the endpoint).

    Raises:
        HostError: if the folder can't be written.
    """
    quiet_mlflow()
    requirements = pinned_requirements(package)
    auth_policy: AuthPolicy | None = None
    if on_behalf_of_user:
        from spendgate.adapters.databricks_caller import API_SCOPES  # noqa: PLC0415 - an extra

        requirements.append(f"databricks-ai-bridge=={version('databricks-ai-bridge')}")
        auth_policy = AuthPolicy(
            user_auth_policy=UserAuthPolicy(api_scopes=list(API_SCOPES)),
            system_auth_policy=SystemAuthPolicy(resources=[]),
        )
    digest = _digest(requirements)
    if _logged_digest(path) == digest:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".model-") as scratch:
            fresh = Path(scratch) / "fresh"
            save_gate(fresh, requirements, {_DIGEST: digest}, auth_policy=auth_policy)
            if path.exists():
                path.rename(Path(scratch) / "previous")
            fresh.rename(path)
    except OSError as error:
        raise HostError(f"the model can't be written to {path}: {error.strerror}") from None
    return path


def pinned_requirements(package: str) -> list[str]:
    """Return this package and its direct dependencies, as installed here.

    Said outright, because MLflow's own inference runs the model in a new process for it.
    """
    pins = [package]
    for line in requires("spendgate") or []:
        found = _DISTRIBUTION.match(line)
        if found is None or "extra ==" in line:
            continue
        try:
            pins.append(f"{found.group()}=={version(found.group(1))}")
        except PackageNotFoundError:  # a marker excludes it on this platform
            continue
    return pins


def save_gate(
    path: Path,
    requirements: Sequence[str],
    metadata: Mapping[str, str],
    *,
    auth_policy: AuthPolicy | None = None,
    wheel: Path | None = None,
    endpoints: Sequence[str] = (),
) -> None:
    """Save the model, from code, to a folder that isn't there yet.

    Args:
        path: the folder.
        requirements: what its environment installs.
        metadata: what is said of it besides its task.
        auth_policy: whose credentials it may ask for.
        wheel: this package, to be carried along as `code/<name>`.
        endpoints: model endpoints that it calls, declared as its resources.
    """
    mlflow.pyfunc.save_model(
        path=str(path),
        python_model=str(MODEL_CODE),
        code_paths=None if wheel is None else [str(wheel)],
        signature=served_signature(),
        input_example=INPUT_EXAMPLE,
        pip_requirements=list(requirements),
        metadata={**TASK_METADATA, **metadata},
        auth_policy=auth_policy,
        resources=[DatabricksServingEndpoint(endpoint_name=one) for one in endpoints] or None,
    )


def _digest(requirements: Sequence[str]) -> str:
    parts = [MODEL_CODE.read_text("utf-8"), repr(served_signature().to_dict()), *requirements]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _logged_digest(path: Path) -> str | None:
    """Return the digest of the model in a folder; None if there is none to be used."""
    try:
        described: object = yaml.safe_load((path / "MLmodel").read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    metadata = json_object(json_object(described).get("metadata"))
    digest = metadata.get(_DIGEST)
    return digest if isinstance(digest, str) else None
