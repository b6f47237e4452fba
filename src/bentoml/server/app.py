"""App: routes a request to its endpoint or page, inside of what observes it; composed once: what is off is absent."""

from __future__ import annotations

import difflib
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from random import getrandbits
from typing import Any

from bentoml import _metrics
from bentoml._context import ModelTiming, current_request_id, model_timings, trace_of
from bentoml._http import RawHeader, Request, Response
from bentoml._trace_context import format_traceparent, new_span_id
from bentoml.config import Config
from bentoml.server.access_log import AccessLogWriter
from bentoml.server.concurrency import ConcurrencyLimit
from bentoml.server.endpoint import EndpointHandler, endpoint_handler
from bentoml.server.errors import error_response
from bentoml.server.http1 import refused
from bentoml.server.layers import cors_policy, layers
from bentoml.server.pages import Page, pages
from bentoml.server.request_metrics import RequestMetrics
from bentoml.server.shared import Handler
from bentoml.server.tracing import Tracing
from bentoml.service.service import Service

__all__ = ["App"]


class App:
    """Answers the requests of one worker process.

    Args:
        is_ready: None when requests can be answered, else why not; asked by /readyz.
        access_log: None writes none.
        tracing: None traces nothing.
    """

    def __init__(
        self,
        service: Service,
        config: Config,
        *,
        is_ready: Callable[[], str | None],
        access_log: AccessLogWriter | None,
        tracing: Tracing | None = None,
    ) -> None:
        server = config.api_server
        self._timeout_s = server.traffic.timeout
        self._limit = ConcurrencyLimit(server.traffic.max_concurrency) if server.traffic.max_concurrency else None
        self._shown = server.http.response
        self.state: dict[str, Any] = {}
        self.threads = ThreadPoolExecutor(server.threads, thread_name_prefix="api")
        self.metrics = RequestMetrics(service, server.metrics) if server.metrics.enabled else None
        self._access_log = access_log
        self._is_ready = is_ready
        self._monitors = config.monitoring.enabled
        self._tracing = tracing
        self._pages: dict[str, Page] = {
            **pages(service, metrics=server.metrics.enabled, guarded=server.auth.is_on),
            "/readyz": self._readyz,
        }
        if self.metrics is not None:
            self._pages["/metrics"] = _metrics_page
        self._endpoints = {
            api.route: self._observed(api.route, endpoint_handler(api, threads=self.threads, state=self.state))
            for api in service.apis.values()
        }
        self._paged = self._observed_page()
        #: What the listener calls: the route inside of the layers that are on.
        self.handle: Handler = self._route
        self._cors = cors_policy(config)
        for layer in layers(service, config, cors=self._cors, refused=self._refused):
            self.handle = layer(self.handle)

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request; never raises."""
        return self.handle(request)

    def _route(self, request: Request) -> Response | Awaitable[Response]:
        endpoint = self._endpoints.get(request.path)
        if endpoint is not None and request.method == "POST":
            return endpoint(request)
        # Scrapes come every few seconds; they are answered unseen.
        if request.path == "/metrics" and self.metrics is not None:
            return _metrics_page(request)
        return self._paged(request)

    def rejected(self, status: int, message: str, fields: list[RawHeader]) -> Response:
        """The answer to a request that is refused before it can be routed."""
        if self.metrics is not None:
            self.metrics.observed("(refused)", status, 0.0)
        response = refused(status, message)
        if self._cors is not None:
            self._cors.permit(next((value for name, value in fields if name == b"origin"), b""), response)
        return response

    def late(self, request: Request) -> Response:
        """The answer to a request that takes longer than `api_server.traffic.timeout`; its endpoint is cancelled."""
        assert self._timeout_s is not None
        request.is_late = True
        response = Response(f"Not able to process the request in {self._timeout_s:g} seconds".encode(), status=504)
        self._note(request, response, request.request_id or new_span_id(), self._timeout_s)
        if self._cors is not None:
            self._cors.permit(request.header(b"origin"), response)
        return response

    def _refused(self, request: Request, response: Response, request_id: int) -> Response:
        """Note an answer that a layer gives in place of the app."""
        self._note(request, response, request_id, 0.0)
        return response

    def _note(self, request: Request, response: Response, request_id: int, elapsed_s: float) -> None:
        """What every answer to an API gets, for those that are not made by its endpoint."""
        response.raw_headers.append((b"x-bentoml-request-id", b"%d" % request_id))
        if self.metrics is not None:
            known = request.path in self._endpoints or request.path in self._pages
            self.metrics.observed(request.path if known else "(unknown)", response.status, elapsed_s)
        if self._access_log is not None:
            self._access_log.log(request, response, elapsed_s, request_id)

    def close(self) -> None:
        """Write what the access log still holds; let the threads end."""
        if self._access_log is not None:
            self._access_log.close()
        self.threads.shutdown(wait=False, cancel_futures=True)

    # -- endpoints ----------------------------------------------------------------------------------------------------

    def _observed(self, route: str, handle: EndpointHandler) -> EndpointHandler:
        """The endpoint with request id, error translation, and whatever of limits, metrics and access log is on."""
        metrics, access_log, shown = self.metrics, self._access_log, self._shown
        in_progress = metrics.in_progress(route) if metrics is not None else None
        tracing = self._tracing if self._tracing is not None and self._tracing.covers(route) else None
        noted = current_request_id.set if self._monitors else None
        if self._limit is not None:
            handle = self._limit.around(handle)

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
            status = _CLIENT_CLOSED
            try:
                try:
                    response = await handle(request)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of a request: each gets an answer
                    response = error_response(error, request, request_id)
                    if span is not None:
                        span.failed(error)
                status = response.status
            finally:
                elapsed_s = time.perf_counter() - started_s
                if in_progress is not None:
                    in_progress.dec()
                answered = request.is_late
                if metrics is not None and not answered:
                    metrics.observed(route, status, elapsed_s)
                if span is not None and (answered or status == _CLIENT_CLOSED):
                    span.ended(504 if answered else status)
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
            if span is not None:
                span.answered(response)
            return response

        return answer

    # -- pages --------------------------------------------------------------------------------------------------------

    def _observed_page(self) -> Page:
        metrics, access_log = self.metrics, self._access_log

        def answer(request: Request) -> Response:
            started_s = time.perf_counter()
            page = self._pages.get(request.path)
            known = page is not None or request.path in self._endpoints
            if page is not None and request.method in ("GET", "HEAD"):
                response = page(request)
            elif known:
                allow = b"POST, OPTIONS" if page is None else b"GET, HEAD, OPTIONS"
                options = request.method == "OPTIONS"
                response = _options(allow) if options else _method_not_allowed(allow)
            else:
                response = self._not_found(request.path)
            elapsed_s = time.perf_counter() - started_s
            if metrics is not None:
                metrics.observed(request.path if known else "(unknown)", response.status, elapsed_s)
            if access_log is not None:
                access_log.log(request, response, elapsed_s, getrandbits(64))
            return response

        return answer

    def _readyz(self, request: Request) -> Response:
        reason = self._is_ready()
        if reason is None:
            return Response(b"\n")
        return Response(f"{reason}\n".encode(), status=503, raw_headers=[(b"retry-after", b"1")])

    def _not_found(self, path: str) -> Response:
        routes = [f"POST {route}" for route in self._endpoints]
        near = difflib.get_close_matches(path[:_COMPARED_CHARS], self._endpoints, n=1)
        advice = f"Did you mean POST {near[0]}?" if near else f"This service has {', '.join(routes) or 'no API'}."
        return Response(f"Not Found. {advice} See /docs.json for all routes.\n".encode(), status=404)


#: Of an unknown path: the search for similar routes takes time that grows with it.
_COMPARED_CHARS = 100
#: What the metrics show for a client that went away before its answer; no such status is ever sent.
_CLIENT_CLOSED = 499


def _server_timing(timings: Iterable[ModelTiming]) -> bytes:
    """Milliseconds of wait and of compute, and the rows of the batch, for each model call of a request."""
    return ", ".join(
        f'queue;dur={each.queue_s * 1000:.3f}, batch;desc="{each.rows}", compute;dur={each.compute_s * 1000:.3f}'
        for each in timings
    ).encode()


def _metrics_page(request: Request) -> Response:
    return Response(_metrics.DEFAULT.generate_latest(), content_type=_metrics.CONTENT_TYPE.encode())


def _options(allow: bytes) -> Response:
    return Response(status=204, content_type=b"", raw_headers=[(b"allow", allow)])


def _method_not_allowed(allow: bytes) -> Response:
    body = b"Method Not Allowed. Use " + allow + b".\n"
    return Response(body, status=405, raw_headers=[(b"allow", allow)])
