"""What all clients have in common: the APIs of the server, a method for each of them, and what a call is made of."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from bentoml._importing import loaded, require
from bentoml.client.endpoint import Endpoint, endpoint_named, endpoints_of
from bentoml.client.options import Options
from bentoml.exceptions import BentoMLException

__all__ = ["BaseClient", "Health", "Outgoing", "document_of"]


class Health(NamedTuple):
    """What `/readyz` answered.

    Attributes:
        status: the HTTP status: 200, or 503 while the server cannot answer.
        text: the reason where it cannot.
    """

    status: int
    text: str

    @property
    def status_code(self) -> int:
        """The same as `status`."""
        return self.status

    @property
    def is_ready(self) -> bool:
        """Whether the server can answer."""
        return self.status == 200


@dataclass(frozen=True)
class Outgoing:
    """One request; `repeatable`: nothing is lost if the server gets it twice."""

    method: str
    url: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False


class BaseClient:
    """The APIs of one server.

    Args:
        document: its OpenAPI document.

    Raises:
        BentoMLException: the document is not that of a service.
    """

    def __init__(self, server_url: str, document: Any, options: Options) -> None:
        self.server_url = server_url
        self._options = options
        self._endpoints = endpoints_of(document)
        for endpoint in self._endpoints.values():
            for name, method in self._methods(endpoint).items():
                if not hasattr(type(self), name):
                    method.__name__, method.__doc__ = name, endpoint.doc
                    setattr(self, name, method)

    def _methods(self, endpoint: Endpoint) -> dict[str, Callable[..., Any]]:
        """The methods that this kind of client has for an API, by name."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        """Only asked for what is not there."""
        endpoints = vars(self).get("_endpoints", {})
        near = difflib.get_close_matches(name, endpoints, n=1)
        advice = f". Did you mean {near[0]!r}?" if near else f"; the service has {', '.join(endpoints) or 'no API'}"
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{advice}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.server_url!r}: {', '.join(self._endpoints)})"

    @property
    def endpoints(self) -> list[str]:
        """The names of the APIs, in the order of the service."""
        return list(self._endpoints)

    def _prepared(self, name: str, args: tuple[Any, ...], fields: Mapping[str, Any]) -> tuple[Endpoint, Any]:
        endpoint = endpoint_named(name, self._endpoints)
        return endpoint, endpoint.value_of(args, fields)

    def _request(self, endpoint: Endpoint, value: Any) -> Outgoing:
        encoded = endpoint.encode(value)
        return Outgoing("POST", self.server_url + endpoint.path, encoded.body, _traced(encoded.headers))


def document_of(body: bytes) -> Any:
    """The OpenAPI document in an answer.

    Raises:
        BentoMLException: the body is no JSON; begins with `Malformed`.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BentoMLException(
            f"Malformed OpenAPI document at /docs.json: {error}", hint="is it a BentoML service?"
        ) from None


def _traced(headers: dict[str, str]) -> dict[str, str]:
    """The headers with the trace context of the caller, where OpenTelemetry is in use."""
    if loaded("opentelemetry.trace") is not None:
        require("opentelemetry.propagate").inject(headers)
    return headers
