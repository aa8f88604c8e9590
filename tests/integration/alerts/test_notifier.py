"""Alerts reach real servers in the form that each service reads, and name nothing secret."""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from apprise.plugins import opsgenie, pagerduty, slack
from tests.integration.alerts.conftest import Mailbox, Place

from spendgate.adapters.notifier import Notifier
from spendgate.domain.alert import Alert, AlertKind
from spendgate.domain.notifier import NotifierKind, NotifierSpec

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
KEY = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
STOP = Alert(
    "a1", AlertKind.HARD_STOP, NOW, 10**6, "org-month", "org", "acme", "month",
    datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), 500 * 10**9, 499 * 10**9,
)  # fmt: skip
LINE = (
    "budget org-month for org acme (month until 2026-04-01 00:00 UTC): it refuses calls for "
    "want of money, 499 of 500 USD"
)


def send(
    monkeypatch: pytest.MonkeyPatch, url: str, *alerts: Alert, kind: str = "message"
) -> list[str | None]:
    monkeypatch.setenv("PLACE", url)
    monkeypatch.setenv("KEY", KEY)
    key = "env:KEY" if kind == "webhook" else None
    spec = NotifierSpec("p", "env:PLACE", NotifierKind(kind), key)
    return Notifier("/spendgate/l1", lambda: NOW).send(spec, alerts or (STOP,))


def test_a_mail_says_which_budget_stopped(
    monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox
) -> None:
    url = f"mailto://127.0.0.1:{mailbox.port}?from=gate@acme.com&to=finops@acme.com&format=text"

    assert send(monkeypatch, url) == [None]

    (mail,) = mailbox.mails
    assert mail["To"] == "finops@acme.com"
    parts = [part.get_payload(decode=True) for part in mail.walk() if not part.is_multipart()]
    text = b"".join(part for part in parts if isinstance(part, bytes))
    assert LINE in text.decode().replace("\r\n", " ")


def test_slack_pagerduty_and_opsgenie_get_what_their_api_takes(
    monkeypatch: pytest.MonkeyPatch, place: Place, other_place: Place
) -> None:
    other_place.answer = b'{"requestId": "r1"}'
    monkeypatch.setattr(slack.NotifySlack, "webhook_url", f"{place.url}/slack")
    monkeypatch.setitem(
        pagerduty.PAGERDUTY_API_LOOKUP, pagerduty.PagerDutyRegion.US, f"{place.url}/pagerduty"
    )
    monkeypatch.setitem(
        opsgenie.OPSGENIE_API_LOOKUP, opsgenie.OpsgenieRegion.US, f"{other_place.url}/opsgenie"
    )
    urls = (
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "pagerduty://ABCDEF@integrationkey1",
        "opsgenie://a-key-of-opsgenie",
    )

    assert [send(monkeypatch, url) for url in urls] == [[None]] * 3

    received = [*place.received, *other_place.received]
    bodies = {one.path.split("/")[1]: one.body.decode() for one in received}
    assert set(bodies) == {"slack", "pagerduty", "opsgenie"}
    assert all("org-month" in body for body in bodies.values())


def test_teams_gets_its_card_by_tls(monkeypatch: pytest.MonkeyPatch, tls_place: Place) -> None:
    url = f"workflows://127.0.0.1:{tls_place.port}/workflow-id/signature?verify=no"

    with pytest.warns(Warning, match="Unverified HTTPS"):
        assert send(monkeypatch, url) == [None]

    assert "org-month" in tls_place.received[0].body.decode()


