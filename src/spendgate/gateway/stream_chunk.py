"""One piece of a streamed answer on its way to the client."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A JSON document, as the upstream wrote it where nothing was changed.

    Without a document it is the end mark, or a comment that keeps the connection alive.
    """

    document: Mapping[str, object] | None
    name: str | None = None
    """The name of its event; the Responses API has names, chat has none."""

    raw: bytes | None = None

    @property
    def data(self) -> bytes:
        """The document as one line of JSON."""
        if self.raw is not None:
            return self.raw
        return json.dumps(self.document, separators=(",", ":")).encode("ascii")

    @property
    def event(self) -> bytes:
        """The chunk as a server-sent event."""
        if self.document is None and self.raw is None:
            return b": keep-alive\n\n"
        if self.name is None:
            return b"data: %b\n\n" % self.data
        return b"event: %b\ndata: %b\n\n" % (self.name.encode(), self.data)


DONE = StreamChunk(None, raw=b"[DONE]")
KEEP_ALIVE = StreamChunk(None)
