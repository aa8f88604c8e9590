"""The ASGI host: the gateway behind OpenAI's own paths, for Databricks Apps and any container.

Owns its routes and headers; bodies, answers and the server are shared with the endpoint (`web`).
"""
