"""The served MLflow model: logged from code, run by MLflow's own scoring server behind our filter.

Owns: the signature, the model, what `/invocations` means, and the ASGI filter around MLflow's app.
Only this package imports mlflow. On Databricks the platform's server takes the place of
`host` and `filter`; the model and its signature are the same.
"""
