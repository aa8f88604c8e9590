"""The Databricks CLI itself, where it is on the PATH: strict validation, and the plan."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bundle.documents import ROOT, TARGETS, USERS
from tests.workspace.stand_in import TOKEN, Workspace

CLI = shutil.which("databricks")
SECONDS = 120
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(CLI is None, reason="runs where the Databricks CLI is on the PATH"),
]


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    made.state.warehouses["0123456789abcdef"] = "Serverless Starter Warehouse"
    yield made
    made.close()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The bundle without what git or a deploy would leave behind in it."""
    folder = tmp_path / "bundle"
    skipped = shutil.ignore_patterns(".venv", ".git", ".cache", ".spendgate", ".databricks", "dist")
    shutil.copytree(ROOT, folder, ignore=skipped)
    return folder


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("command", [["validate", "--strict"], ["plan"]], ids=["validate", "plan"])
def test_the_cli_takes_the_bundle(
    workspace: Workspace, copy: Path, tmp_path: Path, target: str, command: list[str]
):
    assert CLI is not None
    workspace.state.user_name = USERS[target]["userName"]
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    environment |= {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": TOKEN}
    environment["BUNDLE_VAR_service_principal"] = USERS["prod"]["userName"]

    done = subprocess.run(
        [CLI, "bundle", *command, "--target", target],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, json.dumps([done.stdout, done.stderr])
