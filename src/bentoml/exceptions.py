"""Every error that this package raises on purpose, in one tree; each class carries its HTTP status.

    Exception
    ├── StateException                    500  a handle is used in a state that does not allow it
    │   ├── UnservableException                a service that no other process could import
    │   └── ServerStateException               a server handle that is not running
    └── BentoMLException                  500
        ├── InvalidArgument               400
        │   ├── BadInput                  400  the request body breaks a rule of the descriptor
        │   └── UnsupportedMediaType      415
        ├── PayloadTooLarge               413
        ├── UnprocessableEntity           422
        ├── NotFound                      404
        ├── TooManyRequests               429
        ├── ServiceUnavailable            503  refused now, worth trying again (Retry-After)
        ├── DeadlineExceeded              504
        ├── InternalServerError           500
        │   └── RemoteException           500  a runner worker answered with an error
        ├── CorruptedItem                 500  a stored file is not the one that was saved
        ├── BentoMLConfigException        500
        ├── MissingDependencyException    500
        ├── ImportServiceError            500
        ├── APIDeprecated                 500
        └── CLIException                  500

Whoever turns an error into an HTTP answer reads `error_code`; whoever prints it reads `str(error)`, which ends with
`(hint: …)` where the error knows what to do next.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

__all__ = [
    "APIDeprecated",
    "BadInput",
    "BentoMLConfigException",
    "BentoMLException",
    "CLIException",
    "CorruptedItem",
    "DeadlineExceeded",
    "ImportServiceError",
    "InternalServerError",
    "InvalidArgument",
    "MissingDependencyException",
    "NotFound",
    "PayloadTooLarge",
    "RemoteException",
    "ServerStateException",
    "ServiceUnavailable",
    "StateException",
    "TooManyRequests",
    "UnprocessableEntity",
    "UnservableException",
    "UnsupportedMediaType",
]


class BentoMLException(Exception):
    """Base of the tree.

    Args:
        message: what happened and what was expected.
        hint: what to do about it; printed after the message.
    """

    error_code: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


class StateException(Exception):
    """A handle is used in a state that does not allow it, for instance a runner before `init_local()`."""

    error_code: HTTPStatus = HTTPStatus.BAD_REQUEST


class UnservableException(StateException):
    """The service cannot be served because no other process could import it."""


class ServerStateException(StateException):
    """A server handle is used while its process is not running."""


class InvalidArgument(BentoMLException):
    """A value that the caller gave breaks a rule."""

    error_code = HTTPStatus.BAD_REQUEST


class BadInput(InvalidArgument):
    """A request body breaks a rule of its descriptor."""


class UnsupportedMediaType(InvalidArgument):
    """A request has a content type that its descriptor does not take."""

    error_code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class PayloadTooLarge(BentoMLException):
    """A request body is larger than the server takes."""

    error_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnprocessableEntity(BentoMLException):
    """A value is well-formed and still cannot be used, for instance an unknown dtype name."""

    error_code = HTTPStatus.UNPROCESSABLE_ENTITY


class NotFound(BentoMLException):
    """No model, bento or route has that name."""

    error_code = HTTPStatus.NOT_FOUND


class TooManyRequests(BentoMLException):
    """A caller exceeded a limit of its own."""

    error_code = HTTPStatus.TOO_MANY_REQUESTS


class ServiceUnavailable(BentoMLException):
    """The request was refused and may succeed when it is sent again.

    Args:
        retry_after_s: seconds after which a retry makes sense; becomes the `Retry-After` header.
    """

    error_code = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, message: str = "", *, hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(BentoMLException):
    """The time that a request was given is over."""

    error_code = HTTPStatus.GATEWAY_TIMEOUT


class InternalServerError(BentoMLException):
    """Something on our side failed."""


class RemoteException(InternalServerError):
    """A runner worker answered with an error.

    Args:
        payload: what the worker sent besides the message, if anything.
    """

    def __init__(self, message: str = "", payload: Any = None, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.payload = payload


class CorruptedItem(BentoMLException):
    """A file in the store is not the file that was saved."""


class BentoMLConfigException(BentoMLException):
    """A configuration file, variable or option cannot be used."""


class MissingDependencyException(BentoMLException):
    """A library that this call needs is not installed."""


class ImportServiceError(BentoMLException):
    """A service could not be imported from the place that was named."""


class APIDeprecated(BentoMLException):
    """A call that no longer exists."""


class CLIException(BentoMLException):
    """A command of the command line cannot do what it was asked to."""
