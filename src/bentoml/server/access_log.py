"""One line for each request, formatted at once and written in bulk: logging calls would cost a tenth of the request."""

from __future__ import annotations

import asyncio
import os
import time

from bentoml._http import Request, Response
from bentoml.config import AccessLog

__all__ = ["AccessLogWriter"]

#: Lines are written at least this often, in seconds: a human who looks at the log sees no delay.
FLUSH_INTERVAL_S = 0.1
#: What may be collected before it is written at once, in bytes: one pipe buffer.
FLUSH_BYTES = 64 * 1024


class AccessLogWriter:
    """Formats and writes access lines.

    Args:
        component: `api_server:<service>:<worker>`, as in every other log line.
        fd: the file descriptor to write to.
    """

    def __init__(self, config: AccessLog, component: str, *, fd: int = 1) -> None:
        self._config = config
        self._fd = fd
        self._tail_of_stamp = f" [INFO] [{component}] "
        self._second = -1
        self._stamp = ""
        self._lines: list[str] = []
        self._bytes = 0
        self._scheduled = False

    def log(
        self, request: Request, response: Response, elapsed_s: float, trace_id: int, span_id: int, sampled: bool = False
    ) -> None:
        """Note one answered request."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now)) + self._tail_of_stamp
        config = self._config
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
        line = (
            f"{self._stamp}{request.client} ({asked}) ({answered}) {elapsed_s * 1000:.3f}ms "
            f"(trace={trace_id:{config.format.trace_id}},span={span_id:{config.format.span_id}},sampled={sampled:d})\n"
        )
        if not line.isascii():
            line = "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in line)
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= FLUSH_BYTES:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_INTERVAL_S, self._flush_later)

    def _flush_later(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write what was collected; a reader that went away loses it."""
        if not self._lines:
            return
        data = "".join(self._lines).encode("utf-8", "backslashreplace")
        self._lines.clear()
        self._bytes = 0
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError:
                return
