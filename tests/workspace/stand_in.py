"""A workspace on loopback: the REST API that spendgate calls, for the databricks-sdk unmodified.

It keeps what it is told, answers from that, and records every request, so that tests can ask what
was sent. Request and answer shapes are those of databricks-sdk 0.156's own service classes.
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Body = dict[str, Any]
Answer = tuple[int, Any]
MISSING: Answer = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "it doesn't exist"})
DENIED: Answer = (403, {"error_code": "PERMISSION_DENIED", "message": "you may not"})
TOKEN = "dapi-of-the-tester"
CLIENT_SECRET = "secret-of-the-service-principal"


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Body
    headers: Mapping[str, str]
    data: bytes = b""


@dataclass
class State:
    """What the workspace has."""

    user_name: str = "tester@acme.com"
    user_id: str = "4711"
    scopes: dict[str, dict[str, str]] = field(default_factory=dict)
    acls: dict[str, dict[str, str]] = field(default_factory=dict)
    endpoints: dict[str, Body] = field(default_factory=dict)
    catalogs: set[str] = field(default_factory=lambda: {"main"})
    schemas: set[str] = field(default_factory=set)
    privileges: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By full name and principal."""
    warehouses: dict[str, str] = field(default_factory=dict)
    """Name by id."""
    files: dict[str, bytes] = field(default_factory=dict)
    lakebase: dict[str, str] = field(default_factory=dict)
    """Host by endpoint name."""
    destinations: list[Body] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    """Beginnings of paths that are refused."""


class Workspace:
    """The stand-in's server."""

    def __init__(self) -> None:
        self.state = State()
        self.requests: list[Request] = []
        self.statement: Callable[[str], list[list[str | None]]] = lambda text: []
        """Answers a SQL statement with its rows."""
        self.invoke: Callable[[str, Request], Answer] = lambda name, request: MISSING
        """Answers a call of a serving endpoint, or of a path of all of them."""
        self.mint: Callable[[], str] = lambda: "database-token"
        self.before: Callable[[Request], None] = lambda request: None
        """Called with each request before it is answered; may wait."""
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = workspace._answer(
                    _request(self.command, self.path, dict(self.headers), data)
                )
                raw = isinstance(answer, bytes)
                sent = answer if raw else json.dumps(answer).encode()
                kind = (
                    "text/event-stream"
                    if raw and sent.startswith(b"data:")
                    else ("application/octet-stream" if raw else "application/json")
                )
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(sent)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(sent)
                except OSError:
                    pass  # who asked didn't wait

            do_GET = do_POST = do_PUT = do_HEAD = _serve  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def environment(self) -> dict[str, str]:
        """What names this workspace to the SDK."""
        return {"DATABRICKS_HOST": self.url, "DATABRICKS_TOKEN": TOKEN}

    def asked(self, method: str, path: str) -> list[Request]:
        """Return the requests of one route; `path` is a pattern."""
        pattern = re.compile(path)
        return [
            one for one in self.requests if one.method == method and pattern.fullmatch(one.path)
        ]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        self.before(request)
        if any(request.path.startswith(one) for one in self.state.denied):
            return DENIED
        signed = request.headers.get("Authorization", "")
        is_open = request.path.startswith(("/.well-known/", "/oidc/"))
        if not is_open and signed not in {f"Bearer {TOKEN}", "Bearer oauth"}:
            return 401, {"error_code": "UNAUTHENTICATED", "message": "unknown token"}
        for method, pattern, handler in _ROUTES:
            found = pattern.fullmatch(request.path)
            if found is not None and method == request.method:
                return handler(self, request, *map(unquote, found.groups()))
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"no {request.path}"}


def _request(method: str, target: str, headers: dict[str, str], data: bytes) -> Request:
    parts = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    is_json = "json" in headers.get("Content-Type", "")
    body = json.loads(data) if is_json and data else {}
    return Request(method, parts.path, query, body, headers, data)


