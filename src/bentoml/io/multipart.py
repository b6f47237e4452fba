"""Multipart: a form whose fields are descriptors; the API function takes one parameter for each."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml.exceptions import BadInput, BentoMLException, InternalServerError, InvalidArgument
from bentoml.io import from_spec
from bentoml.io._components import Components, renamed
from bentoml.io._form import FORM, Part, base_name, file_name, form_of, parse_form
from bentoml.io.descriptor import IODescriptor

__all__ = ["Multipart"]


class Multipart(IODescriptor[dict[str, Any]], descriptor_id="bentoml.io.Multipart"):
    """The fields of a `multipart/form-data` body, each read and written by a descriptor of its own.

    As input, the API function is called with one keyword argument for each field. Every field must be there once, in
    any order, and no other. A part's own headers are those of the request that its descriptor sees. As output, the
    function returns a mapping with a value for each field.

    Args:
        fields: descriptors by field name.

    Raises:
        InvalidArgument: there is no field, or one is no descriptor or a `Multipart` itself.
    """

    mime_type = FORM
    fields: Mapping[str, IODescriptor[Any]]

    def __init__(self, **fields: IODescriptor[Any]) -> None:
        if not fields:
            raise InvalidArgument("Multipart: there is no field", hint="Multipart(image=Image(), note=Text())")
        for name, field in fields.items():
            if isinstance(field, Multipart) or not isinstance(field, IODescriptor):
                raise InvalidArgument(
                    f"Multipart: the field {name!r} must be a descriptor other than Multipart, not {field!r}"
                )
        self.fields = fields
        self.offloads = any(field.offloads for field in fields.values())
        # Whether a method is asynchronous is what the server looks at when it starts.
        if any(inspect.iscoroutinefunction(field.from_http_request) for field in fields.values()):
            vars(self)["from_http_request"] = self._read_later
        if any(inspect.iscoroutinefunction(field.to_http_response) for field in fields.values()):
            vars(self)["to_http_response"] = self._write_later

    # -- reading ------------------------------------------------------------------------------------------------------

    def from_http_request(self, request: Request) -> dict[str, Any]:
        """The values by field name.

        Raises:
            UnsupportedMediaType: the body is no form.
            BadInput: the form is malformed, or a field is missing, unknown or there twice. What the descriptor of a
                field raises comes with `field 'name': ` in front.
        """
        values = {}
        for name, part in self._parts(request):
            with _naming(name):
                values[name] = self.fields[name].from_http_request(part)
        return values

    async def _read_later(self, request: Request) -> dict[str, Any]:
        values = {}
        for name, part in self._parts(request):
            read = self.fields[name].from_http_request
            with _naming(name):
                value = await asyncio.to_thread(read, part) if self.fields[name].offloads else read(part)
                values[name] = await value if inspect.isawaitable(value) else value
        return values

    def _parts(self, request: Request) -> list[tuple[str, Request]]:
        parts: dict[str, Request] = {}
        for part in parse_form(request.header(b"content-type").decode("latin-1"), request.body):
            if part.name not in self.fields:
                raise BadInput(
                    f"Multipart: there is no field {part.name[:100]!r}", hint=f"the fields are {', '.join(self.fields)}"
                )
            if part.name in parts:
                raise BadInput(f"Multipart: the field {part.name!r} is there twice")
            parts[part.name] = part.request_in(request)
        missing = [name for name in self.fields if name not in parts]
        if missing:
            raise BadInput(f"Multipart: missing {', '.join(missing)}", hint=f"the fields are {', '.join(self.fields)}")
        return [(name, parts[name]) for name in self.fields]

    # -- writing ------------------------------------------------------------------------------------------------------

    def to_http_response(self, value: Any, context: Context | None) -> Response:
        """The values as a form, in the order of the fields.

        Raises:
            InternalServerError: the value is no mapping of the fields, or a field's value cannot be sent.
        """
        self._check(value)
        answers = {}
        for name, field in self.fields.items():
            with _naming(name):
                answers[name] = field.to_http_response(value[name], None)
        return self._response(value, answers, context)

    async def _write_later(self, value: Any, context: Context | None) -> Response:
        self._check(value)
        answers: dict[str, Any] = {}
        for name, field in self.fields.items():
            with _naming(name):
                answer: Any = field.to_http_response(value[name], None)
                answers[name] = await answer if inspect.isawaitable(answer) else answer
        return self._response(value, answers, context)

    def _check(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise InternalServerError(f"Multipart: the API function returned {type(value).__name__}, not a dict")
        if value.keys() != self.fields.keys():
            raise InternalServerError(
                f"Multipart: the API function returned the fields {', '.join(map(str, value))}, "
                f"not {', '.join(self.fields)}"
            )

    def _response(self, value: Any, answers: Mapping[str, Response], context: Context | None) -> Response:
        body, content_type = form_of(_part(name, value[name], answer) for name, answer in answers.items())
        return self.respond(body, content_type, context)

    # -- describing ---------------------------------------------------------------------------------------------------

    def input_type(self) -> Any:
        """`dict`."""
        return dict

    def openapi_schema(self) -> dict[str, Any]:
        """An object with a property for each field."""
        return self._document()[1]

    def openapi_components(self) -> dict[str, Any]:
        """Those of all fields; of two that share a name and differ the later one is numbered."""
        return self._document()[0]

    def _document(self) -> tuple[dict[str, Any], dict[str, Any]]:
        components = Components({"schemas": {}})
        properties = {}
        for name, field in self.fields.items():
            schema = renamed(field.openapi_schema(), components.add({"schemas": field.openapi_components()}))
            example = field.openapi_example()
            properties[name] = schema if example is None else {**schema, "examples": [example]}
        return components.kinds["schemas"], {
            "type": "object",
            "properties": properties,
            "required": list(self.fields),
            "additionalProperties": False,
        }

    def openapi_example(self) -> Any:
        """The examples of the fields that have one, None where none has."""
        examples = {name: field.openapi_example() for name, field in self.fields.items()}
        return {name: example for name, example in examples.items() if example is not None} or None

    def _openapi_content(self) -> dict[str, Any]:
        # An example of the whole form would lack the fields that have none, such as images; each field has its own.
        media = {"schema": self.openapi_schema()}
        types = {name: ", ".join(field.openapi_request_body()["content"]) for name, field in self.fields.items()}
        return {FORM: {**media, "encoding": {name: {"contentType": text} for name, text in types.items()}}}

    def to_spec(self) -> dict[str, Any]:
        """The specs of the fields by name."""
        return {"id": self.descriptor_id, "args": {name: field.to_spec() for name, field in self.fields.items()}}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Multipart:
        """The form whose fields were described."""
        fields = spec.get("args")
        if isinstance(fields, Mapping):
            spec = {**spec, "args": {name: from_spec(field) for name, field in fields.items()}}
        return super().from_spec(spec)

    def _from_sample(self, sample: Any) -> dict[str, Any]:
        if not isinstance(sample, Mapping) or not sample.keys() <= self.fields.keys():
            raise BadInput(
                "Multipart: the sample must be a mapping of fields", hint=f"some of {', '.join(self.fields)}"
            )
        for name, value in sample.items():
            self.fields[name].sample = self.fields[name]._from_sample(value)
        return dict(sample)


@contextlib.contextmanager
def _naming(field: str) -> Iterator[None]:
    """What a descriptor raises says in which field it happened."""
    try:
        yield
    except BentoMLException as error:
        error.message = f"field {field!r}: {error.message}"
        raise


def _part(name: str, value: Any, answer: Response) -> Part:
    if not isinstance(answer.body, bytes):
        raise InternalServerError(f"field {name!r}: a stream cannot be a part of a form", hint="join its items")
    headers = [(b"content-type", answer.content_type)] if answer.content_type else []
    headers += [header for header in answer.raw_headers if header[0] != b"content-disposition"]
    filename = file_name(Request(raw_headers=answer.raw_headers))
    if filename is None and hasattr(value, "read"):
        filename = base_name(getattr(value, "name", None)) or name
    return Part(name, filename, headers, answer.body)
