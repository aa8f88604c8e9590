"""`GET /ready` over a ledger that answers, stops answering and comes back."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from spendgate.app.readiness import REMEMBERED_SECONDS, Readiness
from spendgate.errors import LedgerBrokenError, LedgerUnavailableError

AWAY = (503, {"status": "unavailable", "error": "ledger_unavailable"})
READY = (200, {"status": "ready"})


class LedgerThatMayBeAway:
    """Counts how often it is asked; answers unless it was given an error."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.now = 0.0

    def look(self) -> int:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return 1


@pytest.fixture
def ledger() -> LedgerThatMayBeAway:
    return LedgerThatMayBeAway()


@pytest.fixture
def client(ledger: LedgerThatMayBeAway) -> Iterator[TestClient]:
    readiness = Readiness(ledger.look, lambda: ledger.now)
    with TestClient(Starlette(routes=readiness.routes())) as client:
        yield client


def told(client: TestClient) -> tuple[int, object]:
    answer = client.get("/ready")
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    "error", [LedgerUnavailableError("it is away"), LedgerBrokenError("it is damaged")]
)
def test_a_host_is_ready_while_its_ledger_answers(
    client: TestClient, ledger: LedgerThatMayBeAway, error: Exception
) -> None:
    answers = [told(client)]
    ledger.now, ledger.error = 2.0, error
    answers.append(told(client))
    ledger.now, ledger.error = 4.0, None
    answers.append(told(client))

    assert answers == [READY, AWAY, READY]


def test_an_answer_is_given_again_for_a_second(
    client: TestClient, ledger: LedgerThatMayBeAway
) -> None:
    with ThreadPoolExecutor(8) as probes:
        answers = list(probes.map(lambda _: told(client), range(20)))
    assert answers == [READY] * 20
    assert ledger.asked == 1

    ledger.now, ledger.error = REMEMBERED_SECONDS, LedgerUnavailableError("it is away")
    assert [told(client) for _ in range(5)] == [AWAY] * 5
    assert ledger.asked == 2
