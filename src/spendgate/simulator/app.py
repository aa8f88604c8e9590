"""The simulator's routes."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from spendgate.simulator.bill import Bill
from spendgate.simulator.billfile import keep_bill, write_bill
from spendgate.simulator.call import ModelCalls
from spendgate.simulator.pricelist import ModelRates, load_pricelist
from spendgate.simulator.settings import SimulatorSettings
from spendgate.simulator.wire import JsonObject, encode

# Databricks' own paths beside OpenAI's; first come the ones that benchmarks call.
CALL_PATHS = (
    "/v1/chat/completions",
    "/chat/completions",
    "/v1/embeddings",
    "/embeddings",
    "/v1/responses",
    "/responses",
    "/serving-endpoints/{name}/invocations",
    "/serving-endpoints/chat/completions",
    "/serving-endpoints/embeddings",
    "/serving-endpoints/responses",
)


def create_app(settings: SimulatorSettings) -> Starlette:
    """Make the application, with a bill of its own that starts at zero."""
    rates = load_pricelist()
    bill = Bill(records=None if settings.bill_file is None else [])
    calls = ModelCalls(settings, rates, bill)
    models = _models_body(rates)

    async def list_models(_: Request) -> Response:
        return _answer(models)

    async def tell_health(_: Request) -> Response:
        return _answer({"status": "ok"})

    async def show_bill(_: Request) -> Response:
        return _answer(bill.statement())

    async def reset_bill(_: Request) -> Response:
        bill.reset()
        return _answer(bill.statement())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        if settings.bill_file is None:
            yield
            return
        # Written before the first call, so that a path that can't be written stops the start.
        settings.bill_file.parent.mkdir(parents=True, exist_ok=True)
        write_bill(bill, settings.bill_file)
        keeper = asyncio.create_task(keep_bill(bill, settings.bill_file))
        try:
            yield
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper

    return Starlette(
        routes=[
            *(Route(path, calls, methods=["POST"]) for path in CALL_PATHS),
            Route("/v1/models", list_models),
            Route("/models", list_models),
            Route("/health", tell_health),
            Route("/bill", show_bill),
            Route("/bill/reset", reset_bill, methods=["POST"]),
        ],
        lifespan=lifespan,
    )


def _models_body(rates: dict[str, ModelRates]) -> JsonObject:
    created = int(time.time())
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": created, "owned_by": "simulator"}
            for name in rates
        ],
    }


def _answer(body: JsonObject) -> Response:
    return Response(encode(body), media_type="application/json")
