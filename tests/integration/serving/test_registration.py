"""Registering a version: a real MLflow registry, the real wheel's form, MLflow's own prediction."""

import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow.exceptions import MlflowException
from tests.workspace.stand_in import Workspace

from spendgate import __version__
from spendgate.errors import HostError
from spendgate.serving.wheel import find_wheel, wheel_digest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own classes when it is imported
    import mlflow
    from mlflow.artifacts import download_artifacts
    from mlflow.tracking import MlflowClient

    from spendgate.serving.deploy import main
    from spendgate.serving.registration import DIGEST_TAG, Registration, register
    from spendgate.serving.trial import try_model

MODEL = "main.spendgate.gate"
# MLflow's own store of runs and models, as it uses SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A tracking server and registry of its own in one file."""
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts
    uris = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uris[0])
    mlflow.set_registry_uri(uris[1])


def wheel(folder: Path, code: str = "x = 1", readme: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"spendgate-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("spendgate/module.py", code)
        archive.writestr(f"spendgate-{__version__}.dist-info/METADATA", readme)
    return path


def plan(store: str, folder: Path, version: int, code: str = "x = 1") -> Registration:
    return Registration(MODEL, version, wheel(folder, code), "registrations", ("m",), store, store)


def accept(_: Path) -> None:
    """A trial that went well."""


def test_a_version_is_registered_once_with_its_wheel_and_everything_it_needs(
    store: str, tmp_path: Path
):
    tried: list[Path] = []
    first = register(plan(store, tmp_path / "w", 1), tried.append)
    again = register(plan(store, tmp_path / "w", 1), tried.append)

    assert (first["registered"], again["registered"], len(tried)) == (True, False, 1)
    client = MlflowClient(store, store)
    (version,) = client.search_model_versions(f"name='{MODEL}'")
    assert version.tags[DIGEST_TAG] == first["digest"]
    model = Path(download_artifacts(f"models:/{MODEL}/1"))
    described = yaml.safe_load((model / "MLmodel").read_text())
    requirements = (model / "requirements.txt").read_text().splitlines()
    wheel_name = f"spendgate-{__version__}-py3-none-any.whl"
    assert (model / "code" / wheel_name).is_file()
    assert f"code/{wheel_name}" in requirements
    assert all("==" in line for line in requirements if not line.startswith("code/"))
    assert described["metadata"]["task"] == "llm/v1/chat"
    assert described["resources"]["databricks"]["serving_endpoint"] == [{"name": "m"}]
    assert described["signature"]
    assert described["saved_input_example_info"]


def test_other_code_needs_another_number(store: str, tmp_path: Path):
    register(plan(store, tmp_path / "w", 1), accept)

    with pytest.raises(HostError, match=r"bump model_version .*--var model_version=2"):
        register(plan(store, tmp_path / "w", 1, "x = 2"), accept)

    assert register(plan(store, tmp_path / "w", 2, "x = 2"), accept)["registered"]
    assert not register(plan(store, tmp_path / "w", 1), accept)["registered"]


def test_numbers_between_are_made_of_the_same_code(store: str, tmp_path: Path):
    register(plan(store, tmp_path / "w", 3), accept)

    versions = MlflowClient(store, store).search_model_versions(f"name='{MODEL}'")
    assert sorted(int(one.version) for one in versions) == [1, 2, 3]
    assert len({one.tags[DIGEST_TAG] for one in versions}) == 1


def test_a_number_that_is_gone_or_far_away_is_refused(store: str, tmp_path: Path):
    register(plan(store, tmp_path / "w", 2), accept)
    MlflowClient(store, store).delete_model_version(MODEL, "1")

    with pytest.raises(HostError, match=r"version 1 of .* is gone .* to 3"):
        register(plan(store, tmp_path / "w", 1), accept)
    with pytest.raises(HostError, match="far beyond the last one, 2"):
        register(plan(store, tmp_path / "w", 13), accept)


def test_a_version_that_somebody_else_made_is_left_alone(store: str, tmp_path: Path):
    client = MlflowClient(store, store)
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, source=str(tmp_path))

    with pytest.raises(HostError, match="bump model_version"):
        register(plan(store, tmp_path / "w", 1), accept)


