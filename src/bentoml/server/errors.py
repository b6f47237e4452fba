"""The one translator from an exception to an HTTP answer; the body is a JSON string, as BentoML 1.x clients expect."""

from __future__ import annotations

import logging
import math

import msgspec

from bentoml._http import RawHeader, Request, Response
from bentoml.exceptions import BentoMLException, ServiceUnavailable
from bentoml.server.http1 import json_string

__all__ = ["error_response", "stream_error"]

logger = logging.getLogger("bentoml")

#: Their text might tell a stranger what only the caller with the right key may know.
_SILENT = (401, 403)


def error_response(error: BaseException, request: Request, request_id: int) -> Response:
    """The answer to a request that failed; errors on our side are logged with their traceback and say nothing."""
    where = f"Exception on {request.path} [{request.method}] (request id {request_id})"
    if not isinstance(error, BentoMLException):
        logger.error("%s", where, exc_info=error)
        return json_string(
            "An error has occurred in BentoML user code when handling this request; "
            f"the server's log has the details under the request id {request_id}",
            status=500,
        )
    status = int(error.error_code)
    headers: list[RawHeader] = []
    if isinstance(error, ServiceUnavailable):
        # Refusals come by the thousand under overload: the metrics count them, the log does not repeat them.
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
        logger.debug("%s: %s", where, error)
    elif status >= 500:
        logger.error("%s", where, exc_info=error)
    else:
        logger.debug("%s: %s", where, error)
    message = f"BentoService error handling API request: {error}" if _is_told(status) else ""
    return json_string(message, status=status, raw_headers=headers)


def stream_error(error: BaseException, request: Request, request_id: int) -> tuple[int, bytes]:
    """The status under which a stream that failed is counted, and what a client of server-sent events is told."""
    # Always logged: the client has seen a status of success already, and can hardly be told the rest.
    logger.error(
        "Exception on %s [%s] (request id %d), after its answer had begun",
        request.path, request.method, request_id, exc_info=error,
    )  # fmt: skip
    status = int(error.error_code) if isinstance(error, BentoMLException) else 500
    message = str(error) if _is_told(status) else "the service failed; its log has the details under the request id"
    # The id as a string: JavaScript has no integers of 64 bits.
    data = msgspec.json.encode({"error": message, "status": status, "request_id": str(request_id)})
    return status, b"event: error\ndata: " + data + b"\n\n"


def _is_told(status: int) -> bool:
    return 400 <= status < 500 and status not in _SILENT
