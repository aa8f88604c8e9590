"""`spendgate serve|app|simulate`: the hosts, and the model server to try them with."""

from pathlib import Path
from typing import Annotated

import typer

from spendgate.adapters.budget_codec import usd_text
from spendgate.adapters.policy_source import default_budget, names_default_budget
from spendgate.adapters.stored_policy import DefaultBudget
from spendgate.bootstrap import apply_policy
from spendgate.cli.budget_import import note_changes
from spendgate.cli.console import note
from spendgate.cli.options import Home, Ledger, opened_ledger, settings_from
from spendgate.config import Settings
from spendgate.domain.budget import Budget

Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")]
Upstream = Annotated[
    str | None, typer.Option(help="Base URL of the model server (SPENDGATE_UPSTREAM_URL).")
]
UpstreamKey = Annotated[
    str | None,
    typer.Option(help="Its bearer; SPENDGATE_UPSTREAM_API_KEY keeps it out of process lists."),
]
Budgets = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Policy file; read once, at the start."),
]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Processes; they share the ledger.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]


def add_to(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.command("serve")(serve)
    program.command("app")(serve_app)
    program.command("simulate")(simulate)


def serve(
    home: Home = None,
    port: Port = None,
    upstream: Upstream = None,
    upstream_api_key: UpstreamKey = None,
    budgets: Budgets = None,
    ledger: Ledger = None,
    workers: Workers = 1,
    host: Host = "127.0.0.1",
) -> None:
    """Serve the model with MLflow's scoring server: POST /invocations, GET /ping."""
    settings = _settings(home, ledger, port, upstream, upstream_api_key, budgets)
    from spendgate.serving.host import serve as run  # noqa: PLC0415 - slow to load

    run(settings, host=host, port=settings.port, workers=workers)


def serve_app(
    home: Home = None,
    port: Port = None,
    upstream: Upstream = None,
    upstream_api_key: UpstreamKey = None,
    budgets: Budgets = None,
    ledger: Ledger = None,
    workers: Workers = 1,
    host: Host = "127.0.0.1",
) -> None:
    """Serve the OpenAI-compatible app: /v1/chat/completions, /v1/embeddings, /health."""
    settings = _settings(home, ledger, port, upstream, upstream_api_key, budgets)
    from spendgate.app.host import run  # noqa: PLC0415 - slow to load

    run(settings, host=host, port=settings.port, workers=workers)


def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")],
    latency_ms: Annotated[float, typer.Option(min=0, help="Before the first byte.")] = 0.0,
    bill: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Keep GET /bill in this file, its calls beside it."),
    ] = None,
    host: Host = "127.0.0.1",
) -> None:
    """Run a model server that answers without a model and keeps its own bill: GET /bill."""
    from spendgate.simulator import run  # noqa: PLC0415 - slow to load

    run(port, latency_ms, bill, host)


def _settings(
    home: Path | None,
    ledger: str | None,
    port: int | None,
    upstream: str | None,
    upstream_api_key: str | None,
    budgets: Path | None,
) -> Settings:
    settings = settings_from(
        home,
        ledger,
        port=port,
        upstream_url=upstream,
        upstream_api_key=upstream_api_key,
        budgets_file=budgets,
    )
    # A wrong policy file is told now, not by each worker once MLflow has loaded.
    with opened_ledger(settings, may_create=True) as opened:
        applied = apply_policy(settings, opened)
        for budget_id in applied.imported.kept:
            note(f"budget {budget_id!r} is kept as people set it; the file's row is not used")
        if settings.budgets_file is not None:
            note_changes(applied.imported, settings.budgets_file)
        if applied.default is not None:
            _note_own_budgets(settings, applied.default, opened.policies.policy().budgets)
    return settings


def _note_own_budgets(settings: Settings, done: DefaultBudget, budgets: tuple[Budget, ...]) -> None:
    default = default_budget(settings)
    worth = f"{usd_text(default.limit_nano)} USD per {default.window.text} for each user"
    if done is DefaultBudget.MADE:
        note(
            f"no policy file: made budget {default.budget_id!r}, {worth}; change it with "
            f"`spendgate budget set {default.budget_id} --limit USD`, or give --budgets FILE"
        )
    elif done is DefaultBudget.CHANGED:
        note(
            f"no policy file: budget {default.budget_id!r} is now {worth}, as the settings "
            "BUDGET_* say"
        )
    elif budgets:
        count = len(budgets)
        note(f"no policy file: the ledger's own budgets hold ({count}), see `budget list`")
        if names_default_budget(settings) and budgets != (default,):
            note(
                "the settings BUDGET_* are not used: they make the first budget of a ledger and "
                "change it while nobody else did; use `spendgate budget set`"
            )
    else:
        note(
            "no policy file, and the ledger's own budgets were removed: no budget covers a call; "
            "add one with `spendgate budget set`"
        )
