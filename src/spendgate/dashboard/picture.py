"""Pictures of a report, taken by a Chromium of this machine."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from spendgate.errors import HostError
from spendgate.gateway.json_object import JsonObject, json_list, json_object

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS_MAX = 300
_WIDTH = 1400
_FRAME_PIXELS, _ROW_PIXELS = 190, 54
"""Above and below the grid; one row of it with its gap."""


def take_pictures(report: Path, document: JsonObject) -> list[Path]:
    """Write one PNG beside a report for each of its pages; return their paths.

    Raises:
        HostError: if there is no Chromium, or it can't draw the page.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise HostError(
            "--png needs Chromium or Chrome and found none (Debian: apt-get install chromium); "
            f"{report} is written and opens in any browser"
        )
    taken: list[Path] = []
    for page in map(json_object, json_list(document.get("pages"))):
        if page.get("pageType") == "PAGE_TYPE_CANVAS":
            picture = report.with_name(f"{report.stem}-{page.get('name')}.png")
            _take(browser, f"{report.absolute().as_uri()}#{page.get('name')}", picture, _rows(page))
            taken.append(picture)
    return taken


def _take(browser: str, address: str, picture: Path, rows: int) -> None:
    picture.unlink(missing_ok=True)
    with TemporaryDirectory(prefix="spendgate-browser-", ignore_cleanup_errors=True) as profile:
        command = [
            browser,
            "--headless=new",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            # The profile is this folder, and the only page is the report that was just written.
            f"--user-data-dir={profile}",
            f"--window-size={_WIDTH},{_FRAME_PIXELS + rows * _ROW_PIXELS}",
            "--virtual-time-budget=20000",
            f"--screenshot={picture.absolute()}",
            # Chromium's sandbox refuses to start for root.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            address,
        ]
        try:
            done = subprocess.run(  # noqa: S603 - a browser of this machine, a page of ours
                command, capture_output=True, timeout=SECONDS_MAX, check=False
            )
        except subprocess.TimeoutExpired:
            raise HostError(f"{browser} took no picture within {SECONDS_MAX} s") from None
    if not picture.is_file():
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise HostError(f"{browser} took no picture: {' '.join(last)}")


def _rows(page: JsonObject) -> int:
    ends = [0]
    for item in json_list(page.get("layout")):
        position = json_object(json_object(item).get("position"))
        y, height = position.get("y"), position.get("height")
        if isinstance(y, int) and isinstance(height, int):
            ends.append(y + height)
    return max(ends)