def test_a_model_that_doesnt_answer_isnt_registered(store: str, tmp_path: Path):
    def refuse(_: Path) -> None:
        raise HostError("no answer")

    with pytest.raises(HostError, match="no answer"):
        register(plan(store, tmp_path / "w", 1), refuse)

    with pytest.raises(MlflowException):
        MlflowClient(store, store).get_model_version(MODEL, "1")


def test_a_digest_is_of_the_code_not_of_the_build(tmp_path: Path):
    first = wheel_digest(wheel(tmp_path / "a", readme="one"))

    assert wheel_digest(wheel(tmp_path / "b", readme="two")) == first
    assert wheel_digest(wheel(tmp_path / "c", code="x = 2")) != first


def test_a_missing_wheel_is_told(tmp_path: Path):
    with pytest.raises(HostError, match="databricks bundle deploy"):
        find_wheel(tmp_path)


def test_the_setup_job_s_tasks_run_end_to_end(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Secrets by the unmodified SDK; the model through MLflow's own prediction into a registry."""
    workspace = Workspace()
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("SPENDGATE_LEDGER_URL", "postgresql://unreachable.invalid/ledger")
    for name, value in workspace.environment().items():
        monkeypatch.setenv(name, value)
    workspace.state.scopes.update({"spendgate-dev": {}, "given": {"client-secret": "s"}})
    for name in ("databricks-claude-haiku-4-5", "priceless", "databricks-gpt-oss-20b"):
        workspace.state.endpoints[name] = {"name": name}
    wheel(tmp_path / "w")
    model = ["register", f"--model={MODEL}", "--model-version=1", "--experiment=registrations"]
    model += [f"--wheels={tmp_path / 'w'}", "--env-manager=local"]
    model += [f"--tracking-uri={store}", f"--registry-uri={store}"]

    main(["secrets", "--scope=spendgate-dev", "--credentials-scope=given"])
    main(model)
    kept = dict(workspace.state.scopes["spendgate-dev"])
    main(["secrets", "--scope=spendgate-dev", "--credentials-scope=given"])
    main(model)
    workspace.close()

    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(one.get("secrets", {}).values()) for one in reports] == [
        [True] * 3, [], [False] * 3, [],
    ]  # fmt: skip
    assert [one.get("registered") for one in reports] == [None, True, None, False]
    assert reports[1]["endpoints"] == 2
    assert workspace.state.scopes["spendgate-dev"] == kept
    assert kept["workspace-host"] == workspace.url
    assert len(kept["signing-key"]) == 43 != kept["admin-token"]
    assert len(workspace.asked("POST", "/api/2.0/secrets/put")) == 3


def test_a_broken_model_fails_its_trial(tmp_path: Path):
    (tmp_path / "MLmodel").write_text("flavors: {}")

    with pytest.raises(HostError, match="isn't registered"):
        try_model(tmp_path, "local")


@pytest.mark.parametrize(
    ("scope", "given", "denied", "said"),
    [
        ("none", "given", None, "databricks secrets create-scope none"),
        ("s", "given", "/api/2.0/secrets/put", "put-acl s tester@acme.com WRITE"),
        ("s", "given", "/api/2.0/secrets", "put-acl s tester@acme.com WRITE"),
        ("s", "none", None, "databricks secrets create-scope none"),
        ("s", "s", None, "databricks secrets put-secret s client-secret"),
    ],
)
def test_a_scope_that_cant_be_used_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, scope: str, given: str, denied: str | None, said: str
):
    workspace = Workspace()
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/dev/null")
    for name, value in workspace.environment().items():
        monkeypatch.setenv(name, value)
    workspace.state.scopes.update({"s": {}, "given": {"client-secret": "x"}})
    if denied is not None:
        workspace.state.denied.add(denied)

    with pytest.raises(HostError, match=said):
        main(["secrets", f"--scope={scope}", f"--credentials-scope={given}"])
    workspace.close()


def test_a_workspace_that_isnt_there_is_told_soon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spendgate.serving.deploy._SECONDS", 1.0)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("DATABRICKS_TOKEN", "t")

    with pytest.raises(HostError, match="the workspace doesn't do it"):
        main(["secrets", "--scope=s", "--credentials-scope=given"])
