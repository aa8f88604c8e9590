"""The bundle as a deploy reads it: databricks.yml, what it includes, one target, all variables.

What only a workspace knows stays as it is written: `${resources.…}`.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MAIN = "databricks.yml"
OPTIONAL = "resources/app/*.yml"
TARGETS = ("dev", "prod")

USERS = {
    "dev": {"userName": "tester@acme.com", "short_name": "tester", "id": "4711"},
    "prod": {"userName": "0a1b2c3d-0000-4000-8000-000000000000", "short_name": "sp", "id": "8"},
}
"""Who deploys: a person to dev, the service principal itself to prod."""

REFERENCE = re.compile(r"\$\{([A-Za-z0-9_.\-\[\]]+)\}")
Documents = dict[str, Any]
"""Every YAML file of the bundle by its path."""


def read_documents(root: Path = ROOT) -> Documents:
    """Read databricks.yml and the files it includes, the optional ones too."""
    main = yaml.safe_load((root / MAIN).read_text("utf-8"))
    patterns = [*main["include"], OPTIONAL]
    paths = sorted({path for pattern in patterns for path in root.glob(pattern)})
    documents = {MAIN: main}
    for path in paths:
        documents[path.relative_to(root).as_posix()] = yaml.safe_load(path.read_text("utf-8"))
    return documents


@dataclass(frozen=True)
class Resource:
    """One resource of a target; `raw` as it is written, `value` with its variables."""

    kind: str
    key: str
    file: str
    raw: dict[str, Any]
    value: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.key}"


@dataclass(frozen=True)
class Bundle:
    """The bundle of one target."""

    target: str
    documents: Documents
    resources: tuple[Resource, ...]
    problems: tuple[str, ...]
    """References that name nothing."""

    def of(self, kind: str) -> list[Resource]:
        return [one for one in self.resources if one.kind == kind]


def bundle_of(documents: Documents, target: str) -> Bundle:
    """Resolve one target."""
    main = documents[MAIN]
    chosen = main["targets"][target]
    problems: list[str] = []
    known = _known(documents, chosen, target)
    found: list[Resource] = []
    for file, document in documents.items():
        for kind, resources in (document.get("resources") or {}).items():
            for key, raw in resources.items():
                changed = ((chosen.get("resources") or {}).get(kind) or {}).get(key) or {}
                merged = _merged(raw, changed)
                value = _resolved(merged, known, f"{kind}.{key}", problems)
                found.append(Resource(kind, key, file, merged, value))
    for part in ("permissions", "workspace", "presets"):
        for where in (main, chosen):
            _resolved(where.get(part), known, f"{target} {part}", problems)
    return Bundle(target, documents, tuple(found), tuple(problems))


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Walk all values that aren't containers, each with its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def variables_of(documents: Documents) -> dict[str, dict[str, Any]]:
    return {
        name: one
        for document in documents.values()
        for name, one in (document.get("variables") or {}).items()
    }


def _known(documents: Documents, chosen: Mapping[str, Any], target: str) -> dict[str, object]:
    known: dict[str, object] = {
        "bundle.name": documents[MAIN]["bundle"]["name"],
        "bundle.target": target,
        "workspace.root_path": f"/Workspace/Users/me/.bundle/spendgate/{target}",
        "workspace.file_path": f"/Workspace/Users/me/.bundle/spendgate/{target}/files",
        "workspace.artifact_path": f"/Workspace/Users/me/.bundle/spendgate/{target}/artifacts",
    }
    known |= {f"workspace.current_user.{name}": text for name, text in USERS[target].items()}
    for name, one in variables_of(documents).items():
        known[f"var.{name}"] = one.get("default", "0123456789abcdef" if "lookup" in one else None)
    for name, value in (chosen.get("variables") or {}).items():
        known[f"var.{name}"] = value
    return known


def _resolved(
    value: object, known: Mapping[str, object], where: str, problems: list[str]
) -> Any:  # as YAML: any depth of dict and list
    if isinstance(value, Mapping):
        return {key: _resolved(inner, known, where, problems) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, known, where, problems) for inner in value]
    if not isinstance(value, str):
        return value
    whole = REFERENCE.fullmatch(value)
    if whole is not None and not whole[1].startswith("resources."):
        if whole[1] not in known:
            problems.append(f"{where}: ${{{whole[1]}}} names nothing")
            return value
        return _resolved(copy.deepcopy(known[whole[1]]), known, where, problems)

    def text(found: re.Match[str]) -> str:
        if found[1].startswith("resources."):
            return found[0]
        if found[1] not in known:
            problems.append(f"{where}: {found[0]} names nothing")
            return found[0]
        return str(_resolved(known[found[1]], known, where, problems))

    return REFERENCE.sub(text, value)


def _merged(base: object, change: object) -> Any:  # as YAML
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        keys = {**base, **change}
        return {
            key: _merged(base[key], change[key]) if key in base and key in change else inner
            for key, inner in keys.items()
        }
    return change


Mutation = Callable[[Documents], None]


def mutated(documents: Documents, mutation: Mutation) -> Documents:
    """Return a copy with a mistake in it."""
    changed = copy.deepcopy(documents)
    mutation(changed)
    return changed
