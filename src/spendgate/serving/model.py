# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# mlflow is typed in part only.
"""The models-from-code file: MLflow copies it beside the model and runs it to load the model."""

from mlflow.models import set_model

from spendgate.serving.served_model import ServedModel

set_model(ServedModel())
