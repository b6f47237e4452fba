"""App: routes a request to its endpoint or page, inside of what observes it; composed once: what is off is absent."""

from __future__ import annotations

import difflib
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable
from random import getrandbits
from typing import Any

from bentoml import _metrics
from bentoml._context import Context
from bentoml._http import RawHeader, Request, Response
from bentoml._threads import Threads
from bentoml._trace_context import new_span_id
from bentoml.config import Config
from bentoml.server.access_log import AccessLogWriter
from bentoml.server.asgi import AsgiHandler
from bentoml.server.asgi_app import origin_of
from bentoml.server.concurrency import ConcurrencyLimit
from bentoml.server.endpoint import endpoint_handler
from bentoml.server.http1 import refused
from bentoml.server.layers import cors_policy, layers
from bentoml.server.mounts import mount_handler, mount_of
from bentoml.server.observed import Observers, observed
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
        self.state: dict[str, Any] = {}
        self.threads = Threads(server.threads, name="api")
        self.metrics = RequestMetrics(service, server.metrics) if server.metrics.enabled else None
        self._access_log = access_log
        self._is_ready = is_ready
        self._service = service
        self._guarded = server.auth.is_on
        observers = Observers(
            metrics=self.metrics,
            access_log=access_log,
            tracing=tracing,
            shown=server.http.response,
            monitors=config.monitoring.enabled,
            limit=ConcurrencyLimit(server.traffic.max_concurrency) if server.traffic.max_concurrency else None,
        )
        self._pages: dict[str, Page] = {"/readyz": self._readyz}
        if self.metrics is not None:
            self._pages["/metrics"] = _metrics_page
        self._endpoints = {
            api.route: observed(api.route, endpoint_handler(api, threads=self.threads, state=self.state), observers)
            for api in service.apis.values()
        }
        self._paged = self._observed_page()
        hosted = [(mount.path, mount_handler(mount, self.threads)) for mount in service.mounts]
        #: The applications that are told of start and stop.
        self._hosted = [handler for _, handler in hosted if isinstance(handler, AsgiHandler)]
        self._mounts = [
            (path, observed(path, handler, observers))
            for path, handler in sorted(hosted, key=lambda item: -len(item[0]))
        ]
        self._elsewhere = self._mounted_or_paged if self._mounts else self._paged
        #: What the listener calls: the route inside of the layers that are on.
        self.handle: Handler = self._route
        self._cors = cors_policy(config)
        for layer in layers(service, config, cors=self._cors, refused=self._refused):
            self.handle = layer(self.handle)
            if isinstance(self.handle, AsgiHandler):
                self._hosted.append(self.handle)

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
        return self._elsewhere(request)

    def _mounted_or_paged(self, request: Request) -> Response | Awaitable[Response]:
        """What no API answers: a page, else the mount with the longest path, else the page that says no."""
        path = request.path
        if not (path in self._pages and request.method in ("GET", "HEAD")):
            mounted = mount_of(path, self._mounts)
            if mounted is not None:
                return mounted[1](request)
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
        origin_of(request).is_late = True
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
            self.metrics.observed(self._label(request.path), response.status, elapsed_s)
        if self._access_log is not None:
            self._access_log.log(request, response, elapsed_s, request_id)

    def _label(self, path: str) -> str:
        """What stands for a path in the metrics: strangers must not be able to add series."""
        if path in self._endpoints or path in self._pages:
            return path
        mounted = mount_of(path, self._mounts)
        return mounted[0] if mounted is not None else "(unknown)"

    async def start(self) -> None:
        """Run what the service wants to run before the first request, and let its applications start.

        Raises:
            Exception: what a hook raised.
            BentoMLException: an application says that it cannot start.
        """
        await _run_hooks(self._service.startup_hooks, self.state)
        for handler in self._hosted:
            await handler.lifespan.start()
        # Now, as applications may add routes when they start.
        self._pages |= pages(self._service, metrics=self.metrics is not None, guarded=self._guarded)

    async def stop(self) -> None:
        """After the last request: let the applications stop, then run what the service wants to run."""
        for handler in reversed(self._hosted):
            await handler.close()
            await handler.lifespan.stop()
        await _run_hooks(self._service.shutdown_hooks, self.state)

    def close(self) -> None:
        """Write what the access log still holds; let the threads end."""
        if self._access_log is not None:
            self._access_log.close()
        self.threads.close()

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


async def _run_hooks(hooks: Iterable[Callable[..., Any]], state: dict[str, Any]) -> None:
    for hook in hooks:
        result = hook(Context(Request(), state)) if inspect.signature(hook).parameters else hook()
        if inspect.isawaitable(result):
            await result


#: Of an unknown path: the search for similar routes takes time that grows with it.
_COMPARED_CHARS = 100


def _metrics_page(request: Request) -> Response:
    return Response(_metrics.DEFAULT.generate_latest(), content_type=_metrics.CONTENT_TYPE.encode())


def _options(allow: bytes) -> Response:
    return Response(status=204, content_type=b"", raw_headers=[(b"allow", allow)])


def _method_not_allowed(allow: bytes) -> Response:
    body = b"Method Not Allowed. Use " + allow + b".\n"
    return Response(body, status=405, raw_headers=[(b"allow", allow)])
