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

    checked = run_script("--check", "--document", str(copy))
    written = run_script("--document", str(copy))

    assert checked.returncode == 1
    assert "configuration.md is stale" in checked.stdout
    assert written.returncode == 0
    assert copy.read_text(encoding="utf-8") == fresh
