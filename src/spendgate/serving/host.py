"""Serve the model with MLflow's own scoring server, behind the filter.

mlflow is imported inside the functions: it takes five seconds, and checks that fail come first.
"""

from starlette.types import ASGIApp

from spendgate.config import Settings
from spendgate.serving.quiet import quiet_mlflow
from spendgate.web.environment import settings_environment
from spendgate.web.lifespan import Lifespan
from spendgate.web.metrics_page import MetricsPage
from spendgate.web.server import ServerPlan, bind, call_seconds, check_settings, run_server
from spendgate.web.worker import WORKER

MODEL_FOLDER = "model"


def serve(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Log the model and serve it until SIGTERM.

    Raises:
        HostError: before anything starts, if a setting, the folder or the port can't be used.
    """
    policy = check_settings(settings)
    with bind(host, port) as bound:
        quiet_mlflow()
        from mlflow.pyfunc import scoring_server  # noqa: PLC0415

        from spendgate.serving.register import log_served_model  # noqa: PLC0415

        model = log_served_model(settings.home / MODEL_FOLDER)
        timeout = call_seconds(settings, policy)
        # The environment in which `mlflow models serve` starts its server: model and time-out.
        _, environment = scoring_server.get_cmd(str(model), timeout=timeout)
        plan = ServerPlan(
            name="spendgate serve",
            factory="spendgate.serving.host:create_app",
            ready_path="/ping",
            environment={**environment, **settings_environment(settings)},
            workers=workers,
            call_seconds=timeout,
            client_seconds=settings.client_seconds,
        )
        run_server(plan, bound)


def create_app() -> ASGIApp:
    """Make one worker's app: MLflow's own, as `mlflow models serve` runs it, filtered.

    That server never calls `predict_stream`, so the filter does (mlflow issue 12439).
    """
    quiet_mlflow()
    from mlflow.pyfunc import load_model, scoring_server  # noqa: PLC0415

    from spendgate.serving.filter import InvocationFilter  # noqa: PLC0415
    from spendgate.serving.model_stream import ModelStream  # noqa: PLC0415

    quiet_mlflow()  # importing mlflow has set its log level anew
    settings = Settings()
    model = load_model(str(settings.home / MODEL_FOLDER))
    filtered = InvocationFilter(
        scoring_server.init(model),
        body_bytes_max=settings.body_bytes_max,
        client_seconds=settings.client_seconds,
        stream=ModelStream(model.predict_stream, seconds=settings.client_seconds),
    )
    return Lifespan(
        MetricsPage(filtered, WORKER.metrics, settings.metrics_token),
        threads=settings.serving_threads,
        start=WORKER.gateway,
        close=WORKER.close,
    )
