"""What a deploy refuses late or never (measured with the CLI: bundle.md C), each as a check.

A check answers one line per mistake. `kinds.unknown_kinds_and_fields` is the first of them.
"""

import importlib
import json
import re
import shlex
import tomllib
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.bundle.documents import MAIN, REFERENCE, ROOT, Bundle, Resource, leaves, variables_of
from tests.bundle.kinds import OUTPUTS, unknown_kinds_and_fields
from tests.bundle.quartz import quartz_problem

from spendgate.adapters.workspace_secrets import GIVEN, MADE

PARSERS = {
    "spendgate-job": ("spendgate.jobs.entry", "job_parser"),
    "spendgate-deploy": ("spendgate.serving.deploy", "deploy_parser"),
}
_SECRET = re.compile(r"\{\{secrets/([^/]+)/([^/}]+)\}\}")
_PARAMETER = re.compile(r"\{\{job\.parameters\.(\w+)\}\}")
_SINGULAR = {"registries": "registry", "branches": "branch"}
# Development puts a prefix before these names, so nobody else may write them out.
_PREFIXED = {"schemas": "name", "registered_models": "name", "model_serving_endpoints": "name"}
# Development leaves these alone, so they must differ between developers by themselves.
_UNPREFIXED = {"secret_scopes": "name", "postgres_projects": "project_id"}
_PROJECT_ID = re.compile(r"[a-z][a-z0-9-]{2,61}[a-z0-9]")


def dangling_references(bundle: Bundle) -> list[str]:
    """Every `${…}` names something; `validate --strict` misses those into resources."""
    problems = list(bundle.problems)
    known = {one.name: one for one in bundle.resources}
    for one in bundle.resources:
        for path, owner, field in _resource_references(one):
            if (target := known.get(owner)) is None:
                problems.append(f"{one.name}: {path}: {owner} names nothing")
            elif not _has_field(target, field):
                problems.append(f"{one.name}: {path}: {owner} has no such field: {field}")
    return problems


def _resource_references(one: Resource) -> Iterator[tuple[str, str, str]]:
    """Give the path of each reference, the resource that it names, and the field."""
    for path, leaf in leaves(one.value):
        for found in REFERENCE.finditer(leaf) if isinstance(leaf, str) else ():
            if found[1].startswith("resources."):
                _, kind, key, *field = found[1].split(".")
                yield path, f"{kind}.{key}", ".".join(field)


def _has_field(target: Resource, field: str) -> bool:
    if field in OUTPUTS.get(target.kind, frozenset()):
        return True
    place: Any = target.value
    for text in re.findall(r"[^.\[\]]+", field):
        if isinstance(place, list):
            place = dict(enumerate(place))
        step = int(text) if text.isdecimal() else text
        if not isinstance(place, dict) or step not in place:
            return False
        place = place[step]
    return True


def loops(bundle: Bundle) -> list[str]:
    """No resource waits for itself."""
    needs = {
        one.name: {owner for _, owner, _ in _resource_references(one)} for one in bundle.resources
    }
    while ready := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in ready:
            del needs[name]
    return [f"{name} waits for itself" for name in needs]


def repeated_keys(bundle: Bundle) -> list[str]:
    """Keys are unique across all types, which is what the CLI asks for."""
    counts = Counter(one.key for one in bundle.resources)
    return [f"{key} is the key of {count} resources" for key, count in counts.items() if count > 1]


def misplaced_resources(bundle: Bundle) -> list[str]:
    """One resource a file, which says what it is in its name."""
    problems: list[str] = []
    for file, document in bundle.documents.items():
        found = [
            (kind, key) for kind, all_ in (document.get("resources") or {}).items() for key in all_
        ]
        if file == MAIN:
            problems += [f"{MAIN} holds {kind}.{key}" for kind, key in found]
            continue
        wanted = [f"{key}.{_SINGULAR.get(kind, kind.removesuffix('s'))}.yml" for kind, key in found]
        wanted = [name.replace("postgres_branche.", "postgres_branch.") for name in wanted]
        if wanted != [file.rsplit("/", 1)[1]]:
            problems.append(f"{file} holds {', '.join(wanted) or 'nothing'}")
    return problems


def missing_files(bundle: Bundle) -> list[str]:
    """Files that resources name are there, relative to the resource's own."""
    problems: list[str] = []
    for one in bundle.resources:
        folder = (ROOT / one.file).parent
        for path, leaf in leaves(one.value):
            is_path = path.endswith(
                ("file_path", "notebook_path", "python_file", "source_code_path")
            )
            if is_path and not (folder / str(leaf)).exists():
                problems.append(f"{one.name}: {path}: there is no {leaf}")
            if ".dependencies[" in path and str(leaf).startswith("."):
                built = (folder / str(leaf)).resolve().relative_to(ROOT.resolve())
                if built.as_posix() != "dist/*.whl":
                    problems.append(f"{one.name}: {leaf} is not where the wheel is built")
    return problems


