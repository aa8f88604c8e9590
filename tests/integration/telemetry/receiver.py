"""A server on loopback that keeps what telemetry backends are sent, or misbehaves."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What came, by path; `status` and `hold` say how it is answered."""

    url: str = ""
    status: int = 200
    garbage: bool = False
    hold: threading.Event | None = None
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, path: str, count: int = 1) -> list[tuple[dict[str, str], bytes]]:
        """Return what came to a path once there is as much as that."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.of(path)) >= count, timeout=30), (
                f"{[one[0] for one in self.requests]}"
            )
            return self.of(path)

    def of(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for where, headers, body in self.requests if where == path]

    def json_of(self, path: str) -> list[Any]:
        return [json.loads(body) for _, body in self.wait_for(path)]


@contextmanager
def receiving(**options: Any) -> Iterator[Receiver]:
    receiver = Receiver(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if receiver.hold is not None:
                receiver.hold.wait(30)
            with receiver.arrived:
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                receiver.arrived.notify_all()
            said = b"<<<garbage" if receiver.garbage else b""
            self.send_response(receiver.status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.hold is not None:
            receiver.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
