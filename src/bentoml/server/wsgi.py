"""WSGI (PEP 3333): an application of blocking functions as a handler, in the threads of the worker."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable
from io import BytesIO
from types import TracebackType
from typing import Any

from bentoml._http import Request, Response
from bentoml._threads import Threads
from bentoml.exceptions import InternalServerError
from bentoml.server.asgi import authority, split_headers
from bentoml.server.chunks import Chunks, ClientGone
from bentoml.server.http1 import has_body

__all__ = ["WsgiApp", "WsgiHandler"]

#: An application as PEP 3333 describes it.
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

#: Chunks that a thread may be ahead of the client.
_AHEAD = 4
#: Fields that would forge a variable: `Proxy` is HTTP_PROXY, the other two have variables of their own.
_NO_VARIABLE = frozenset({b"proxy", b"content-type", b"content-length"})


class WsgiHandler:
    """Answers requests with a WSGI application.

    One thread serves a request from its beginning to its end, as such applications keep state by thread; so a streamed
    answer holds its thread until the client has read it or has gone.

    Args:
        app: the application.
        name: what messages call it.
        root_path: the part of the path that is not the application's own, `""` where there is none: SCRIPT_NAME.
        threads: where it runs.
    """

    def __init__(self, app: WsgiApp, *, name: str, root_path: str, threads: Threads) -> None:
        self._app = app
        self._name = name
        self._root_path = root_path
        self._threads = threads

    async def __call__(self, request: Request) -> Response:
        """The answer, as soon as it is known whether it is whole or a stream.

        Raises:
            Exception: what the application raised before its answer began.
            InternalServerError: it ended without an answer, or broke the protocol.
        """
        call = _Call(self._app, self._name, request, asyncio.get_running_loop())
        environ = _environ(request, self._root_path)
        work = self._threads.submit(None, call.run, environ)
        try:
            return await call.answer
        except asyncio.CancelledError:
            call.leave()
            if not self._threads.cancel(work):
                # Nothing can stop a thread; until it ends the request counts as being in flight.
                await self._threads.end_of(work)
            raise


class _Call:
    """One call of the application. What begins with `_` and `run` belong to the thread, the rest to the event loop."""

    def __init__(self, app: WsgiApp, name: str, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._name = name
        self._head_only = request.method == "HEAD"
        self._loop = loop
        self._start: tuple[str, list[tuple[str, str]]] | None = None
        self._begun = False
        self._chunks: Chunks | None = None
        self._room = threading.Semaphore(_AHEAD)
        self._gone = False
        self.answer: asyncio.Future[Response] = loop.create_future()

    def leave(self) -> None:
        """Nobody waits for the answer any more, or what is left of it."""
        self._gone = True
        self._room.release()

    def run(self, environ: dict[str, Any]) -> None:
        """Call the application and pass on what it says; whatever it raises goes to whoever waits."""
        try:
            self._serve(environ)
        except ClientGone:
            pass
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of an application: its caller gets it
            self._tell(self._failed, error)

    def _serve(self, environ: dict[str, Any]) -> None:
        body = self._app(environ, self._start_response)
        try:
            if isinstance(body, (list, tuple)) and not self._begun:
                self._pass_on(b"".join(body), last=True)
                return
            for chunk in body:
                if chunk:
                    self._pass_on(chunk)
            self._pass_on(b"", last=True)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and self._begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self._start is not None:
            raise InternalServerError(f"{self._name} called start_response() twice without exc_info")
        self._start = (status, headers)
        return lambda data: self._pass_on(data) if data else None

    def _pass_on(self, data: bytes, *, last: bool = False) -> None:
        """Send a part of the body; the first one decides what the answer looks like."""
        if self._gone:
            raise ClientGone("the client is gone")
        if not self._begun:
            self._begin(data, last=last)
            return
        if self._chunks is None:
            if data and not self._head_only:
                raise InternalServerError(f"{self._name} sent more than its answer's content-length")
            return
        if data:
            self._room.acquire()
            if self._gone:
                raise ClientGone("the client is gone")
            self._tell(self._chunks.add, data)
        if last:
            self._tell(self._chunks.end, None)

    def _begin(self, data: bytes, *, last: bool) -> None:
        if self._start is None:
            raise InternalServerError(f"{self._name} answered without start_response()")
        line, fields = self._start
        code = line.partition(" ")[0]
        status = int(code) if code.isdigit() and len(code) == 3 else 0
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        headers, content_type, length = split_headers(status, raw, self._name)
        if not self._head_only and last and length not in (None, len(data)) and has_body(status):
            raise InternalServerError(f"{self._name} announced {length} bytes and sent {len(data)}")
        self._begun = True
        content: bytes | Chunks = bytes(data)
        if self._head_only:
            content = Chunks(length if length is not None or not last else len(data), lambda: None)
            content.end()
        elif not last and len(data) != length:
            content = self._chunks = _Room(length, self.leave, self._room)
            content.add(bytes(data))
        self._tell(self._answered, Response(content, status=status, content_type=content_type, raw_headers=headers))

    def _tell(self, function: Callable[[Any], object], value: Any) -> None:
        """Call a function on the event loop."""
        try:
            self._loop.call_soon_threadsafe(function, value)
        except RuntimeError:  # the loop has ended, and with it everyone who waited
            raise ClientGone("the server has stopped") from None

    def _answered(self, response: Response) -> None:
        if not self.answer.done():
            self.answer.set_result(response)

    def _failed(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
        elif self._chunks is not None:
            self._chunks.end(error)


class _Room(Chunks):
    """Chunks whose maker waits in a thread until there is room for the next one."""

    __slots__ = ("_room",)

    def __init__(self, length: int | None, on_closed: Callable[[], object], room: threading.Semaphore) -> None:
        super().__init__(length, on_closed)
        self._room = room

    async def __anext__(self) -> bytes:
        chunk = await super().__anext__()
        self._room.release()
        return chunk


def _environ(request: Request, root_path: str) -> dict[str, Any]:
    host, port = authority(request)
    client, _, client_port = request.client.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": _native(root_path),
        "PATH_INFO": _native(request.path[len(root_path) :]),
        "QUERY_STRING": request.query_string.decode("latin-1"),
        "CONTENT_TYPE": request.header(b"content-type").decode("latin-1"),
        # What was announced, or the length of a body that came in chunks.
        "CONTENT_LENGTH": str(len(request.body)) if request.body or request.header(b"content-length") else "",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.raw_headers:
        # `x_user` would have the variable of `x-user`, which a proxy in front may have checked.
        if name in _NO_VARIABLE or b"_" in name:
            continue
        variable = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        before = environ.get(variable)
        environ[variable] = text if before is None else f"{before}{'; ' if name == b'cookie' else ','}{text}"
    return environ


def _native(path: str) -> str:
    """A path as PEP 3333 wants it: its bytes, each as a character."""
    return path.encode("utf-8").decode("latin-1")
