"""Serve a saved model with MLflow's scoring server: `python -m bench.echo_server MODEL PORT`."""

import sys

import uvicorn
from mlflow.pyfunc import load_model, scoring_server

if __name__ == "__main__":
    model, port = sys.argv[1], int(sys.argv[2])
    uvicorn.run(scoring_server.init(load_model(model)), port=port, log_level="warning")
