"""JSON: one JSON document, free or of a declared type."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from typing import Any

import msgspec

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml.exceptions import BadInput, InvalidArgument
from bentoml.io._json_body import parse
from bentoml.io._json_output import encode, encoder_of
from bentoml.io._json_types import is_pydantic_model, plan
from bentoml.io.descriptor import IODescriptor

__all__ = ["JSON"]


class JSON(IODescriptor[Any], descriptor_id="bentoml.io.JSON"):
    """One JSON document; the content type of a request is not looked at.

    As input, the API function receives dict, list, str, numbers, bool or None; with a type, an instance of
    it. As output, it returns anything that has a JSON form, whatever the declared type; None becomes an
    empty body.

    Args:
        pydantic_model: a class derived from pydantic's BaseModel.
        type: any type to validate with instead: a dataclass, TypedDict, msgspec.Struct, `list[float]`, a
            pydantic model or TypeAdapter. Where pydantic is part of it pydantic validates, else msgspec.
        json_encoder: the `json.JSONEncoder` class that writes responses, instead of the fast encoder.
        validate_json: has no effect.

    Raises:
        InvalidArgument: the type cannot be validated, or both kinds of type are given.
    """

    mime_type = "application/json"

    def __init__(
        self,
        *,
        pydantic_model: Any = None,
        validate_json: bool | None = None,
        json_encoder: type[json.JSONEncoder] | None = None,
        type: Any = None,
    ) -> None:
        if validate_json is not None:
            warnings.warn(
                "JSON(validate_json=…) has no effect: input is always validated",
                DeprecationWarning,
                stacklevel=2,
            )
        if pydantic_model is not None and type is not None:
            raise InvalidArgument("JSON: pydantic_model and type both name the type", hint="give one of them")
        if pydantic_model is not None and not is_pydantic_model(pydantic_model):
            raise InvalidArgument(
                f"JSON: pydantic_model must be a class derived from BaseModel, not {pydantic_model!r}",
                hint="the BaseModel of pydantic 2; type=… takes every other type",
            )
        self.type = type if pydantic_model is None else pydantic_model
        self._plan = None if self.type is None else plan(self.type)
        self._validate = None if self._plan is None else self._plan.validate
        self._has_json_encoder = json_encoder is not None
        self._encode = encode if json_encoder is None else encoder_of(json_encoder)

    def from_http_request(self, request: Request) -> Any:
        """The document, or the instance of the declared type.

        Raises:
            BadInput: no JSON, or not of the type; the message starts with `Invalid JSON input received: ` and
                has one line per problem, which names the field and the rule.
        """
        body = request.body
        value = parse(body)
        return value if self._validate is None else self._validate(value, body)

    def to_http_response(self, value: Any, context: Context | None) -> Response:
        """The value as compact JSON.

        Raises:
            InternalServerError: it has no JSON form; NaN and Infinity have none.
        """
        body = b"" if value is None else self._encode(value)
        return self.respond(body, b"application/json", context)

    def input_type(self) -> Any:
        """The declared type, else Any."""
        return Any if self.type is None else self.type

    def openapi_schema(self) -> dict[str, Any]:
        """The schema of the declared type, an object without one."""
        return {"type": "object"} if self._plan is None else self._plan.schema

    def _openapi_response_content(self) -> dict[str, Any]:
        content = self._openapi_content()
        if self._plan is None:
            # Lists and numbers as well; of a schema without a type Swagger UI would show a string as the example.
            content[self.mime_type] = {"example": {}, **content[self.mime_type], "schema": {}}
        return content

    def openapi_components(self) -> dict[str, Any]:
        """The schemas of the models that make up the declared type."""
        return {} if self._plan is None else self._plan.components

    def openapi_example(self) -> Any:
        """The sample as a JSON document."""
        return None if self.sample is None else parse(self._encode(self.sample))

    def to_spec(self) -> dict[str, Any]:
        """Whether there are a type and an encoder; neither can be made again from a document."""
        arguments = {"has_pydantic_model": self.type is not None, "has_json_encoder": self._has_json_encoder}
        return {"id": self.descriptor_id, "args": arguments}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> JSON:
        """A descriptor without a type or an encoder; warns where the spec had one."""
        arguments = dict(spec.get("args") or {})
        lost = [name for name in ("has_pydantic_model", "has_json_encoder") if arguments.pop(name, False)]
        if lost:
            warnings.warn(
                f"{cls.__name__}: a spec does not carry what {', '.join(lost)} stands for; leaving it out",
                stacklevel=2,
            )
        return super().from_spec({**spec, "args": arguments} if "args" in spec else spec)

    @classmethod
    def from_sample(cls, sample: Any, **arguments: Any) -> JSON:
        """A descriptor whose type is that of the sample.

        Args:
            sample: a pydantic model, dataclass or msgspec struct, whose class becomes the type; a dict or
                list; or JSON as str or bytes.

        Raises:
            BadInput: the sample is none of these.
        """
        if isinstance(sample, (str, bytes)):
            sample = parse(sample if isinstance(sample, bytes) else sample.encode("utf-8", "replace"))
        elif not isinstance(sample, (dict, list)) and not arguments.keys() & {"type", "pydantic_model"}:
            if not _is_record(sample):
                raise BadInput(
                    f"JSON: {type(sample).__name__} is no sample",
                    hint="give a pydantic model, dataclass, msgspec struct, dict, list, or JSON text",
                )
            arguments["type"] = type(sample)
        return super().from_sample(sample, **arguments)


def _is_record(value: Any) -> bool:
    return (
        is_pydantic_model(type(value))
        or isinstance(value, msgspec.Struct)
        or (dataclasses.is_dataclass(value) and not isinstance(value, type))
    )
