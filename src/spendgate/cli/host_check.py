"""How a running host is, by its own metrics page."""

from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from spendgate.cli.checks import Check, Status
from spendgate.config import Settings

_SECONDS = 10.0
_LANE_DEPTH_WARN = 64
"""More callers than that in one lane: the ledger is the bottleneck."""

Figures = Mapping[str, int | float | str | None]


def check_host(url: str, settings: Settings) -> Check:
    """Ask a host's `/metrics` for its lanes, its holds and what telemetry lost."""
    token = settings.metrics_token
    headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
    page = f"{url.rstrip('/')}/metrics"
    try:
        answer = httpx.get(page, headers=headers, timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        way_out = "check the URL of --host and that the host runs"
        return Check("host", Status.FAIL, f"{page}: {type(error).__name__}", way_out)
    if answer.status_code != 200:
        way_out = "set SPENDGATE_METRICS_TOKEN as the host has it, or correct --host"
        return Check("host", Status.FAIL, f"{page} answers {answer.status_code}", way_out)
    try:
        figures = host_figures(answer.text)
    except ValueError:
        return Check("host", Status.FAIL, f"{page} isn't a metrics page", "correct --host")
    if not figures.get("ledger_up"):
        way_out = "its log names the reason; calls get 503 meanwhile"
        return Check("host", Status.FAIL, "its ledger doesn't answer", way_out, figures)
    depth = figures.get("lane_depth_reserve"), figures.get("lane_depth_end")
    detail = f"lanes: {depth[0]} reserves and {depth[1]} ends wait; "
    detail += f"capture ratio {figures['capture_ratio']}, {figures['telemetry_lost']} reports lost"
    if any(isinstance(one, int | float) and one > _LANE_DEPTH_WARN for one in depth):
        way_out = "the ledger is slower than its callers: see commit_ms, add room or budgets"
        return Check("host", Status.WARN, detail, way_out, figures)
    return Check("host", Status.OK, detail, figures=figures)


def host_figures(text: str) -> Figures:
    """Read what the doctor shows from a metrics page.

    Raises:
        ValueError: if it is none of spendgate's.
    """
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            lane = sample.labels.get("lane")
            name = sample.name if lane is None else f"{sample.name}_{lane}"
            found[name] = found.get(name, 0.0) + sample.value
    if "spendgate_ledger_up" not in found:
        raise ValueError("no spendgate_ledger_up")
    reserved = found.get("spendgate_reserved_usd_total", 0.0)
    charged = found.get("spendgate_charged_usd_total", 0.0)
    return {
        "ledger_up": int(found["spendgate_ledger_up"]),
        "lane_depth_reserve": int(found.get("spendgate_lane_depth_reserve", 0)),
        "lane_depth_end": int(found.get("spendgate_lane_depth_end", 0)),
        "ends_unconfirmed": int(found.get("spendgate_ends_unconfirmed", 0)),
        "open_holds": int(found.get("spendgate_holds_open", 0)),
        "outbox_age_s": found.get("spendgate_outbox_age_seconds", 0.0),
        "telemetry_lost": int(found.get("spendgate_telemetry_lost_total", 0)),
        "capture_ratio": round(charged / reserved, 4) if reserved else None,
    }
