"""The live page of a running host in a real browser: what it shows, to whom, and how safely."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import Watched
from tests.contract.running_app import App, running

TOKEN = "the-admin-token"
SCRIPT = "<script>alert(1)</script>"
BUDGETS = """
budgets:
  - {id: everything, scope: {}, limit_usd: 10, window: day}
  - {id: gone, scope: {team: gone}, limit_usd: 1}
  - {id: tight, scope: {agent: tight}, limit_usd: 0.000001, window: day}
  - {id: near, scope: {agent: near}, limit_usd: 0.0015, window: day, soft_cap: 0.05}
  - {id: each-agent, scope: {agent: "*"}, limit_usd: 1, window: day}
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, simulator: str, chromium: str) -> Iterator[App]:
    home = tmp_path_factory.mktemp("live")
    with running(home, simulator, budgets=BUDGETS, SPENDGATE_ADMIN_TOKEN=TOKEN) as started:
        for agent in ("ranker", "near", SCRIPT):
            assert started.chat({"agent": agent, "team": "support"}).status_code == 200
        assert started.chat({"agent": "tight", "team": SCRIPT}).status_code == 402
        yield started


@pytest.fixture
def page(watched: Watched, app: App) -> Iterator[Page]:
    watched.page.goto(f"{app.url}/")
    yield watched.page
    # The browser itself notes each answer of 401 and 403.
    assert [fault for fault in watched.faults if "status of 40" not in fault] == []


def _enter(page: Page, token: str = TOKEN) -> None:
    page.get_by_label("Administration token").fill(token)
    page.get_by_role("button", name="Show").click()


def _figures(app: App, path: str, token: str = TOKEN) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{app.url}/api/dashboard/{path}", headers=headers, timeout=30)


def test_nothing_is_shown_without_the_token_and_the_address_never_carries_it(
    page: Page, app: App
) -> None:
    expect(page.locator("#figures")).to_be_hidden()
    _enter(page, "a wrong one")
    expect(page.locator("#refused")).to_contain_text("SPENDGATE_ADMIN_TOKEN")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    _enter(page)
    expect(page.locator("#budgets li").first).to_be_visible()

    assert asked
    assert not any(TOKEN in address for address in [*asked, page.url])
    assert _figures(app, "spend", token="").status_code == 401
    assert _figures(app, "latest", token="x").status_code == 401


def test_gauges_take_the_colour_of_their_cap_and_say_it_in_words(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    _enter(page)
    near = page.get_by_role("meter", name="near · agent:near")

    near.wait_for()

    assert "past its soft cap" in (near.get_attribute("aria-valuetext") or "")
    assert "within" in (page.get_by_role("meter").last.get_attribute("aria-valuetext") or "")
    item = page.locator("#budgets li", has=near)
    expect(item.locator(".fill")).to_have_css("background-color", "rgb(168, 106, 0)")
    ok = page.locator("#budgets li", has=page.get_by_role("meter", name="everything · all"))
    expect(ok.locator(".fill")).to_have_css("background-color", "rgb(46, 125, 91)")
    widths = page.locator(".fill").evaluate_all(
        "all => all.map(one => parseFloat(one.style.width))"
    )
    assert widths == sorted(widths, reverse=True)


def test_refusals_and_spend_are_shown_and_hostile_names_stay_text(page: Page) -> None:
    _enter(page)
    row = page.locator("#refusals tr").first

    expect(row).to_contain_text("budget_exhausted")
    expect(row).to_contain_text(SCRIPT)
    expect(page.locator("#legend")).to_contain_text("support")
    page.get_by_label("by").select_option("agent")
    expect(page.locator("#legend")).to_contain_text(SCRIPT)
    assert page.locator("#chart rect").count() >= 1
    assert page.locator("script").count() == 1


def test_the_page_updates_itself(page: Page, app: App) -> None:
    _enter(page)
    expect(page.locator("#budgets")).not_to_contain_text("late-comer")

    assert app.chat({"agent": "late-comer", "team": "support"}).status_code == 200

    expect(page.locator("#budgets")).to_contain_text("late-comer")


def test_a_budget_that_is_removed_disappears(page: Page, app: App) -> None:
    _enter(page)
    expect(page.locator("#budgets")).to_contain_text("gone · team:gone")

    app.cli("budget", "remove", "gone")

    expect(page.locator("#budgets")).not_to_contain_text("gone · team:gone")


def test_it_fits_a_phone_in_light_and_dark(page: Page, app: App, tmp_path: Path) -> None:
    assert app.chat({"agent": "writer-of-quarterly-reports"}).status_code == 200
    _enter(page)
    named = page.locator("#budgets .name", has_text="agent:writer-of-quarterly-reports")
    expect(named).to_be_visible()

    for width in (360, 1400):
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (width, scheme)
            page.screenshot(path=tmp_path / f"live-{width}-{scheme}.png", full_page=True)
        # Of budgets with values of their own the value is what tells them apart.
        uncut = "one => one.scrollHeight <= one.clientHeight && one.scrollWidth <= one.clientWidth"
        assert named.evaluate(uncut), width


def test_each_row_has_what_the_recipes_clients_read(app: App) -> None:
    rows = _figures(app, "spend").json()

    assert {row["budget_id"] for row in rows} >= {"everything", "near", "tight", "each-agent"}
    for row in rows:
        assert isinstance(row["scopeKey"], str)
        assert row["spent"] == pytest.approx(float(row["spent_usd"]))
        assert row["remaining"] == pytest.approx(float(row["remaining_usd"]))


def test_pages_say_what_a_browser_may_do_with_them(app: App) -> None:
    for path in ("/", "/dashboard", "/dashboard/live.js", "/dashboard/live.css"):
        answer = httpx.get(f"{app.url}{path}")

        assert answer.status_code == 200
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert _figures(app, "spend").headers["cache-control"] == "no-store"
    refused = _figures(app, "latest?by=colour")
    assert refused.status_code == 400
    assert "team" in refused.json()["error"]["message"]


def test_a_host_without_a_token_says_how_to_switch_it_on(
    watched: Watched, tmp_path: Path, simulator: str
) -> None:
    with running(tmp_path, simulator, budgets=BUDGETS, workers=1, SPENDGATE_ADMIN_TOKEN="") as app:
        watched.page.goto(f"{app.url}/dashboard")
        _enter(watched.page)

        expect(watched.page.locator("#refused")).to_contain_text("SPENDGATE_ADMIN_TOKEN")
