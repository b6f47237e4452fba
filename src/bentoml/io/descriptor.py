"""IODescriptor: the base of every descriptor, and the registry of their ids.

    Request ── from_http_request ──▶ value ── API function ──▶ value ── to_http_response ──▶ Response

A variant writes four methods: `from_http_request`, `to_http_response`, `input_type`, `openapi_schema`; and
`to_spec` where its constructor takes arguments, `openapi_components` where its schema refers to others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from bentoml._context import Context
from bentoml._http import Headers, Request, Response
from bentoml.exceptions import InternalServerError, InvalidArgument

__all__ = ["IODescriptor", "class_with_id"]

T = TypeVar("T")
Descriptor = TypeVar("Descriptor", bound="IODescriptor[Any]")

_classes_by_id: dict[str, type[IODescriptor[Any]]] = {}

#: Written by the server, which alone knows how it frames the body; a second copy could forge an answer.
_FRAMING_HEADERS = frozenset({b"connection", b"content-length", b"keep-alive", b"transfer-encoding", b"upgrade"})


class IODescriptor(ABC, Generic[T]):
    """What one side of an API function looks like over HTTP.

    A subclass names itself with the class keyword `descriptor_id`, by which `bentoml.io.from_spec` finds it:

        class Celsius(IODescriptor[float], descriptor_id="acme.Celsius"): ...

    Attributes:
        descriptor_id: the id of the spec, None for a class that was given none.
        mime_type: the content type of the body.
        sample: the example value of `from_sample`, None without one.
        fields: descriptors by field name where the value is a dictionary whose items the API function takes as
            keyword arguments; None (the default) where the function takes the value itself.
        offloads: whether reading or writing a body may take more than a millisecond; it is then done in a thread.
        negotiates: whether `to_http_response` takes a further keyword `accept`, the `Accept` header as sent.
    """

    descriptor_id: ClassVar[str | None] = None
    offloads: ClassVar[bool] = False
    negotiates: ClassVar[bool] = False
    fields: Mapping[str, IODescriptor[Any]] | None = None
    mime_type: str = "application/octet-stream"
    sample: Any = None

    def __init_subclass__(
        cls, *, descriptor_id: str | None = None, proto_fields: tuple[str, ...] = (), **kwargs: Any
    ) -> None:
        """Register the class.

        Args:
            descriptor_id: the id under which `from_spec` finds the class.
            proto_fields: fields of the gRPC message that carry the value; taken, and without effect.

        Raises:
            ValueError: another class has this id.
        """
        super().__init_subclass__(**kwargs)
        cls.descriptor_id = descriptor_id
        if descriptor_id is None:
            return
        if descriptor_id in _classes_by_id:
            raise ValueError(
                f"the descriptor id {descriptor_id!r} belongs to {_classes_by_id[descriptor_id]!r} already"
            )
        _classes_by_id[descriptor_id] = cls

    @abstractmethod
    def from_http_request(self, request: Request) -> T:
        """The value in the request, whose body has been read; a descriptor of your own may make this async.

        Raises:
            BadInput: the body breaks a rule of the descriptor.
            UnsupportedMediaType: the content type is none that the descriptor takes.
        """

    @abstractmethod
    def to_http_response(self, value: T, context: Context | None) -> Response:
        """The answer that carries the value.

        Args:
            context: the context that the API function saw, None where it takes none.

        Raises:
            InternalServerError: the value cannot be sent by this descriptor.
        """

    @abstractmethod
    def input_type(self) -> Any:
        """The type of the Python value."""

    @abstractmethod
    def openapi_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12, as in OpenAPI 3.1) of the body."""

    def openapi_components(self) -> dict[str, Any]:
        """The schemas to put into `components.schemas`, by the names that `openapi_schema` refers to."""
        return {}

    def openapi_example(self) -> Any:
        """The sample in the form it has in the document, None without one."""
        return self.sample

    def openapi_request_body(self) -> dict[str, Any]:
        """The `requestBody` of an operation."""
        return {
            "required": True,
            "content": self._openapi_request_content(),
            "x-bentoml-io-descriptor": self.to_spec(),
        }

    def openapi_responses(self) -> dict[str, Any]:
        """The entry of status 200 among the `responses` of an operation."""
        return {
            "description": "Successful Response",
            "content": self._openapi_response_content(),
            "x-bentoml-io-descriptor": self.to_spec(),
        }

    def _openapi_request_content(self) -> dict[str, Any]:
        """The media types that a request may have, for descriptors that read more of them than they write."""
        return self._openapi_content()

    def _openapi_response_content(self) -> dict[str, Any]:
        """The media types that the answer may have; more than one where it is negotiated."""
        return self._openapi_content()

    def _openapi_content(self) -> dict[str, Any]:
        """Media types and their schemas and examples, the same in both directions unless a subclass says otherwise."""
        media: dict[str, Any] = {"schema": self.openapi_schema()}
        example = self.openapi_example()
        if example is not None:
            media["example"] = example
        return {self.mime_type: media}

    def to_spec(self) -> dict[str, Any]:
        """`{"id": …, "args": …}`, of which `from_spec` makes an equal descriptor; JSON values only."""
        return {"id": self.descriptor_id, "args": {}}

    @classmethod
    def from_spec(cls: type[Descriptor], spec: Mapping[str, Any]) -> Descriptor:
        """The descriptor that `to_spec` of this class described.

        Raises:
            InvalidArgument: there are no arguments, or not those of the constructor.
        """
        arguments = spec.get("args")
        if not isinstance(arguments, Mapping):
            raise InvalidArgument(
                f"the spec of {cls.__name__} must have the mapping 'args'", hint='"args": {} for none'
            )
        try:
            return cls(**arguments)
        except TypeError as error:
            raise InvalidArgument(f"the spec of {cls.__name__} has arguments that it does not take: {error}") from error

    @classmethod
    def from_sample(cls: type[Descriptor], sample: Any, **arguments: Any) -> Descriptor:
        """A descriptor for values like the sample, which the OpenAPI document then shows as its example.

        Args:
            sample: an example value.
            arguments: those of the constructor; what is not given is inferred from the sample.

        Raises:
            BadInput: the descriptor does not take values like the sample.
        """
        descriptor = cls(**arguments)
        descriptor.sample = descriptor._from_sample(sample)
        return descriptor

    def _from_sample(self, sample: Any) -> Any:
        """The sample as the value it stands for; a descriptor of your own may also learn from it here."""
        return sample

    def __repr__(self) -> str:
        arguments = self.to_spec().get("args") or {}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"

    @staticmethod
    def respond(body: bytes | AsyncIterator[bytes], content_type: bytes, context: Context | None) -> Response:
        """The response with this body, and with the status, headers and cookies that the API function set.

        A content type among those headers wins; headers that frame the message are left to the server.

        Raises:
            InternalServerError: the function set a status that is none.
        """
        if context is None:
            return Response(body, content_type=content_type)
        given = context.response
        headers = Headers([item for item in given.headers.raw if item[0] not in _FRAMING_HEADERS])
        own_content_type = headers.pop("content-type", None)
        for cookie in given.cookies:
            headers.add("set-cookie", cookie.header_value())
        return Response(
            body,
            status=_status(given.status_code),
            content_type=content_type if own_content_type is None else own_content_type.encode("latin-1"),
            raw_headers=headers.raw,
        )


class _UnknownDescriptor(InvalidArgument, KeyError):
    """No class has the id; a KeyError too, which is what BentoML raises here."""


def class_with_id(descriptor_id: str) -> type[IODescriptor[Any]]:
    """The class that was registered under the id.

    Raises:
        InvalidArgument: there is none; also a KeyError.
    """
    try:
        return _classes_by_id[descriptor_id]
    except KeyError:
        raise _UnknownDescriptor(
            f"no descriptor has the id {descriptor_id!r}; known are {', '.join(sorted(_classes_by_id))}",
            hint="import the module that defines it first",
        ) from None


def _status(given: Any) -> int:
    # HTTPStatus is an int too; a bool is one as well and never meant.
    if isinstance(given, int) and not isinstance(given, bool) and 200 <= given <= 599:
        return int(given)
    raise InternalServerError(
        f"ctx.response.status_code is {given!r}, which is no HTTP status", hint="use a number from 200 to 599"
    )
