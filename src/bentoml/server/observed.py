"""observed(): an endpoint with what each of its requests leaves behind: id, count, duration, spans, a line in the log.

What is off is decided here, once for each endpoint, and costs its requests nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from random import getrandbits
from typing import NamedTuple

from bentoml._context import ModelTiming, current_request_id, model_timings, trace_of
from bentoml._http import Request, Response
from bentoml._trace_context import format_traceparent
from bentoml.config.http import HttpResponse
from bentoml.server.access_log import AccessLogWriter
from bentoml.server.asgi_app import origin_of
from bentoml.server.concurrency import ConcurrencyLimit
from bentoml.server.endpoint import EndpointHandler
from bentoml.server.errors import error_response
from bentoml.server.request_metrics import RequestMetrics
from bentoml.server.streams import CLIENT_CLOSED, ObservedStream
from bentoml.server.tracing import RequestSpan, Tracing

__all__ = ["Observers", "observed"]


class Observers(NamedTuple):
    """What looks on; None and False: it is off.

    Attributes:
        shown: what answers carry beside their content.
        monitors: whether user code may ask for the id of its request.
        limit: on the requests in flight in this process.
    """

    metrics: RequestMetrics | None
    access_log: AccessLogWriter | None
    tracing: Tracing | None
    shown: HttpResponse
    monitors: bool
    limit: ConcurrencyLimit | None


def observed(route: str, handle: EndpointHandler, observers: Observers) -> EndpointHandler:
    """The endpoint with request id, error translation, and whatever of limit, metrics, spans and access log is on."""
    metrics, access_log, shown = observers.metrics, observers.access_log, observers.shown
    in_progress = metrics.in_progress(route) if metrics is not None else None
    tracing = observers.tracing if observers.tracing is not None and observers.tracing.covers(route) else None
    noted = current_request_id.set if observers.monitors else None
    if observers.limit is not None:
        handle = observers.limit.around(handle)

    def ended(started_s: float, span: RequestSpan | None, status: int) -> None:
        if in_progress is not None:
            in_progress.dec()
        if metrics is not None:
            metrics.observed(route, status, time.perf_counter() - started_s)
        if span is not None:
            span.ended(status)

    async def answer(request: Request) -> Response:
        started_s = time.perf_counter()
        span = tracing.begin(request, route) if tracing is not None else None
        request_id = request.request_id = request.request_id or getrandbits(64) or 1
        timings: list[ModelTiming] = [] if span is None else span.timings
        # Variables of this request alone, as its task has a context of its own.
        if noted is not None:
            noted(request_id)
        if shown.server_timing or (span is not None and span.sampled):
            model_timings.set(timings)
        if in_progress is not None:
            in_progress.inc()
        status, streams = CLIENT_CLOSED, False
        try:
            try:
                response = await handle(request)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of a request: each gets an answer
                response = error_response(error, request, request_id)
                if span is not None:
                    span.failed(error)
            status, streams = response.status, not isinstance(response.body, bytes)
        finally:
            elapsed_s = time.perf_counter() - started_s
            answered = origin_of(request).is_late
            if answered:
                if in_progress is not None:
                    in_progress.dec()
                if span is not None:
                    span.ended(504)
            elif not streams:
                ended(started_s, span, status)
        if streams and not answered:
            response.body = ObservedStream(
                response,
                request,
                request_id,
                ended=partial(ended, started_s, span),
                failed=span.failed if span is not None else None,
            )
        headers = response.raw_headers
        headers.append((b"x-bentoml-request-id", b"%d" % request_id))
        if timings and shown.server_timing:
            headers.append((b"server-timing", _server_timing(timings)))
        if shown.trace_id:
            trace_id, sampled = trace_of(request)
            headers.append((b"x-bentoml-trace-id", b"%032x" % trace_id))
            headers.append((b"traceresponse", format_traceparent(trace_id, request_id, sampled).encode()))
        if access_log is not None and not answered:
            access_log.log(request, response, elapsed_s, request_id)
        return response

    return answer


def _server_timing(timings: Iterable[ModelTiming]) -> bytes:
    """Milliseconds of wait and of compute, and the rows of the batch, for each model call of a request."""
    return ", ".join(
        f'queue;dur={each.queue_s * 1000:.3f}, batch;desc="{each.rows}", compute;dur={each.compute_s * 1000:.3f}'
        for each in timings
    ).encode()
