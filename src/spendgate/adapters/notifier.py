"""Bring alerts to one place: a message by apprise, or a signed event for each."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any

from pydantic import SecretStr

from spendgate.adapters.alert_message import message_of
from spendgate.adapters.cloud_event import CONTENT_TYPE, event_of
from spendgate.adapters.secret_reference import read_secret
from spendgate.adapters.signed_webhook import key_bytes, new_client, post_signed
from spendgate.domain.alert import Alert, AlertKind
from spendgate.domain.notifier import NotifierKind, NotifierSpec
from spendgate.errors import CredentialsError

MESSAGE_SECONDS = 20.0
PLACE_SECONDS = 120.0
"""How long one place may take for all its events, far below the life of a claim."""
_SLOW = "takes its events too slowly; the rest waits"
GRAVE = frozenset({AlertKind.OVERRUN, AlertKind.HARD_STOP, AlertKind.DRIFT})
_NO_APPRISE = "messages need apprise: install spendgate[alerts]"


class Notifier:
    """A sender of alerts; `source` is who says so, `clock` the time of a signature."""

    def __init__(self, source: str, clock: Callable[[], datetime]) -> None:
        self._source = source
        self._clock = clock

    def send(self, notifier: NotifierSpec, alerts: Sequence[Alert]) -> list[str | None]:
        """Send alerts; return for each None, or why it failed, without anything secret."""
        try:
            place = read_secret(notifier.to, "its address")
            if notifier.kind is NotifierKind.MESSAGE:
                return [self._message(place, alerts)] * len(alerts)
            key = key_bytes(read_secret(notifier.key or "env:", "its key"))
        except CredentialsError as error:
            return [str(error)] * len(alerts)
        except ValueError as error:
            return [f"its key: {error}"] * len(alerts)
        return self._events(place, key, alerts)

    def _message(self, place: SecretStr, alerts: Sequence[Alert]) -> str | None:
        """Send one message about all of them, so that a burst of crossings is no flood."""
        try:
            apprise: Any = import_module("apprise")  # Any: it ships no types
        except ImportError:
            return _NO_APPRISE
        # It logs what services answer, and at lower levels where they are.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        service = apprise.Apprise.instantiate(place.get_secret_value())
        if service is None:
            return "its address is no URL that apprise knows"
        several = apprise.Apprise()
        several.add(service)
        title, body = message_of(alerts)
        kinds = {one.kind for one in alerts}
        grave, news = apprise.NotifyType.FAILURE, apprise.NotifyType.INFO
        level = grave if kinds & GRAVE else apprise.NotifyType.WARNING
        is_sent = several.notify(
            body,
            title=title,
            # On-call services open an incident for all but news.
            notify_type=news if kinds == {AlertKind.RAISED} else level,
            body_format=apprise.NotifyFormat.TEXT,
            timeout=MESSAGE_SECONDS,
        )
        return None if is_sent else "doesn't take the message"

    def _events(self, place: SecretStr, key: bytes, alerts: Sequence[Alert]) -> list[str | None]:
        """Send each; a place that is down, or slow, isn't asked for the rest, so nobody waits."""
        answers: list[str | None] = []
        headers = {"content-type": CONTENT_TYPE}
        until = time.monotonic() + PLACE_SECONDS
        with new_client() as client:
            for alert in alerts:
                body = event_of(alert, self._source)
                failure = post_signed(
                    client, place, key, alert.alert_id, body, self._clock(), headers
                )
                answers.append(None if failure is None else failure.said)
                if failure is not None and failure.is_down:
                    return answers + [failure.said] * (len(alerts) - len(answers))
                if time.monotonic() > until:
                    break
        return answers + [_SLOW] * (len(alerts) - len(answers))
