"""A server of raw sockets: what it answers is whatever bytes a script writes."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Script = Callable[[socket.socket], None]


class RawServer:
    """Reads each request whole, keeps it, and lets a script write whatever it likes."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(10)
                while (request := _read_request(connection)) is not None:
                    self.requests.append(request)
                    try:
                        self.script(connection)
                    except OSError:
                        break

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)


def _read_request(connection: socket.socket) -> bytes | None:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            received = connection.recv(65536)
            if not received:
                return None
            data += received
        head, _, body = data.partition(b"\r\n\r\n")
        (length,) = (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        while len(body) < length:
            body += connection.recv(65536)
    except OSError:
        return None
    return head + b"\r\n\r\n" + body


def http_answer(content: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def answering(content: object, status: str = "200 OK", **headers: str) -> Script:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda connection: connection.sendall(http_answer(raw, status, **headers))


@contextmanager
def serving(script: Script) -> Iterator[RawServer]:
    server = RawServer(script)
    try:
        yield server
    finally:
        server.close()


def hang_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def hang_up_inside_the_answer(connection: socket.socket) -> None:
    connection.sendall(http_answer(b'{"id": "x"}')[:-5])
    hang_up(connection)


def say_nothing(connection: socket.socket) -> None:
    time.sleep(0.5)


def drip(connection: socket.socket) -> None:
    # A whole answer, and never a pause that a limit on each read would notice.
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 102\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.01)
    connection.sendall(b"{}")


def talk_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"\x00\x01\x02 this is no HTTP\r\n\r\n")


def in_pieces(content: bytes, size: int) -> Script:
    """Answer in pieces with pauses between them."""

    def script(connection: socket.socket) -> None:
        whole = http_answer(content)
        for start in range(0, len(whole), size):
            connection.sendall(whole[start : start + size])
            time.sleep(0.01)

    return script