def wrong_dashboards(bundle: Bundle) -> list[str]:
    """A dashboard is JSON with data sets that name bare tables, pages and known data sets."""
    problems: list[str] = []
    for one in bundle.of("dashboards"):
        file = (ROOT / one.file).parent / one.value["file_path"]
        try:
            drawn: dict[str, Any] = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            problems.append(f"{one.name}: {one.value['file_path']} is no dashboard: {error}")
            continue
        names = {data["name"] for data in drawn.get("datasets", ())}
        if not names or not drawn.get("pages"):
            problems.append(f"{one.name}: without datasets or pages")
        for path, leaf in leaves(drawn.get("pages")):
            if path.endswith("datasetName") and leaf not in names:
                problems.append(f"{one.name}: {path}: there is no data set {leaf!r}")
    return problems


def wrong_entry_points(bundle: Bundle) -> list[str]:
    """Wheel tasks name scripts of the wheel, whose own parsers take their parameters."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    problems: list[str] = []
    for job, task in _tasks(bundle):
        wheel = task.get("python_wheel_task")
        if wheel is None:
            continue
        where = f"{job.name}: {task['task_key']}"
        script = project["scripts"].get(wheel["entry_point"])
        if wheel["package_name"] != project["name"] or script is None:
            problems.append(f"{where}: the wheel has no {wheel['entry_point']}")
            continue
        module, _, function = script.partition(":")
        if not callable(getattr(importlib.import_module(module), function, None)):
            problems.append(f"{where}: there is no {script}")
        texts: list[str] = wheel.get("parameters", [])
        declared = {one["name"]: one["default"] for one in job.value.get("parameters", ())}
        asked = {name for text in texts for name in _PARAMETER.findall(text)}
        problems += [f"{where}: the job has no parameter {one}" for one in asked - declared.keys()]
        for name, default in declared.items():
            texts = [text.replace(f"{{{{job.parameters.{name}}}}}", default) for text in texts]
        if (said := _refusal(wheel["entry_point"], texts)) is not None:
            problems.append(f"{where}: {said}")
    return problems


class _RefusedError(Exception):
    """What a parser says instead of leaving the process."""


def _refusal(entry_point: str, texts: list[str]) -> str | None:
    module, name = PARSERS[entry_point]
    parser: ArgumentParser = getattr(importlib.import_module(module), name)()

    def refuse(message: str) -> None:
        raise _RefusedError(message)

    for one in (parser, *_parsers_below(parser)):
        one.error = refuse  # type: ignore[assignment, method-assign]  # instead of exiting
    try:
        parser.parse_args(texts)
    except _RefusedError as error:
        return f"{shlex.join(texts[:1])}: {error}"
    return None


def _parsers_below(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    for action in parser._actions:
        if isinstance(action.choices, dict):
            yield from action.choices.values()


def wrong_environments(bundle: Bundle) -> list[str]:
    """A task's environment is one of its job's, and nothing else asks for a cluster."""
    problems: list[str] = []
    for job, task in _tasks(bundle):
        known = {one["environment_key"] for one in job.value.get("environments", ())}
        if "python_wheel_task" in task and task.get("environment_key") not in known:
            problems.append(f"{job.name}: {task['task_key']}: no such environment")
        others = {one["task_key"] for one in job.value["tasks"]}
        after = {one["task_key"] for one in task.get("depends_on", ())}
        problems += [f"{job.name}: {task['task_key']}: no task {one}" for one in after - others]
    return problems


def wrong_schedules(bundle: Bundle) -> list[str]:
    """Crons are Quartz's; nothing says whether it is paused, or development would run it."""
    problems: list[str] = []
    for one in bundle.resources:
        for path, leaf in leaves(one.value):
            is_cron = path.endswith(("quartz_cron_expression", "quartz_cron_schedule"))
            if is_cron and (said := quartz_problem(str(leaf))) is not None:
                problems.append(f"{one.name}: {said}")
            if path.endswith("pause_status"):
                problems.append(f"{one.name}: {path} is set")
    return problems


def unknown_secrets(bundle: Bundle) -> list[str]:
    """Secrets are those that the setup job makes, or that a person is told to put."""
    (own,) = [one.value["name"] for one in bundle.of("secret_scopes")]
    given = variables_of(bundle.documents)["credentials_scope"]["default"]
    reference = "${resources.secret_scopes.gate_secrets.name}"
    allowed = {(scope, key) for scope in (own, reference) for key in MADE}
    allowed |= {(given, key) for key in GIVEN}
    problems: list[str] = []
    for one in bundle.resources:
        found = [pair for _, leaf in leaves(one.value) for pair in _SECRET.findall(str(leaf))]
        if one.kind == "apps":
            found += [
                (part["secret"]["scope"], part["secret"]["key"])
                for part in one.value.get("resources", ())
                if "secret" in part
            ]
        problems += [
            f"{one.name}: nobody makes {scope}/{key}"
            for scope, key in found
            if (scope, key) not in allowed
        ]
    return problems