Route = Callable[..., Answer]
_ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def _route(method: str, path: str) -> Callable[[Route], Route]:
    def keep(handler: Route) -> Route:
        _ROUTES.append((method, re.compile(path), handler))
        return handler

    return keep


@_route("GET", "/.well-known/databricks-config")
def _config(workspace: Workspace, request: Request) -> Answer:
    return 200, {"oidc_endpoint": f"{workspace.url}/oidc"}


@_route("GET", "/oidc/.well-known/oauth-authorization-server")
def _oidc(workspace: Workspace, request: Request) -> Answer:
    return 200, {
        "authorization_endpoint": f"{workspace.url}/oidc/v1/authorize",
        "token_endpoint": f"{workspace.url}/oidc/v1/token",
    }


@_route("POST", "/oidc/v1/token")
def _token(workspace: Workspace, request: Request) -> Answer:
    basic = request.headers.get("Authorization", "").removeprefix("Basic ")
    if base64.b64decode(basic).decode().partition(":")[2] != CLIENT_SECRET:
        return 401, {"error": "invalid_client", "error_description": "wrong secret"}
    return 200, {"access_token": "oauth", "token_type": "Bearer", "expires_in": 3600}


@_route("GET", "/api/2.0/preview/scim/v2/Me")
def _me(workspace: Workspace, request: Request) -> Answer:
    return 200, {"id": workspace.state.user_id, "userName": workspace.state.user_name}


@_route("POST", "/api/2.0/secrets/scopes/create")
def _create_scope(workspace: Workspace, request: Request) -> Answer:
    workspace.state.scopes.setdefault(request.body["scope"], {})
    return 200, {}


@_route("GET", "/api/2.0/secrets/list")
def _list_secrets(workspace: Workspace, request: Request) -> Answer:
    scope = workspace.state.scopes.get(request.query["scope"])
    return MISSING if scope is None else (200, {"secrets": [{"key": key} for key in scope]})


@_route("POST", "/api/2.0/secrets/put")
def _put_secret(workspace: Workspace, request: Request) -> Answer:
    scope = workspace.state.scopes.get(request.body["scope"])
    if scope is None:
        return MISSING
    scope[request.body["key"]] = request.body["string_value"]
    return 200, {}


@_route("GET", "/api/2.0/secrets/get")
def _get_secret(workspace: Workspace, request: Request) -> Answer:
    scope = workspace.state.scopes.get(request.query["scope"], {})
    key = request.query["key"]
    if key not in scope:
        return MISSING
    return 200, {"key": key, "value": base64.b64encode(scope[key].encode()).decode()}


@_route("GET", "/api/2.0/secrets/acls/get")
def _get_acl(workspace: Workspace, request: Request) -> Answer:
    principal = request.query["principal"]
    permission = workspace.state.acls.get(request.query["scope"], {}).get(principal)
    if permission is None:
        return MISSING
    return 200, {"principal": principal, "permission": permission}


@_route("GET", "/api/2.0/serving-endpoints")
def _endpoints(workspace: Workspace, request: Request) -> Answer:
    return 200, {"endpoints": list(workspace.state.endpoints.values())}


@_route("GET", "/api/2.0/serving-endpoints/([^/]+)")
def _endpoint(workspace: Workspace, request: Request, name: str) -> Answer:
    found = workspace.state.endpoints.get(name)
    return MISSING if found is None else (200, found)


@_route("POST", "/serving-endpoints/([^/]+)/invocations")
def _invoke(workspace: Workspace, request: Request, name: str) -> Answer:
    return workspace.invoke(name, request)


@_route("POST", "/(?:serving-endpoints|ai-gateway/mlflow/v1)/chat/completions")
def _complete(workspace: Workspace, request: Request) -> Answer:
    return workspace.invoke(str(request.body.get("model")), request)


@_route("GET", "/api/2.1/unity-catalog/catalogs/([^/]+)")
def _catalog(workspace: Workspace, request: Request, name: str) -> Answer:
    return (200, {"name": name}) if name in workspace.state.catalogs else MISSING


