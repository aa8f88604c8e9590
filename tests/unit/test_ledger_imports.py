"""The ledgers run in threads, forked workers and greenlets: no event loop is theirs to need."""

import ast
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
PARTS = ("postgres_*", "sqlite_*", "memory_*", "stored_*")
NAMES = ("sql_store", "shared_ledger", "group_commit", "durable_commit", "unconfirmed_ends")
EVENT_LOOPS = {"asyncio", "anyio", "uvloop", "aiohttp"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def file_of(module: str) -> Path | None:
    """Return where one of our modules is; None if it is another's, or no module."""
    place = SRC.joinpath(*module.split("."))
    return next(
        (one for one in (place.with_suffix(".py"), place / "__init__.py") if one.exists()), None
    )


def imports_of(path: Path) -> Iterator[str]:
    """Yield what a module imports when it runs, and the packages around that."""
    tree = ast.parse(path.read_text("utf-8"))
    unread = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in unread:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: n + 1]) for n in range(len(parts)))


def reached() -> dict[str, set[str]]:
    """Return the modules of the ledgers and all of ours that they import, with their imports."""
    adapters = SRC / "spendgate" / "adapters"
    todo = [module_of(path) for part in PARTS for path in adapters.glob(f"{part}.py")]
    todo += [f"spendgate.adapters.{name}" for name in NAMES]
    todo += [module_of(path) for path in (SRC / "spendgate" / "domain").glob("*.py")]
    found: dict[str, set[str]] = {}
    while todo:
        module = todo.pop()
        path = file_of(module)
        if module not in found and path is not None:
            found[module] = set(imports_of(path))
            todo += found[module]
    return found


def test_no_module_of_the_ledgers_imports_an_event_loop() -> None:
    found = reached()

    guilty = {module: loops for module, names in found.items() if (loops := names & EVENT_LOOPS)}

    assert {"spendgate.adapters.postgres_ledger", "spendgate.domain.decision"} <= found.keys()
    assert guilty == {}


def test_an_import_of_an_event_loop_would_be_found() -> None:
    path = file_of("spendgate.library.step")

    assert path is not None
    assert "asyncio" in set(imports_of(path))
