"""The house rules that a machine can measure."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "managers", "misc"}
SOURCES = sorted(
    path
    for folder in ("src", "tests", "bench", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)


def test_files_are_short_enough_to_read_at_once() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCES
        if (lines := len(path.read_text("utf-8").splitlines())) > FILE_LINES_MAX
    }

    assert long == {}


def test_functions_fit_on_a_screen() -> None:
    long: dict[str, int] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines

    assert long == {}


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = [str(path) for path in SOURCES if path.stem in FORBIDDEN_NAMES]

    assert drawers == []


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"os\.environ(?!\.update)|getenv\(", path.read_text("utf-8"))
    ]

    # `web/environment.py` passes settings on to worker processes, which only environments reach;
    # `spark_session.py` follows JAVA_HOME, which is Java's own variable and no setting of ours.
    assert set(readers) <= {
        "src/spendgate/config.py",
        "src/spendgate/web/environment.py",
        "src/spendgate/jobs/spark_session.py",
    }


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_pages_are_short(name: str) -> None:
    lines = (ROOT / name).read_text("utf-8").splitlines()

    assert 10 < len(lines) < 150


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]

    assert broken == []


def test_nothing_names_a_registry_or_a_path_of_one_machine() -> None:
    kept = [*SOURCES, ROOT / "Makefile", *(ROOT / "docs").rglob("*.md")]
    kept += [path for ending in ("md", "toml", "yml", "lock") for path in ROOT.glob(f"*.{ending}")]
    pattern = re.compile(r"(?:^|[^\w.])/(?:work|root|home)/\w|pypi\.org/simple|--index-url")
    found = [
        str(path.relative_to(ROOT))
        for path in kept
        if path != Path(__file__) and pattern.search(path.read_text("utf-8"))
    ]

    assert found == []
