"""docs/configuration.md says of the settings what the code says."""

import subprocess
import sys
from pathlib import Path

from spendgate.adapters.budget_rows import BudgetRow
from spendgate.config import Settings

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "document_settings.py"
DOCUMENT = ROOT / "docs" / "configuration.md"


def run_script(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_document_is_up_to_date() -> None:
    checked = run_script("--check")

    assert (checked.returncode, checked.stdout) == (0, "")


def test_every_key_of_a_budget_has_its_line() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    missing = [name for name in BudgetRow.model_fields if f"| `{name}` |" not in text]
    assert missing == []


def test_every_setting_has_its_line() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    missing = [name for name in Settings.model_fields if f"`SPENDGATE_{name.upper()}`" not in text]
    assert missing == []


def test_a_stale_document_is_found_and_brought_up_to_date(tmp_path: Path) -> None:
    copy = tmp_path / "configuration.md"
    fresh = DOCUMENT.read_text(encoding="utf-8")
    copy.write_text(fresh.replace("`8787`", "`1`"), encoding="utf-8")

    example = tmp_path / ".env.example"

    checked = run_script("--check", "--document", str(copy), "--example", str(example))
    written = run_script("--document", str(copy), "--example", str(example))

    assert checked.returncode == 1
    assert "configuration.md is stale" in checked.stdout
    assert written.returncode == 0
    assert ".env.example is stale" in checked.stdout
    assert copy.read_text(encoding="utf-8") == fresh
    assert example.read_text(encoding="utf-8") == (ROOT / ".env.example").read_text("utf-8")


def test_every_variable_of_the_recipes_is_in_the_example() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    recipes = (
        *("DATABRICKS_API_KEY", "DATABRICKS_BASE_URL", "PORT", "BUDGET_DEFAULT_LIMIT"),
        *("BUDGET_DEFAULT_WINDOW", "BUDGET_SOFT_CAP", "BUDGET_HARD_CAP", "LANGFUSE_PUBLIC_KEY"),
        *("LANGFUSE_SECRET_KEY", "LANGFUSE_HOST", "HELICONE_API_KEY"),
    )

    assert [name for name in recipes if f"{name}" not in text] == []


def test_the_example_sets_nothing_as_it_is() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []
