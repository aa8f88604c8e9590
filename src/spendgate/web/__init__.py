"""What both hosts share: request bodies, error answers, the process's gateway, the HTTP server.

Knows HTTP and ASGI; knows neither MLflow nor which routes there are.
"""
