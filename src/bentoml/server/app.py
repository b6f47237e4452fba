"""App: routes a request to its endpoint or page, inside of what observes it; composed once: what is off is absent."""

from __future__ import annotations

import difflib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from random import getrandbits
from typing import Any

from bentoml import _metrics
from bentoml._http import Request, Response
from bentoml.config import Config
from bentoml.server.access_log import AccessLogWriter
from bentoml.server.endpoint import EndpointHandler, endpoint_handler
from bentoml.server.errors import error_response
from bentoml.server.pages import Page, pages
from bentoml.server.request_metrics import RequestMetrics
from bentoml.service.service import Service

__all__ = ["App"]

Handler = Callable[[Request], Response | Awaitable[Response]]


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
        self.state: dict[str, Any] = {}
        self.threads = ThreadPoolExecutor(server.threads, thread_name_prefix="api")
        self.metrics = RequestMetrics(service, server.metrics) if server.metrics.enabled else None
        self._access_log = access_log
        self._is_ready = is_ready
        self._pages: dict[str, Page] = {**pages(service, metrics=server.metrics.enabled), "/readyz": self._readyz}
        if self.metrics is not None:
            self._pages["/metrics"] = _metrics_page
        self._endpoints = {
            api.route: self._observed(api.route, endpoint_handler(api, threads=self.threads, state=self.state))
            for api in service.apis.values()
        }
        self._paged = self._observed_page()

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request; never raises."""
        endpoint = self._endpoints.get(request.path)
        if endpoint is not None and request.method == "POST":
            return endpoint(request)
        # Scrapes and probes come every few seconds from every side; they are answered unseen.
        if request.path == "/metrics" and self.metrics is not None:
            return _metrics_page(request)
        return self._paged(request)

    def rejected(self, status: int) -> None:
        """Count a request that was refused before it could be routed."""
        if self.metrics is not None:
            self.metrics.observed("(refused)", status, 0.0)

    def close(self) -> None:
        """Write what the access log still holds; let the threads end."""
        if self._access_log is not None:
            self._access_log.flush()
        self.threads.shutdown(wait=False, cancel_futures=True)

    # -- endpoints ----------------------------------------------------------------------------------------------------

    def _observed(self, route: str, handle: EndpointHandler) -> EndpointHandler:
        """The endpoint with request id, error translation, and whatever of metrics and access log is on."""
        metrics, access_log = self.metrics, self._access_log
        in_progress = metrics.in_progress(route) if metrics is not None else None

        async def answer(request: Request) -> Response:
            started_s = time.perf_counter()
            request_id = getrandbits(64)
            if in_progress is not None:
                in_progress.inc()
            status = _CLIENT_CLOSED
            try:
                try:
                    response = await handle(request)
                except Exception as error:  # noqa: BLE001 - the border of a request: each gets an answer
                    response = error_response(error, request, request_id)
                status = response.status
            finally:
                elapsed_s = time.perf_counter() - started_s
                if in_progress is not None:
                    in_progress.dec()
                if metrics is not None:
                    metrics.observed(route, status, elapsed_s)
            response.raw_headers.append((b"x-bentoml-request-id", b"%d" % request_id))
            if access_log is not None:
                access_log.log(request, response, elapsed_s, _trace_id(request), request_id)
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
        near = difflib.get_close_matches(path, self._endpoints, n=1)
        advice = f"Did you mean POST {near[0]}?" if near else f"This service has {', '.join(routes) or 'no API'}."
        return Response(f"Not Found. {advice} See /docs.json for all routes.\n".encode(), status=404)


#: What the metrics show for a client that went away before its answer; no such status is ever sent.
_CLIENT_CLOSED = 499


def _trace_id(request: Request) -> int:
    """The trace id of a W3C `traceparent` header, else a new one."""
    parent = request.header(b"traceparent")
    if len(parent) >= 55 and parent[2:3] == b"-" and parent[35:36] == b"-":
        try:
            return int(parent[3:35], 16)
        except ValueError:
            pass
    return getrandbits(128)


def _metrics_page(request: Request) -> Response:
    return Response(_metrics.DEFAULT.generate_latest(), content_type=_metrics.CONTENT_TYPE.encode())


def _method_not_allowed(allow: bytes) -> Response:
    body = b"Method Not Allowed. Use " + allow + b".\n"
    return Response(body, status=405, raw_headers=[(b"allow", allow)])
