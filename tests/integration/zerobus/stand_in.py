"""A Zerobus server on loopback, to the service's published protocol, and its token server.

It answers the real SDK: a stream is created for a table, batches of JSON records come with offsets,
and an acknowledgement says up to which one all is durable.
"""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_STRING, _BYTES, _INT64, _ENUM, _MESSAGE = 9, 12, 3, 14, 11
_PACKAGE = "databricks.zerobus"
_FIELDS: dict[str, dict[str, tuple[int, int, str]]] = {
    "JsonRecordBatch": {"records": (1, _STRING, "repeated")},
    "CreateIngestStreamRequest": {"table_name": (1, _STRING, ""), "record_type": (4, 5, "")},
    "CreateIngestStreamResponse": {"stream_id": (1, _STRING, "")},
    "IngestRecordRequest": {"offset_id": (1, _INT64, ""), "json_record": (3, _STRING, "")},
    "IngestRecordBatchRequest": {
        "offset_id": (1, _INT64, ""),
        "json_batch": (3, _MESSAGE, "JsonRecordBatch"),
    },
    "EphemeralStreamRequest": {
        "create_stream": (1, _MESSAGE, "CreateIngestStreamRequest"),
        "ingest_record": (2, _MESSAGE, "IngestRecordRequest"),
        "ingest_record_batch": (3, _MESSAGE, "IngestRecordBatchRequest"),
    },
    "IngestRecordResponse": {"durability_ack_up_to_offset": (1, _INT64, "")},
    "EphemeralStreamResponse": {
        "create_stream_response": (1, _MESSAGE, "CreateIngestStreamResponse"),
        "ingest_record_response": (2, _MESSAGE, "IngestRecordResponse"),
    },
}


def _messages() -> dict[str, Any]:  # classes that protobuf makes at run time
    file = descriptor_pb2.FileDescriptorProto(name="zb.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, of) in fields.items():
            made = message.field.add(name=field, number=number, type=kind)  # type: ignore[arg-type]
            made.label = 3 if of == "repeated" else 1  # type: ignore[assignment]
            if kind == _MESSAGE:
                made.type_name = f".{_PACKAGE}.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _FIELDS
    }


class ZerobusServer:
    """What was made durable, and what the server is told to do wrong."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.streams = 0
        self.tables: list[str] = []
        self.authorizations: set[str] = set()
        self.refuse: grpc.StatusCode | None = None
        self.is_silent = False
        """Takes records and acknowledges none."""
        self._messages = _messages()
        self._closed = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(4))
        request = self._messages["EphemeralStreamRequest"]
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=request.FromString,
            response_serializer=_serialized,
        )
        service = grpc.method_handlers_generic_handler(
            f"{_PACKAGE}.Zerobus", {"EphemeralStream": handler}
        )
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._tokens = ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
        threading.Thread(target=self._tokens.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def workspace_url(self) -> str:
        return f"http://127.0.0.1:{self._tokens.server_port}"

    def close(self) -> None:
        self._closed.set()
        self._server.stop(0).wait()
        self._tokens.shutdown()
        self._tokens.server_close()

    def _stream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # grpc's
        answer = self._messages["EphemeralStreamResponse"]
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        self.authorizations.add(headers.get("authorization", ""))
        if self.refuse is not None:
            context.abort(self.refuse, "you may not")
        # The SDK sends nothing before it has the answer's headers.
        context.send_initial_metadata(())
        for request in requests:
            kind = _kind(request)
            if kind == "create_stream":
                self.streams += 1
                self.tables.append(request.create_stream.table_name)
                yield answer(create_stream_response={"stream_id": f"s{self.streams}"})
                continue
            sent = getattr(request, kind)
            batch = [sent.json_record] if kind == "ingest_record" else sent.json_batch.records
            if self.is_silent:
                self._closed.wait(30)
                return
            self.records += [json.loads(one) for one in batch]
            yield answer(ingest_record_response={"durability_ack_up_to_offset": sent.offset_id})


def _serialized(answer: Any) -> bytes:  # a message that protobuf makes at run time
    return bytes(answer.SerializeToString())


def _kind(request: Any) -> str:  # a message that protobuf makes at run time
    kinds = ("create_stream", "ingest_record", "ingest_record_batch")
    return next(kind for kind in kinds if request.HasField(kind))


class _Tokens(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600})
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep the test's output quiet."""
