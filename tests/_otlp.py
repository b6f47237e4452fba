"""An OpenTelemetry collector for the tests: takes spans over OTLP/HTTP, decodes them with the protocol's own messages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests._server import until


class Span(NamedTuple):
    """One span, its ids in hexadecimal."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    begin_ns: int
    end_ns: int
    status: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]


class Collector:
    """What has arrived: `spans`, the attributes of their `resource`, and each request's headers and body."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def trace(self, trace_id: str) -> dict[str, Span]:
        """The spans of a trace by name, once that of the request is among them: it is the last to end."""

        def found() -> dict[str, Span] | None:
            spans = {span.name: span for span in self.spans if span.trace_id == trace_id}
            return spans if any(span.kind == SERVER for span in spans.values()) else None

        result: dict[str, Span] = until(found, f"the request's span of the trace {trace_id}")
        return result

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.requests.append((path, headers, body))
        if path == "/v1/traces":
            self._take_spans(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)

    def _take_spans(self, body: bytes) -> None:
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = attributes_of(each.resource)
            for scope in each.scope_spans:
                self.spans += [
                    Span(
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.name,
                        span.kind,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code,
                        attributes_of(span),
                        [(event.name, attributes_of(event)) for event in span.events],
                    )
                    for span in scope.spans
                ]


SERVER = 2


def attributes_of(message: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in message.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector at a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