def written_names(bundle: Bundle) -> list[str]:
    """What development renames is referred to, never written out; the rest names its user."""
    problems: list[str] = []
    own = {
        one.value[_PREFIXED[one.kind]]: one.name
        for one in bundle.resources
        if one.kind in _PREFIXED
    }
    named = ("schema_name", "dataset_schema", "entity_name", "query_text", "_table", ".table_names")
    for one in bundle.resources:
        for path, leaf in leaves(one.raw):
            text = str(leaf)
            is_flag = text.startswith(("--schema=", "--model=", "--volume="))
            is_name = is_flag or path.endswith(named) or ".table_names[" in path
            if is_name and "${resources." not in text:
                problems.append(f"{one.name}: {path}: {text.strip()!r} is written out: refer to it")
    for one in bundle.resources:
        field = _UNPREFIXED.get(one.kind) if bundle.target == "dev" else None
        if field and not {"tester", "4711"} & set(re.split(r"[^a-z0-9]+", one.value[field])):
            problems.append(f"{one.name}: every developer's {field} is {one.value[field]!r}")
        if one.kind == "postgres_projects" and not _PROJECT_ID.fullmatch(one.value["project_id"]):
            problems.append(f"{one.name}: project_id can't be {one.value['project_id']!r}")
    assert own, "a bundle without a schema, a model and an endpoint"
    return problems


def risky_settings(bundle: Bundle) -> list[str]:
    """What the CLI refuses or warns of, and what keeps money safe."""
    main = bundle.documents[MAIN]
    chosen = main["targets"][bundle.target]
    problems: list[str] = []
    if "run_as" in main or "run_as" in chosen:
        problems.append("run_as of the whole bundle is refused beside a serving endpoint")
    if chosen.get("mode") == "production" and not (chosen.get("workspace") or {}).get("root_path"):
        problems.append("production needs workspace.root_path")
    if any(one.get("dynamic_version") for one in main["artifacts"].values()):
        problems.append("dynamic_version changes every job at each deploy")
    for name, one in variables_of(bundle.documents).items():
        if not one.get("description") or not ("default" in one or "lookup" in one):
            problems.append(f"variable {name} has no description or no default")
    return problems


def risky_resources(bundle: Bundle) -> list[str]:
    """The same of single resources."""
    shared = _principals(bundle.documents[MAIN]["permissions"])
    problems = [
        f"{one.name}: permissions stand twice, here and for the bundle"
        for one in bundle.resources
        if _principals(one.raw.get("permissions", ())) & shared
    ]
    problems += [
        f"{one.name}: runs as whoever deploys it"
        for one in bundle.of("jobs")
        if "run_as" not in one.value
    ]
    granted = {one.name for one in bundle.resources if one.raw.get("grants")}
    for one in bundle.of("job_runs"):
        awaited = {
            owner for _, owner, field in _resource_references(one) if field.startswith("grants[")
        }
        problems += [f"{one.name}: doesn't wait for the grants of {r}" for r in granted - awaited]
    for one in bundle.of("model_serving_endpoints"):
        (entity,) = one.value["config"]["served_entities"]
        if "ai_gateway" in one.value:
            problems.append(f"{one.name}: ai_gateway isn't for custom models")
        if bundle.target == "prod" and entity["scale_to_zero_enabled"] is not False:
            problems.append(f"{one.name}: sleeps in production")
        if not any(owner.startswith("job_runs.") for _, owner, _ in _resource_references(one)):
            problems.append(f"{one.name}: doesn't wait for the registration of its version")
    return problems


def _principals(permissions: Iterable[dict[str, str]]) -> set[str]:
    return {who for one in permissions for key, who in one.items() if key != "level"}


def _tasks(bundle: Bundle) -> Iterator[tuple[Resource, dict[str, Any]]]:
    for job in bundle.of("jobs"):
        for task in job.value.get("tasks", ()):
            yield job, task


Check = Callable[[Bundle], list[str]]
CHECKS: tuple[Check, ...] = (
    unknown_kinds_and_fields,
    dangling_references,
    loops,
    repeated_keys,
    misplaced_resources,
    missing_files,
    wrong_dashboards,
    wrong_entry_points,
    wrong_environments,
    wrong_schedules,
    unknown_secrets,
    written_names,
    risky_settings,
    risky_resources,
)
