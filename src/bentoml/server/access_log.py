"""One line for each request, formatted at once and written in bulk: logging calls would cost a tenth of the request."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import msgspec

from bentoml._context import trace_of
from bentoml._http import Request, Response
from bentoml.config import AccessLog
from bentoml.server.line_writer import LineWriter

__all__ = ["AccessLogWriter"]

#: Lines are written at least this often, in seconds: a human who looks at the log sees no delay.
FLUSH_INTERVAL_S = 0.1
#: What may be collected before it is written at once, in bytes: one pipe buffer.
FLUSH_BYTES = 64 * 1024

#: Makes the line of one answered request; the last two are seconds that it took and its id.
_Style = Callable[[Request, Response, float, int], str]


class AccessLogWriter:
    """Formats access lines and hands them to a thread, which writes them.

    Args:
        component: `api_server:<service>:<worker>`, as in every other log line.
        fd: the file descriptor to write to.
    """

    def __init__(self, config: AccessLog, component: str, *, fd: int = 1) -> None:
        self._line = (_json if config.style == "json" else _text)(config, component)
        self._writer = LineWriter(fd, f"[WARNING] [{component}]")
        self._lines: list[str] = []
        self._chars = 0
        self._scheduled = False

    def log(self, request: Request, response: Response, elapsed_s: float, request_id: int) -> None:
        """Note one answered request."""
        line = self._line(request, response, elapsed_s, request_id)
        self._lines.append(line)
        self._chars += len(line)
        if self._chars >= FLUSH_BYTES:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_INTERVAL_S, self._flush_later)

    def _flush_later(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Hand what was collected to the thread; never waits."""
        if self._lines:
            self._writer.write(self._lines)
            self._lines = []
            self._chars = 0

    def close(self) -> None:
        """Write all, unless the reader takes too long."""
        self.flush()
        self._writer.close()


def _text(config: AccessLog, component: str) -> _Style:
    """The line of BentoML 1.x."""
    tail_of_stamp = f" [INFO] [{component}] "
    trace_format, span_format = config.format.trace_id, config.format.span_id
    second, stamp = -1, ""

    def line(request: Request, response: Response, elapsed_s: float, request_id: int) -> str:
        nonlocal second, stamp
        now = int(time.time())
        if now != second:
            second = now
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now)) + tail_of_stamp
        asked = f"scheme={request.scheme},method={request.method},path={request.path}"
        if config.request_content_type:
            asked += f",type={request.header(b'content-type').decode('latin-1')}"
        if config.request_content_length:
            asked += f",length={request.header(b'content-length').decode('latin-1')}"
        answered = f"status={response.status}"
        if config.response_content_type:
            answered += f",type={response.content_type.decode('latin-1')}"
        if config.response_content_length:
            body = response.body
            answered += f",length={len(body) if isinstance(body, bytes) else ''}"
        trace_id, sampled = trace_of(request)
        text = (
            f"{stamp}{request.client} ({asked}) ({answered}) {elapsed_s * 1000:.3f}ms "
            f"(trace={trace_id:{trace_format}},span={request_id:{span_format}},sampled={sampled:d})\n"
        )
        if not text.isascii():
            text = "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
        return text

    return line


def _json(config: AccessLog, component: str) -> _Style:
    """One JSON object; lengths are numbers of bytes, null where they are not known, and ids are text."""
    trace_format, span_format = config.format.trace_id, config.format.span_id
    second, stamp, zone = -1, "", ""
    encode = msgspec.json.encode

    def line(request: Request, response: Response, elapsed_s: float, request_id: int) -> str:
        nonlocal second, stamp, zone
        now = time.time()
        if int(now) != second:
            second = int(now)
            local = time.localtime(second)
            stamp, offset = time.strftime("%Y-%m-%dT%H:%M:%S", local), time.strftime("%z", local)
            zone = f"{offset[:3]}:{offset[3:]}"
        trace_id, sampled = trace_of(request)
        shown: dict[str, object] = {
            "time": f"{stamp}.{int(now % 1 * 1000):03d}{zone}",
            "component": component,
            "client": request.client,
            "scheme": request.scheme,
            "method": request.method,
            "path": request.path,
            "status": response.status,
            "duration_ms": round(elapsed_s * 1000, 3),
        }
        if config.request_content_type:
            shown["request_type"] = request.header(b"content-type").decode("latin-1")
        if config.request_content_length:
            shown["request_length"] = len(request.body)
        if config.response_content_type:
            shown["response_type"] = response.content_type.decode("latin-1")
        if config.response_content_length:
            body = response.body
            shown["response_length"] = len(body) if isinstance(body, bytes) else None
        shown["trace_id"] = f"{trace_id:{trace_format}}"
        shown["span_id"] = f"{request_id:{span_format}}"
        shown["request_id"] = str(request_id)  # as in X-BentoML-Request-ID; JavaScript's numbers have 53 bits
        shown["sampled"] = sampled
        text = encode(shown).decode()
        if not text.isascii():  # what is neither a letter nor a sign would reach the terminal, or part the line
            text = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
        return text + "\n"

    return line