def test_many_alerts_are_one_message_and_what_users_wrote_commands_nobody(
    monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    rude = replace(
        STOP, scope_value="<!channel> @everyone [x](https://evil.example)\n# big\u202e" + "x" * 200
    )

    url = f"json://127.0.0.1:{place.port}/hook"
    assert send(monkeypatch, url, *[rude] * 25) == [None] * 25

    (one,) = place.received
    said = one.json()
    assert said["title"] == "spendgate: 25 alerts"
    lines = said["message"].splitlines()
    assert len(lines) == 21
    assert lines[20] == "and 5 more, in the table budget_alerts"
    assert "··channel· (at)everyone ·x·(https:/ /evil.example)·# big·xxx" in lines[0]
    assert not set("<>@[]\u202e") & set(said["message"])


def test_a_webhook_gets_a_signed_event_per_alert_that_stays_itself_when_it_is_repeated(
    monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    raised = replace(STOP, alert_id="a2", kind=AlertKind.RAISED, spent_nano=None, detail="by 5 USD")

    for _ in range(2):
        assert send(monkeypatch, f"{place.url}/in", STOP, raised, kind="webhook") == [None, None]

    first, second, again, _ = place.received
    key = base64.b64decode(KEY.removeprefix("whsec_"))
    signed = b"a1." + first.headers["webhook-timestamp"].encode() + b"." + first.body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert first.headers["webhook-signature"] == f"v1,{digest}"
    assert first.headers["content-type"] == "application/cloudevents+json"
    assert (again.headers["webhook-id"], again.body) == ("a1", first.body)
    event = first.json()
    data = event.pop("data")
    assert event == {
        "specversion": "1.0", "id": "a1", "source": "/spendgate/l1", "type": "budget.hard_stop",
        "subject": "budget/org-month", "time": "2026-03-10T12:30:00Z",
        "datacontenttype": "application/json",
    }  # fmt: skip
    assert data["spent_usd"] == "499.000000000"
    assert data["window_end"] == "2026-04-01T00:00:00Z"
    assert second.json()["type"] == "budget.raised"
    assert second.json()["data"]["detail"] == "by 5 USD"


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("json://127.0.0.1:1/s3cret", "message", "doesn't take the message"),
        ("nosuch://s3cret", "message", "its address is no URL that apprise knows"),
        ("http://127.0.0.1:1/s3cret", "webhook", "can't be reached: ConnectError"),
        ("no url s3cret", "webhook", "can't be reached: UnsupportedProtocol"),
        ("\n", "message", "its address: is empty or no single line of text"),
    ],
)
def test_a_place_that_cant_be_reached_is_told_of_without_its_address(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    url: str,
    kind: str,
    said: str,
) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = send(monkeypatch, url, STOP, STOP, kind=kind)

    assert answers == [said, said]
    assert "s3cret" not in caplog.text.replace("http://127.0.0.1:1/s3cret", "")


@pytest.mark.parametrize("status", [401, 403, 404, 408, 410, 429, 500, 503])
def test_a_refusing_webhook_isnt_asked_again_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, place: Place, status: int
) -> None:
    place.status = status
    said = f"answers {status}"

    assert send(monkeypatch, place.url, STOP, STOP, STOP, kind="webhook") == [said] * 3
    assert len(place.received) == 1


@pytest.mark.parametrize("status", [301, 303, 307])
def test_a_redirect_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, place: Place, other_place: Place, status: int
) -> None:
    place.status, place.location = status, f"{other_place.url}/elsewhere"

    assert send(monkeypatch, place.url, kind="webhook") == [f"answers {status}"]
    assert len(place.received) == 1
    assert not other_place.received


def test_an_event_that_is_refused_by_itself_holds_no_other_up(
    monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    place.status = 422

    assert send(monkeypatch, place.url, STOP, STOP, kind="webhook") == ["answers 422"] * 2
    assert len(place.received) == 2


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("whsec_???", "its key: a key that begins with whsec_ goes on in base64"),
        ("short", "its key: a key has at least 16 bytes"),
    ],
)
def test_a_key_that_is_none_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, place: Place, key: str, said: str
) -> None:
    monkeypatch.setenv("PLACE", place.url)
    monkeypatch.setenv("KEY", key)
    spec = NotifierSpec("p", "env:PLACE", NotifierKind.WEBHOOK, "env:KEY")

    assert Notifier("/s", lambda: NOW).send(spec, [STOP]) == [said]
    assert not place.received


def test_every_kind_of_alert_has_words_and_an_event_type(
    monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    alerts: Sequence[Alert] = [replace(STOP, kind=kind, forecast_nano=1) for kind in AlertKind]

    send(monkeypatch, f"json://127.0.0.1:{place.port}/hook", *alerts)
    send(monkeypatch, place.url, *alerts, kind="webhook")

    message, *events = place.received
    lines = message.json()["message"].splitlines()
    assert len(set(lines)) == len(AlertKind)
    assert len({json.loads(one.body)["type"] for one in events}) == len(AlertKind)
