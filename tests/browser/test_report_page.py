"""The drawn dashboard in a real browser: every page draws, filters filter, nothing leaks out."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import Watched
from tests.dashboard_tables import SCRIPT, fill_tables, realistic_rows

from spendgate.cli import main

PAGES = ("now", "spend", "budgets", "quality", "savings")
CHARTS = {"now": 3, "spend": 4, "budgets": 3, "quality": 4, "savings": 2}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Path:
    """Draw a few days of traffic by the command that people use."""
    home = tmp_path_factory.mktemp("home")
    fill_tables(home / "delta", realistic_rows(datetime.now(UTC)))
    return _drawn(home)


def _drawn(home: Path, *more: str) -> Path:
    out = home / "report.html"
    with pytest.raises(SystemExit) as ended:
        main(["dashboard", "render", "--home", str(home), "--out", str(out), *more])
    assert ended.value.code == 0
    return out


@pytest.fixture
def page(watched: Watched, report: Path) -> Iterator[Page]:
    watched.page.goto(report.as_uri())
    yield watched.page
    assert watched.faults == []


def _open(page: Page, name: str) -> None:
    page.locator(f"#tabs [data-page={name}]").click()
    expect(page.locator("body")).to_have_attribute("data-drawn", name)


def _number(page: Page, widget: str) -> float:
    text = page.locator(f"[data-widget={widget}] .value").inner_text()
    return float(text.strip("$%").replace(",", ""))


def test_every_page_draws_every_widget_in_light_and_dark(page: Page) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.reload()
        for name in PAGES:
            _open(page, name)

            assert page.locator(".chart svg").count() == CHARTS[name], (scheme, name)
            assert page.get_by_text("No rows").count() == 0, (scheme, name)
            assert page.get_by_text("Can't be drawn").count() == 0, (scheme, name)
        assert page.locator("html").get_attribute("data-theme") == scheme


def test_filters_narrow_what_is_summed_and_all_of_them_is_all(page: Page) -> None:
    _open(page, "spend")
    whole = _number(page, "spend_total")

    box = page.locator("[data-filter=team_id]")
    box.locator("summary").click()
    parts = []
    for team in ("support", "search", "billing"):
        tick = box.get_by_label(team)
        tick.check()
        expect(page.locator("body")).to_have_attribute("data-drawn", "spend")
        parts.append(_number(page, "spend_total"))
        assert page.locator("[data-widget=by_team] svg").get_by_text(team).count() == 1
        tick.uncheck()
        expect(page.locator("body")).to_have_attribute("data-drawn", "spend")

    assert all(0 < part < whole for part in parts)
    assert sum(parts) == pytest.approx(whole, abs=0.02)
    assert _number(page, "spend_total") == whole


def test_dates_narrow_and_an_empty_choice_says_so(page: Page) -> None:
    _open(page, "spend")
    whole = _number(page, "spend_total")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)

    page.locator("input[name=min]").fill(f"{yesterday}")
    expect(page.locator("body")).to_have_attribute("data-drawn", "spend")
    narrowed = _number(page, "spend_total")
    page.locator("input[name=max]").fill(f"{yesterday - timedelta(days=9)}")
    expect(page.locator("[data-widget=spend_days] .empty")).to_have_text("No rows")

    assert 0 < narrowed < whole
    expect(page.locator("[data-widget=spend_total] .value")).to_have_text("n/a")


def test_a_hostile_name_is_shown_as_text(page: Page) -> None:
    _open(page, "spend")

    shown = page.locator("[data-widget=sessions] td", has_text=SCRIPT)
    assert shown.count() > 0
    assert page.locator("main script").count() == 0


def test_status_has_the_colour_of_its_cap(page: Page) -> None:
    _open(page, "budgets")

    marks = page.locator("[data-widget=budget_list] .mark")
    hard = marks.filter(has_text="hard").first
    soft = marks.filter(has_text="soft").first

    expect(hard).to_have_css("background-color", "rgb(200, 55, 45)")
    expect(soft).to_have_css("background-color", "rgb(184, 117, 3)")


def test_the_report_asks_nothing_of_the_network(watched: Watched, report: Path) -> None:
    asked: list[str] = []
    watched.page.on("request", lambda request: asked.append(request.url))

    watched.page.goto(report.as_uri())
    expect(watched.page.locator("body")).to_have_attribute("data-drawn", "now")

    assert asked == [report.as_uri()]


def test_an_empty_workspace_draws_and_says_what_is_missing(
    watched: Watched, tmp_path: Path, chromium: str, capsys: pytest.CaptureFixture[str]
) -> None:
    watched.page.goto(_drawn(tmp_path / "home").as_uri())
    assert "there are no tables in" in capsys.readouterr().err

    for name in PAGES:
        _open(watched.page, name)
    _open(watched.page, "now")

    expect(watched.page.locator("[data-widget=spend_today] .value")).to_have_text("n/a")
    expect(watched.page.locator("[data-widget=refused_today] .value")).to_have_text("0")
    assert watched.page.get_by_text("No rows").count() == 4
    assert watched.faults == []


def test_pictures_are_taken_of_every_page(tmp_path: Path, report: Path, chromium: str) -> None:
    out = _drawn(report.parent, "--png")

    for name in PAGES:
        picture = out.with_name(f"report-{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 30_000, name
