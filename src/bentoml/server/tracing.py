"""Tracing: spans of requests and of the model calls below them, sent as OTLP; without it OpenTelemetry is not imported.

POST /classify ─┬─ queue              a call waits
                ├─ batch ── compute   the batch that it left in, and the model at work on it
                └─ whatever spans the user's function makes
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import threading
import time
from typing import Any

from bentoml._context import ModelTiming
from bentoml._http import Request
from bentoml._importing import require
from bentoml._trace_context import parse_traceparent
from bentoml.config import Tracing as TracingConfig
from bentoml.exceptions import BentoMLException, ServiceUnavailable
from bentoml.server.span_export import INSTALL, say_each_complaint_once, span_exporter
from bentoml.service.service import Service

__all__ = ["RequestSpan", "Tracing"]

logger = logging.getLogger("bentoml")

#: How long the end of a worker waits for the last spans to be sent, in seconds: a collector may be down.
FLUSH_S = 3.0


class Tracing:
    """Makes the spans of one API worker; routes it leaves alone cost nothing, requests that are not sampled little.

    Args:
        component: who this is, `api_server:<service>:<index>`.
    """

    def __init__(self, config: TracingConfig, service: Service, component: str) -> None:
        self._config = config
        self._service = service
        self._component = component
        self._excluded = [re.compile(pattern) for pattern in config.excluded_patterns]
        self._provider: Any = None

    def covers(self, route: str) -> bool:
        """Whether requests to the route are traced at all."""
        return not any(pattern.search(route) for pattern in self._excluded)

    def start(self) -> None:
        """Import the library, and start the thread that sends what has ended.

        Raises:
            MissingDependencyException: the library is not installed.
        """
        trace = require("opentelemetry.trace", install=INSTALL, what="tracing.exporter_type: otlp")
        sdk = require("opentelemetry.sdk.trace", install=INSTALL, what="tracing.exporter_type: otlp")
        from opentelemetry.context import attach
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        exporter = span_exporter(self._config)
        say_each_complaint_once()
        tag = self._service.tag
        provider = sdk.TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(self._config.sample_rate or 0.0)),
            resource=Resource.create(
                {
                    "service.name": self._service.name,
                    "service.version": (tag and tag.version) or "not available",
                    "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                    "bentoml.component": self._component,
                }
            ),
            span_limits=sdk.SpanLimits(max_attribute_length=self._config.max_tag_value_length),
            shutdown_on_exit=False,  # `close` does it, in bounded time
        )
        provider.add_span_processor(BatchSpanProcessor(exporter))
        if not isinstance(trace.get_tracer_provider(), sdk.TracerProvider):
            # The service has not set one of its own: its spans go where ours go.
            trace.set_tracer_provider(provider)
        self._provider = provider
        self.start_span = provider.get_tracer("bentoml").start_span
        self.trace = trace
        self.attach = attach
        if self._config.sample_rate is None:
            logger.warning(
                "tracing.sample_rate is not set: only requests whose caller sends a sampled `traceparent` are traced"
            )

    def begin(self, request: Request, route: str) -> RequestSpan:
        """The span of a request, whose ids become those of the request.

        It is current from now on in the task of the request: the spans that user code makes are below it.
        """
        trace = self.trace
        from_above = parse_traceparent(request.header(b"traceparent"))
        above = _EMPTY
        if from_above is not None:
            trace_id, span_id, sampled = from_above
            state = trace.TraceState.from_header([request.header(b"tracestate").decode("latin-1")])
            parent = trace.SpanContext(trace_id, span_id, True, trace.TraceFlags(sampled), state)
            above = trace.set_span_in_context(trace.NonRecordingSpan(parent), _EMPTY)
        span = self.start_span(f"{request.method} {route}", above, trace.SpanKind.SERVER)
        # Never detached: a request has a task, and with it a context, of its own.
        self.attach(trace.set_span_in_context(span))
        context = span.get_span_context()
        request.request_id, request.trace = context.span_id, (context.trace_id, context.trace_flags.sampled)
        return RequestSpan(self, span, request, route)

    async def close(self) -> None:
        """Send what has not been sent yet; a collector that is down is not waited for long."""
        if self._provider is None:
            return
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the event loop did not wait
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=shut_down, name="tracing-end", daemon=True).start()
        try:
            await asyncio.wait_for(sent.wait(), FLUSH_S)
        except asyncio.TimeoutError:
            logger.warning("the last spans could not be sent within %g s", FLUSH_S)


#: A context of OpenTelemetry without a span: a mapping, and the same for every request.
_EMPTY: Any = {}


class RequestSpan:
    """The span of one request, and what becomes of it.

    Attributes:
        sampled: whether it will be exported; if not, nobody need collect what it would show.
        timings: where its model calls note their timings.
    """

    __slots__ = ("_began_ns", "_began_s", "_recorded", "_span", "_tracing", "sampled", "timings")

    def __init__(self, tracing: Tracing, span: Any, request: Request, route: str) -> None:
        self._tracing, self._span = tracing, span
        self._began_ns, self._began_s = time.time_ns(), time.perf_counter()
        self.sampled: bool = span.is_recording()
        #: Until it has ended.
        self._recorded = self.sampled
        self.timings: list[ModelTiming] = []
        if self._recorded:
            span.set_attributes(_asked(request, route))

    def failed(self, error: BaseException) -> None:
        """Show an error on our side with its traceback, which the client is not told; others have their status."""
        refusal = isinstance(error, ServiceUnavailable)
        if self._recorded and not refusal and not (isinstance(error, BentoMLException) and error.error_code < 500):
            self._span.record_exception(error)

    def ended(self, status: int) -> None:
        """Record the status and the model calls, and let the span go."""
        if not self._recorded:
            return
        self._recorded = False
        span = self._span
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(self._tracing.trace.StatusCode.ERROR)
        now_ns = self._ns(time.perf_counter())
        for timing in self.timings:
            self._add_call(timing, now_ns)
        span.end(now_ns)

    def _ns(self, at: float) -> int:
        """Nanoseconds since 1970 of a moment of the monotonic clock, by what both showed when the request began."""
        return self._began_ns + int((at - self._began_s) * 1e9)

    def _add_call(self, timing: ModelTiming, now_ns: int) -> None:
        attributes = {"bentoml.runner": timing.runner, "bentoml.method": timing.method}
        queued, sealed, started, done = (
            # Another machine's clock would be another: whatever it says, a call is a part of its request.
            min(max(self._ns(at), self._began_ns), now_ns)
            for at in (
                timing.sealed_at - timing.queue_s,
                timing.sealed_at,
                timing.started_at,
                timing.started_at + timing.compute_s,
            )
        )
        start_span, within = self._tracing.start_span, self._tracing.trace.set_span_in_context
        below = within(self._span, _EMPTY)
        start_span("queue", below, attributes=attributes, start_time=queued).end(sealed)
        batch = start_span(
            "batch", below, attributes={**attributes, "bentoml.batch.rows": timing.rows}, start_time=sealed
        )
        start_span("compute", within(batch, _EMPTY), attributes=attributes, start_time=started).end(done)
        batch.end(done)


def _asked(request: Request, route: str) -> dict[str, str | int]:
    """What is asked, under the names of the semantic conventions of HTTP; a query may hold secrets and is left out."""
    attributes: dict[str, str | int] = {
        "http.request.method": request.method,
        "http.route": route,
        "url.path": request.path,
        "url.scheme": request.scheme,
    }
    client = request.client.rpartition(":")[0].strip("[]")
    if client:
        attributes["client.address"] = client
    agent = request.header(b"user-agent")
    if agent:
        attributes["user_agent.original"] = agent.decode("latin-1")
    return attributes
