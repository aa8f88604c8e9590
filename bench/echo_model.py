# pyright: reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportIncompatibleMethodOverride=false
# MLflow gives a meaning to type hints of its methods, and has the wrong ones in its base class.
"""Two echo models for comparison: same signature as the served model, no gate.

`BENCH_ECHO_UPSTREAM` unset: answers a fixed completion. Set: forwards the body to that model server
with the gate's own HTTP adapter, so that the difference to the gate is the gate alone.
"""

import os

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from spendgate.adapters.model_server import own_server
from spendgate.adapters.openai_upstream import OpenAIUpstream
from spendgate.gateway.ports import UpstreamAnswer

_FIXED = {
    "id": "echo",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "echo"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class _Answering:
    def load_context(self, context):
        url = os.environ.get("BENCH_ECHO_UPSTREAM")
        self._upstream = OpenAIUpstream(own_server(url)) if url else None

    def predict(self, context, model_input, params=None):
        body = model_input.to_dict("records")[0]
        if self._upstream is None:
            return _FIXED
        body["model"] = body.pop("custom_inputs")["model"]
        outcome = self._upstream.call("chat/completions", body)
        assert isinstance(outcome, UpstreamAnswer)
        return dict(outcome.body or {})


class EchoModel(_Answering, PythonModel):
    """The model that is logged."""


set_model(EchoModel())
