"""Both front doors in this process over one gate: MLflow's own server with our filter, and ASGI."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.testclient import TestClient

from spendgate.app.host import routes
from spendgate.config import Settings
from spendgate.gateway.async_gateway import AsyncGateway
from spendgate.gateway.gateway import Gateway
from spendgate.gateway.ports import AsyncUpstream
from spendgate.web.lifespan import Lifespan

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own classes when it is imported
    from mlflow.pyfunc import PyFuncModel, scoring_server

    from spendgate.serving.filter import InvocationFilter
    from spendgate.serving.model_stream import ModelStream
    from spendgate.serving.served_model import ServedModel

if TYPE_CHECKING:
    from httpx2 import Response

SETTINGS = Settings()
BYTES_MAX, SECONDS = SETTINGS.body_bytes_max, SETTINGS.client_seconds


@dataclass(frozen=True)
class Door:
    """One way in: its client, where it posts, and how it names the model and unlisted fields."""

    name: str
    client: TestClient
    path_of: Callable[[str], str]
    form: Callable[[str, dict[str, Any], dict[str, Any]], dict[str, Any]]

    def ask(
        self,
        route: str,
        model: str,
        body: dict[str, Any],
        unlisted: Mapping[str, Any] | None = None,
    ) -> "Response":
        content = json.dumps(self.form(model, body, dict(unlisted or {})))
        headers = {"content-type": "application/json"}
        return self.client.post(self.path_of(route), content=content, headers=headers)


@contextmanager
def opened_doors(
    model: PyFuncModel, gateway: Gateway, upstream: AsyncUpstream
) -> Iterator[list[Door]]:
    """Open both; `upstream` is the ASGI host's, the endpoint uses the gateway's own."""
    python_model = model.unwrap_python_model()
    assert isinstance(python_model, ServedModel)
    python_model._handler = lambda: gateway
    stream = ModelStream(model.predict_stream, seconds=SECONDS)
    endpoint = InvocationFilter(scoring_server.init(model), body_bytes_max=BYTES_MAX, stream=stream)
    with ThreadPoolExecutor(4) as threads:
        on_loop = gateway.on_event_loop(upstream, threads)
        with TestClient(endpoint) as first, TestClient(_app(on_loop)) as second:
            yield [
                Door("endpoint", first, lambda _route: "/invocations", _endpoint_form),
                Door("app", second, "/v1/{}".format, _app_form),
            ]


def _app(gateway: AsyncGateway) -> Lifespan:
    app = routes(
        lambda: gateway,
        body_bytes_max=BYTES_MAX,
        client_seconds=SECONDS,
        beat_seconds=0.0,
        admin_token=None,
        platform_header=None,
        narrower=_no_narrower,
        administration=_no_administration,
    )
    return Lifespan(
        app, threads=2, start=lambda: None, finish=lambda: gateway.close(60), close=lambda: None
    )


def _no_narrower() -> Any:
    raise AssertionError("no token is narrowed here")


def _no_administration() -> Any:
    raise AssertionError("nothing is administered here")


def _endpoint_form(model: str, body: dict[str, Any], unlisted: dict[str, Any]) -> dict[str, Any]:
    extra = {"extra_body": unlisted} if unlisted else {}
    return {**body, "model": "the-endpoint", "custom_inputs": {"model": model, **extra}}


def _app_form(model: str, body: dict[str, Any], unlisted: dict[str, Any]) -> dict[str, Any]:
    return {**body, **unlisted, "model": model}
