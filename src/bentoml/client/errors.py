"""From an answer that is no success, or none at all, to the exception that the server would have raised itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from bentoml.client.options import httpx
from bentoml.exceptions import (
    BadInput,
    BentoMLException,
    DeadlineExceeded,
    InternalServerError,
    NotFound,
    PayloadTooLarge,
    RemoteException,
    ServiceUnavailable,
    TooManyRequests,
    UnprocessableEntity,
    UnsupportedMediaType,
)

__all__ = ["error_of_answer", "error_of_failure", "retry_after_s", "translated"]

#: Where two classes share a status, the one that servers raise about a request.
_CLASSES: dict[int, type[BentoMLException]] = {
    int(each.error_code): each
    for each in (
        BadInput, DeadlineExceeded, NotFound, PayloadTooLarge, TooManyRequests, UnprocessableEntity,
        UnsupportedMediaType,
    )
}  # fmt: skip
#: What servers write before the text of the exception that was raised.
_PREFIX = "BentoService error handling API request: "
#: Of a body that is not the JSON string which a service answers with.
_SHOWN_BYTES = 500


def error_of_answer(status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> BentoMLException:
    """The exception that stands for an answer; its text is that of the server, with the request id.

    Args:
        headers: case-insensitive.
        now_s: seconds since 1970, to which a date in `Retry-After` is compared.
    """
    message = f"Error making request: {status}: {_text(body)}"
    request_id = headers.get("x-bentoml-request-id")
    if request_id and request_id not in message:
        message += f" (request id {request_id})"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        told = retry_after_s(headers, now_s)
        return ServiceUnavailable(message, retry_after_s=1.0 if told is None else told)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return RemoteException(message, body)
    if status in _CLASSES:
        return _CLASSES[status](message)
    hint = "give the client an api_key" if status == HTTPStatus.UNAUTHORIZED else ""
    error = BentoMLException(message, hint=hint)
    if status in HTTPStatus._value2member_map_:
        error.error_code = HTTPStatus(status)
    return error


def error_of_failure(error: Exception, url: str, total_s: float) -> BentoMLException:
    """The exception that stands for a call without a whole answer; `error` is one of httpx."""
    library = httpx()
    reason = str(error) or type(error).__name__
    if isinstance(error, library.PoolTimeout):
        return DeadlineExceeded(
            f"{url}: no connection of the pool became free", hint="raise max_connections, or close streams after use"
        )
    if isinstance(error, library.ConnectTimeout):
        return DeadlineExceeded(f"{url} could not be reached in time", hint="raise connect_s of the time-outs")
    if isinstance(error, library.TimeoutException):
        return DeadlineExceeded(
            f"{url} did not answer in time (timeout {total_s:g} s)", hint="raise the client's timeout"
        )
    if isinstance(error, library.ConnectError):
        return ServiceUnavailable(
            f"{url} cannot be reached: {reason}", hint="is the server running? wait_until_server_ready waits for it"
        )
    if isinstance(error, library.TransportError):
        return RemoteException(f"the connection to {url} ended before the answer was complete: {reason}")
    return InternalServerError(f"the call of {url} failed: {reason}")


@contextlib.contextmanager
def translated(url: str, total_s: float) -> Iterator[None]:
    """What goes wrong while an answer is read, as an exception of ours."""
    try:
        yield
    except httpx().HTTPError as error:
        raise error_of_failure(error, url, total_s) from error


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds that the server asks to wait, None where it does not say; a date or a number, RFC 9110, 10.2.3."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _text(body: bytes) -> str:
    """The server's words; a body that is no JSON string as the bytes that it is."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, str):
        return repr(body[:_SHOWN_BYTES])
    return value.removeprefix(_PREFIX) or "the server does not say why"
