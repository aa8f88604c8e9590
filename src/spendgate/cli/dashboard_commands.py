"""`spendgate dashboard build|render`: the dashboard's file for Databricks, and its picture here."""

import json
from pathlib import Path
from typing import Annotated

import typer

from spendgate.bootstrap import utc_now
from spendgate.cli.console import note, say
from spendgate.cli.options import Home, parse_start, settings_from
from spendgate.dashboard.document import dashboard_document, document_text
from spendgate.dashboard.lint import problems
from spendgate.errors import HostError
from spendgate.gateway.json_object import JsonObject, is_object

FAILED = 1
FILE = Path("resources/spend.lvdash.json")


def make_group() -> typer.Typer:
    """Return the group of commands on the dashboard."""
    group = typer.Typer(help="Build and draw the dashboard.", no_args_is_help=True)
    group.command("build")(build)
    group.command("check")(check)
    group.command("render")(render)
    return group


def build(
    out: Annotated[Path, typer.Option(dir_okay=False, help="File to write.")] = FILE,
    is_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if the file differs.")
    ] = False,
) -> None:
    """Write the dashboard's file from its datasets and pages."""
    document = dashboard_document()
    found = problems(document)
    for line in found:
        say(line)
    if found:
        raise typer.Exit(FAILED)
    text = document_text(document)
    if not is_check:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    elif not out.is_file() or out.read_text("utf-8") != text:
        say(f"{out} isn't what would be built; run: spendgate dashboard build")
        raise typer.Exit(FAILED)


def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A .lvdash.json.")],
) -> None:
    """Check a dashboard's file for what would break a widget; exits 1 if something is wrong."""
    found = problems(read_dashboard(file))
    for line in found or (f"{file}: no problem found",):
        say(line)
    if found:
        raise typer.Exit(FAILED)


def render(
    out: Annotated[Path, typer.Option(dir_okay=False, help="File to write.")] = Path("report.html"),
    home: Home = None,
    dashboard: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Another .lvdash.json than the shipped."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="First day: a date, or 7d; default 30d.")
    ] = None,
    is_png: Annotated[
        bool, typer.Option("--png", help="Also one PNG a page, taken by Chromium.")
    ] = False,
) -> None:
    """Draw the dashboard over the tables of a home, as one HTML file that needs no network."""
    settings = settings_from(home)
    try:
        from spendgate.dashboard.report import report_html  # noqa: PLC0415 - an extra, slow to load
    except ImportError as error:
        raise HostError(
            f"this needs the extra: pip install 'spendgate[charts]' ({error})"
        ) from None
    document = dashboard_document() if dashboard is None else read_dashboard(dashboard)
    found = problems(document)
    if found:
        raise HostError(f"the dashboard has {len(found)} problems; the first: {found[0]}")
    if not settings.delta_folder.is_dir():
        note(f"there are no tables in {settings.delta_folder} yet: the report will be empty")
    now = utc_now()
    period = None if since is None else (parse_start(since, now, "--since").date(), now.date())
    out.parent.mkdir(parents=True, exist_ok=True)
    text = report_html(document, settings.delta_folder, now, period)
    out.write_text(text, encoding="utf-8")
    say(f"{out}")
    if is_png:
        from spendgate.dashboard.picture import take_pictures  # noqa: PLC0415

        for picture in take_pictures(out, document):
            say(f"{picture}")


def read_dashboard(file: Path) -> JsonObject:
    """Read a dashboard's file.

    Raises:
        HostError: if it is no JSON object.
    """
    try:
        document: object = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise HostError(f"{file} is no JSON: {error}") from None
    if not is_object(document):
        raise HostError(f"{file} is no dashboard: a JSON object with datasets and pages")
    return document
