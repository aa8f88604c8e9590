"""Settings of MLflow itself; to be made before mlflow is imported."""

import logging
import os
import warnings

_ENVIRONMENT = {
    "MLFLOW_DISABLE_SCHEMA_DETAILS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Else MLflow asks github.com for model prices: 7 s where there is no way out (measured).
    "MLFLOW_MODEL_CATALOG_URI": "",
}


def quiet_mlflow() -> None:
    """Make MLflow call nobody and log nothing of a request, here and in child processes."""
    os.environ.update(_ENVIRONMENT)
    # Its import warns of its own classes.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"mlflow\.")
    # Its warnings name the fields of a body; its errors reach us as answers and exceptions.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
