"""App: routes a request to its endpoint or page, inside of what observes it; composed once: what is off is absent."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from random import getrandbits
from typing import Any

from bentoml import _metrics
from bentoml._context import ModelTiming, model_timings
from bentoml._http import Request, Response
from bentoml.config import Config
from bentoml.server.access_log import AccessLogWriter
from bentoml.server.concurrency import ConcurrencyLimit
from bentoml.server.endpoint import EndpointHandler, endpoint_handler
from bentoml.server.errors import error_response
from bentoml.server.layers import layers
from bentoml.server.pages import Page, pages
from bentoml.server.request_metrics import RequestMetrics
from bentoml.server.shared import Handler
from bentoml.service.service import Service

__all__ = ["App"]


class App:
    """Answers the requests of one worker process.

    Args:
        is_ready: None when requests can be answered, else why not; asked by /readyz.
        access_log: None writes none.
    """

    def __init__(
        self,
        service: Service,
        config: Config,
        *,
        is_ready: Callable[[], str | None],
        access_log: AccessLogWriter | None,
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
        self._late: set[Request] = set()
        self._pages: dict[str, Page] = {**pages(service, metrics=server.metrics.enabled), "/readyz": self._readyz}
        if self.metrics is not None:
            self._pages["/metrics"] = _metrics_page
        self._endpoints = {
            api.route: self._observed(api.route, endpoint_handler(api, threads=self.threads, state=self.state))
            for api in service.apis.values()
        }
        self._paged = self._observed_page()
        #: What the listener calls: the route inside of the layers that are on.
        self.handle: Handler = self._route
        for layer in layers(service, config):
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

    def rejected(self, status: int) -> None:
        """Count a request that was refused before it could be routed."""
        if self.metrics is not None:
            self.metrics.observed("(refused)", status, 0.0)

    def late(self, request: Request) -> Response:
        """The answer to a request that takes longer than `api_server.traffic.timeout`; its endpoint is cancelled."""
        assert self._timeout_s is not None
        self._late.add(request)
        request_id = getrandbits(64)
        response = Response(f"Not able to process the request in {self._timeout_s:g} seconds".encode(), status=504)
        response.raw_headers.append((b"x-bentoml-request-id", b"%d" % request_id))
        if self.metrics is not None:
            self.metrics.observed(request.path, response.status, self._timeout_s)
        if self._access_log is not None:
            self._access_log.log(request, response, self._timeout_s, _trace_id(request), request_id)
        return response

    def close(self) -> None:
        """Write what the access log still holds; let the threads end."""
        if self._access_log is not None:
            self._access_log.flush()
        self.threads.shutdown(wait=False, cancel_futures=True)

    # -- endpoints ----------------------------------------------------------------------------------------------------

    def _observed(self, route: str, handle: EndpointHandler) -> EndpointHandler:
        """The endpoint with request id, error translation, and whatever of limits, metrics and access log is on."""
        metrics, access_log, late, shown = self.metrics, self._access_log, self._late, self._shown
        in_progress = metrics.in_progress(route) if metrics is not None else None
        if self._limit is not None:
            handle = self._limit.around(handle)

        async def answer(request: Request) -> Response:
            started_s = time.perf_counter()
            request_id = getrandbits(64)
            timings: list[ModelTiming] = []
            if shown.server_timing:
                model_timings.set(timings)  # of this request alone, as its task has a context of its own
            if in_progress is not None:
                in_progress.inc()
            status = _CLIENT_CLOSED
            try:
                try:
                    response = await handle(request)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of a request: each gets an answer
                    response = error_response(error, request, request_id)
                status = response.status
            finally:
                elapsed_s = time.perf_counter() - started_s
                if in_progress is not None:
                    in_progress.dec()
                answered = bool(late) and request in late
                late.discard(request)
                if metrics is not None and not answered:
                    metrics.observed(route, status, elapsed_s)
            headers = response.raw_headers
            headers.append((b"x-bentoml-request-id", b"%d" % request_id))
            if timings:
                headers.append((b"server-timing", _server_timing(timings)))
            if access_log is not None or shown.trace_id:
                trace_id = _trace_id(request)
                if shown.trace_id:
                    headers.append((b"x-bentoml-trace-id", b"%032x" % trace_id))
                if access_log is not None and not answered:
                    access_log.log(request, response, elapsed_s, trace_id, request_id)
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
                response = _method_not_allowed(b"POST" if page is None else b"GET, HEAD")
            else:
                response = self._not_found(request.path)
            elapsed_s = time.perf_counter() - started_s
            if metrics is not None:
                metrics.observed(request.path if known else "(unknown)", response.status, elapsed_s)
            if access_log is not None:
                access_log.log(request, response, elapsed_s, _trace_id(request), getrandbits(64))
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


_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def _trace_id(request: Request) -> int:
    """The trace id of a W3C `traceparent` header, else a new one."""
    parent = _TRACEPARENT.match(request.header(b"traceparent"))
    return (int(parent[1], 16) if parent else 0) or getrandbits(128)


def _server_timing(timings: Iterable[ModelTiming]) -> bytes:
    """Milliseconds of wait and of compute, and the rows of the batch, for each model call of a request."""
    return ", ".join(
        f'queue;dur={each.queue_s * 1000:.3f}, batch;desc="{each.rows}", compute;dur={each.compute_s * 1000:.3f}'
        for each in timings
    ).encode()


def _metrics_page(request: Request) -> Response:
    return Response(_metrics.DEFAULT.generate_latest(), content_type=_metrics.CONTENT_TYPE.encode())


def _method_not_allowed(allow: bytes) -> Response:
    body = b"Method Not Allowed. Use " + allow + b".\n"
    return Response(body, status=405, raw_headers=[(b"allow", allow)])