@_route("GET", "/api/2.1/unity-catalog/schemas/([^/]+)")
def _schema(workspace: Workspace, request: Request, name: str) -> Answer:
    return (200, {"full_name": name}) if name in workspace.state.schemas else MISSING


@_route("GET", "/api/2.1/unity-catalog/effective-permissions/([^/]+)/([^/]+)")
def _effective(workspace: Workspace, request: Request, kind: str, name: str) -> Answer:
    principal = request.query.get("principal")
    found = [
        {"principal": who, "privileges": [{"privilege": one} for one in privileges]}
        for (where, who), privileges in workspace.state.privileges.items()
        if where == name and principal in {None, who}
    ]
    return 200, {"privilege_assignments": found}


@_route("GET", "/api/2.1/unity-catalog/permissions/([^/]+)/([^/]+)")
def _granted(workspace: Workspace, request: Request, kind: str, name: str) -> Answer:
    found = [
        {"principal": who, "privileges": privileges}
        for (where, who), privileges in workspace.state.privileges.items()
        if where == name
    ]
    return 200, {"privilege_assignments": found}


@_route("GET", "/api/2.0/sql/warehouses")
def _warehouses(workspace: Workspace, request: Request) -> Answer:
    found = [{"id": one, "name": name} for one, name in workspace.state.warehouses.items()]
    return 200, {"warehouses": found}


@_route("GET", "/api/2.0/sql/warehouses/([^/]+)")
def _warehouse(workspace: Workspace, request: Request, one: str) -> Answer:
    name = workspace.state.warehouses.get(one)
    return MISSING if name is None else (200, {"id": one, "name": name, "state": "STOPPED"})


@_route("POST", "/api/2.0/sql/statements/?")
def _statement(workspace: Workspace, request: Request) -> Answer:
    try:
        rows = workspace.statement(request.body["statement"])
    except ValueError as error:
        failed = {"state": "FAILED", "error": {"error_code": "BAD_REQUEST", "message": str(error)}}
        return 200, {"statement_id": "1", "status": failed}
    return 200, {
        "statement_id": "1",
        "status": {"state": "SUCCEEDED"},
        "manifest": {"total_row_count": len(rows)},
        "result": {"data_array": rows, "row_count": len(rows)},
    }


@_route("GET", "/api/2.0/notification-destinations")
def _destinations(workspace: Workspace, request: Request) -> Answer:
    return 200, {"results": workspace.state.destinations}


@_route("PUT", "/api/2.0/fs/files(/.+)")
def _upload(workspace: Workspace, request: Request, path: str) -> Answer:
    if path in workspace.state.files and request.query.get("overwrite") != "true":
        return 409, {"error_code": "ALREADY_EXISTS", "message": "the file is there"}
    workspace.state.files[path] = request.data
    return 204, b""


@_route("GET", "/api/2.0/fs/files(/.+)")
def _download(workspace: Workspace, request: Request, path: str) -> Answer:
    data = workspace.state.files.get(path)
    return MISSING if data is None else (200, data)


@_route("GET", "/api/2.0/postgres/(projects/[^/]+/branches/[^/]+/endpoints/[^/]+)")
def _lakebase(workspace: Workspace, request: Request, name: str) -> Answer:
    host = workspace.state.lakebase.get(name)
    if host is None:
        return MISSING
    return 200, {"name": name, "status": {"hosts": {"host": host}, "current_state": "ACTIVE"}}


@_route("POST", "/api/2.0/postgres/credentials")
def _credentials(workspace: Workspace, request: Request) -> Answer:
    if request.body["endpoint"] not in workspace.state.lakebase:
        return MISSING
    return 200, {"token": workspace.mint(), "expire_time": "2030-01-01T00:00:00Z"}


@_route("GET", "/api/2.0/workspace/get-status")
def _status(workspace: Workspace, request: Request) -> Answer:
    return MISSING


@_route("POST", "/api/2.0/workspace/mkdirs")
def _mkdirs(workspace: Workspace, request: Request) -> Answer:
    return 200, {}
