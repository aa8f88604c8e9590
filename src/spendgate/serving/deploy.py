"""`spendgate-deploy secrets|register`: what the setup job does besides tables and budgets.

It returns where a command would exit with 0, and raises otherwise: a wheel task takes any
`SystemExit` for a failure.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from databricks.sdk import WorkspaceClient

from spendgate.adapters.price_book import load_price_book
from spendgate.adapters.workspace import SDK_ERRORS, sdk_reason, workspace_client
from spendgate.adapters.workspace_secrets import check_given, fill_scope
from spendgate.bootstrap import utc_now
from spendgate.errors import HostError

_SECONDS = 60.0
Answer = TypeVar("Answer")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, print its report as one line of JSON.

    Raises:
        SpendgateError: naming what is missing and the way out.
        SystemExit: if the arguments are wrong.
    """
    given = deploy_parser().parse_args(arguments)
    report = _secrets(given) if given.command == "secrets" else _register(given)
    print(json.dumps(report))  # noqa: T201 - the task's output is its report


def deploy_parser() -> argparse.ArgumentParser:
    """Return the parser of the tasks' parameters; the bundle's resources are checked by it."""
    parser = argparse.ArgumentParser(
        prog="spendgate-deploy", description="Make what a deployment lacks."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("secrets", help="make the secrets that the scope lacks")
    made.add_argument("--scope", required=True, help="the bundle's own secret scope")
    made.add_argument(
        "--credentials-scope",
        required=True,
        help="the scope that a person has put client-secret in",
    )
    model = commands.add_parser("register", help="register a version of the model, once")
    model.add_argument("--model", required=True, help="full name: catalog.schema.name")
    model.add_argument("--model-version", required=True, type=_version, help="the number served")
    model.add_argument("--experiment", required=True, help="where the run is kept")
    model.add_argument("--wheels", required=True, type=Path, help="folder that has the wheel")
    model.add_argument("--tracking-uri", default="databricks")
    model.add_argument("--registry-uri", default="databricks-uc")
    model.add_argument(
        "--env-manager",
        choices=("uv", "virtualenv", "local"),
        help="how the trial makes the model's environment; default uv, local where there is none",
    )
    return parser


def _version(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no version; write 1, 2, 3 …")
    return int(text)


def _secrets(given: argparse.Namespace) -> dict[str, object]:
    scope, credentials = str(given.scope), str(given.credentials_scope)
    # Before anything is made: an endpoint without it would fail minutes later, and not say why.
    _asked(lambda client: check_given(client, credentials))
    return {"secrets": dict(_asked(lambda client: fill_scope(client, scope)))}


def _register(given: argparse.Namespace) -> dict[str, object]:
    from spendgate.serving.registration import Registration, register  # noqa: PLC0415 - slow
    from spendgate.serving.trial import environment_manager, try_model  # noqa: PLC0415
    from spendgate.serving.wheel import find_wheel  # noqa: PLC0415

    manager: str = given.env_manager or environment_manager()
    plan = Registration(
        model=given.model,
        version=given.model_version,
        wheel=find_wheel(given.wheels),
        experiment=given.experiment,
        endpoints=_asked(priced_endpoints),
        tracking_uri=given.tracking_uri,
        registry_uri=given.registry_uri,
    )
    report = register(plan, lambda model: try_model(model, manager))
    return {**report, "endpoints": len(plan.endpoints), "env_manager": manager}


def _asked(question: Callable[[WorkspaceClient], Answer]) -> Answer:
    """Ask the workspace that the environment names; its failure is one clear line."""
    try:
        return question(workspace_client(_SECONDS))
    except SDK_ERRORS as error:
        raise HostError(f"the workspace doesn't do it: {sdk_reason(error)}") from None


def priced_endpoints(client: WorkspaceClient) -> tuple[str, ...]:
    """Return the workspace's model endpoints that have a price, by name."""
    book = load_price_book((), ())
    at = utc_now()
    names = (one.name for one in client.serving_endpoints.list())
    return tuple(sorted(name for name in names if name and book.has(name, at)))


if __name__ == "__main__":
    main(sys.argv[1:])
