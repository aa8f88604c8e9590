"""A process has one gateway, and a forked child has its own."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from spendgate.config import Settings
from spendgate.domain.upstream import UpstreamSpec
from spendgate.errors import HostError
from spendgate.web.environment import settings_environment
from spendgate.web.server import bind, call_seconds, check_settings
from spendgate.web.worker import Worker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path, upstream_url="http://127.0.0.1:9/v1", upstream_api_key=SecretStr("s3cret")
    )


@pytest.fixture
def worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    worker = Worker()
    yield worker
    worker.close()


def test_settings_survive_the_way_through_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = Settings(
        home=tmp_path,
        upstream_url="http://127.0.0.1:9",
        upstream_api_key=SecretStr("s3cret"),
        signing_key=SecretStr("k" * 32),
        price_overlays=("recipe",),
        budget_default_limit=Decimal("12.5"),
        upstream_bills_5xx=False,
        hold_ttl_seconds=17.5,
    )

    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)

    assert Settings() == settings


def test_many_threads_start_one_gateway(worker: Worker):
    with ThreadPoolExecutor(8) as threads:
        gateways = list(threads.map(lambda _: worker.gateway(), range(8)))

    assert len({id(gateway) for gateway in gateways}) == 1


def test_a_forked_child_starts_its_own_gateway(worker: Worker):
    parents = worker.gateway()

    worker.forget_parent()

    assert worker.gateway() is not parents
    for host in worker._from_parent:
        host.close()


def test_a_closed_worker_starts_anew(worker: Worker):
    before = worker.gateway()

    worker.close()

    assert worker.gateway() is not before


def test_a_closed_host_keeps_no_connection_to_its_model_server(worker: Worker):
    worker.gateway()
    host = worker.running()

    worker.close()

    assert host._upstream is not None
    assert host._upstream._client.is_closed


def test_a_closing_host_waits_for_streams_that_are_read_on(worker: Worker):
    gateway = worker.gateway()
    assert gateway.draining.enter()
    closing = threading.Thread(target=worker.close)

    closing.start()
    closing.join(0.2)

    assert closing.is_alive()
    gateway.draining.leave()
    closing.join(60)
    assert not closing.is_alive()


def test_a_call_may_take_as_long_as_the_slowest_server_of_the_policy(settings: Settings):
    policy = check_settings(settings)
    slow = UpstreamSpec("slow", timeout_seconds=1200)

    assert call_seconds(settings, policy) == 290 + 2 + 30
    assert call_seconds(settings, replace(policy, upstreams=(slow,))) == 1200 + 60 + 2 + 30


def test_a_host_needs_a_model_server(tmp_path: Path):
    with pytest.raises(HostError, match="upstream"):
        check_settings(Settings(home=tmp_path, upstream_url=None))


def test_a_host_needs_a_folder_it_can_make(settings: Settings, tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(HostError, match="can't be made"):
        check_settings(settings.model_copy(update={"home": tmp_path / "file" / "home"}))


def test_a_good_setting_leaves_nothing_open(settings: Settings):
    check_settings(settings)

    check_settings(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_is_bound_once(host: str):
    with bind(host, 0) as bound:
        bound.listen()
        port = bound.getsockname()[1]

        with pytest.raises(HostError, match=f"port {port} .*--port"):
            bind(host, port)


def test_an_unknown_address_is_told():
    with pytest.raises(HostError, match="address"):
        bind("no.such.host.invalid", 0)
