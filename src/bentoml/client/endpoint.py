"""Endpoint: one API as the OpenAPI document of its server describes it; value → request, answer → value."""

from __future__ import annotations

import difflib
import json
import mimetypes
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bentoml._http import RawHeader, Request, Response
from bentoml._importing import is_installed, require
from bentoml.exceptions import BadInput, BentoMLException, InternalServerError, InvalidArgument, NotFound
from bentoml.io import IODescriptor, from_spec

__all__ = ["Encoded", "Endpoint", "endpoint_named", "endpoints_of"]

_SERVICE_TAG: Final = "Service APIs"
_SPEC: Final = "x-bentoml-io-descriptor"
#: Forms in which tables and arrays travel many times faster than as JSON, and the library that reads and writes them;
#: used where both sides know them.
_BINARY: Final = (("application/vnd.apache.arrow.stream", "pyarrow"), ("application/x-npy", "numpy"))
_IMAGE: Final = "bentoml.io.Image"
_MULTIPART: Final = "bentoml.io.Multipart"
#: Loses nothing of an image on its way.
_LOSSLESS: Final = "image/png"


@dataclass(frozen=True)
class Encoded:
    """The body of a request, and the headers that describe it."""

    body: bytes
    headers: dict[str, str]


class Endpoint:
    """One API of a server.

    Attributes:
        name: by which it is called.
        path: where it is, percent-encoded.
        doc: what the service says of it.
    """

    def __init__(self, path: str, operation: Mapping[str, Any]) -> None:
        try:
            self.name: str = operation["x-bentoml-name"]
            request, answer = operation["requestBody"], operation["responses"]["200"]
            self._input_spec, self._output_spec = request[_SPEC], answer[_SPEC]
            self._request_types, self._answer_types = list(request["content"]), list(answer["content"])
            known = isinstance(self.name, str) and all(isinstance(spec["id"], str) for spec in self._specs)
        except (KeyError, TypeError) as error:
            raise _malformed(f"the operation of {path} lacks {error}") from None
        if not known:
            raise _malformed(f"the operation of {path} has no name or no descriptors")
        self.path = quote(path, safe="/:@!$&'()*+,;=~%")
        self.doc = str(operation.get("description") or "")

    @property
    def _specs(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self._input_spec, self._output_spec

    # Made at the first call: the descriptors of other APIs may need libraries that are not installed here.

    @cached_property
    def input(self) -> IODescriptor[Any]:
        """The descriptor that writes requests.

        Raises:
            MissingDependencyException: it needs a library that is not installed.
        """
        return _descriptor(_sending(self._input_spec))

    @cached_property
    def output(self) -> IODescriptor[Any]:
        """The descriptor that reads answers; raises as `input`."""
        return _descriptor(self._output_spec)

    @cached_property
    def accept(self) -> str:
        """The `Accept` header of its requests."""
        binary = _binary_type(self._answer_types) if self.output.negotiates else None
        return "*/*" if binary is None else f"{binary}, */*;q=0.1"

    def is_slow_to_encode(self, value: Any) -> bool:
        """Whether `encode` may take more than a millisecond."""
        return isinstance(value, Path) or self.input.offloads

    @property
    def is_text(self) -> bool:
        """Whether its answers are text, which a stream decodes."""
        return bool(self._output_spec["id"] == "bentoml.io.Text")

    def value_of(self, args: tuple[Any, ...], fields: Mapping[str, Any]) -> Any:
        """The one value that the arguments of a call stand for.

        Raises:
            InvalidArgument: they are not those of this API.
        """
        expected = self._input_spec["args"] if self._input_spec["id"] == _MULTIPART else None
        if expected is None:
            if len(args) == 1 and not fields:
                return args[0]
            if not args and fields.keys() == {"inp"}:  # what BentoML calls it
                return fields["inp"]
            raise InvalidArgument(
                f"{self.name} takes one value, not {_counted(args, fields)}", hint=f"client.{self.name}(value)"
            )
        if args or fields.keys() != expected.keys():
            names = ", ".join(f"{name}=…" for name in expected)
            raise InvalidArgument(
                f"{self.name} takes the fields of its form as keyword arguments, not {_counted(args, fields)}",
                hint=f"client.{self.name}({names})",
            )
        return dict(fields)

    def encode(self, value: Any) -> Encoded:
        """The request that carries a value; a `pathlib.Path` is sent as the file that it names.

        Raises:
            InvalidArgument: the descriptor cannot send it.
            MissingDependencyException: a library that the descriptor needs is not installed.
        """
        if isinstance(value, Path):
            guessed = mimetypes.guess_type(value.name)[0] or "application/octet-stream"
            return Encoded(value.read_bytes(), {"content-type": guessed, "accept": self.accept})
        if value is None and self._input_spec["id"] == "bentoml.io.JSON":
            # As an answer None is an empty body; as a request that is no JSON.
            return Encoded(b"null", {"content-type": "application/json", "accept": self.accept})
        try:
            response = self._written(value)
        except InternalServerError as error:
            said = error.message.replace("the API function returned", "the call was given")
            raise InvalidArgument(f"{self.name}: the value cannot be sent: {said}") from error
        if not isinstance(response.body, bytes):
            raise InvalidArgument(f"{self.name}: a stream cannot be sent", hint="join its items")
        return Encoded(response.body, {"content-type": response.content_type.decode("latin-1"), "accept": self.accept})

    def _written(self, value: Any) -> Response:
        write: Any = self.input.to_http_response
        binary = _binary_type(self._request_types) if self.input.negotiates else None
        if binary is not None:
            try:
                response: Response = write(value, None, accept=binary.encode("ascii"))
                return response
            except BentoMLException:
                pass  # a table with columns of mixed types, for one, has a form in JSON alone
        response = write(value, None)
        return response

    def decode(self, body: bytes, headers: Iterable[RawHeader]) -> Any:
        """The value in an answer; something to await where the descriptor reads asynchronously.

        Raises:
            BentoMLException: the body is none that the descriptor reads.
        """
        if not body and self._output_spec["id"] == "bentoml.io.JSON":
            return None
        request = Request(body=body, raw_headers=[(name.lower(), value) for name, value in headers])
        try:
            return self.output.from_http_request(request)
        except BadInput as error:
            # In arrays of numbers servers write what no other JSON may hold, and none takes as input.
            if self._output_spec["id"] == "bentoml.io.NumpyNdarray" and (b"NaN" in body or b"Infinity" in body):
                return require("numpy").asarray(json.loads(body))
            raise BentoMLException(f"{self.name}: the answer cannot be read: {error.message}") from error


def endpoints_of(document: Any) -> dict[str, Endpoint]:
    """The APIs of a service by name, in the order of its OpenAPI document.

    Raises:
        BentoMLException: the document is not that of a service; begins with `Malformed`.
    """
    paths = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(paths, dict):
        raise _malformed("it has no paths")
    found: dict[str, Endpoint] = {}
    for path, item in paths.items():
        operation = item.get("post") if isinstance(item, dict) else None
        if isinstance(operation, dict) and _SERVICE_TAG in (operation.get("tags") or ()):
            endpoint = Endpoint(path, operation)
            found[endpoint.name] = endpoint
    return found


def endpoint_named(name: str, endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """The API of that name.

    Raises:
        NotFound: there is none; names one that may be meant.
    """
    endpoint = endpoints.get(name)
    if endpoint is None:
        near = difflib.get_close_matches(name, endpoints, n=1)
        raise NotFound(
            f"the service has no API {name!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(endpoints) or 'none'}",
        )
    return endpoint


def _malformed(reason: str) -> BentoMLException:
    return BentoMLException(f"Malformed OpenAPI document at /docs.json: {reason}", hint="is it a BentoML service?")


def _descriptor(spec: Mapping[str, Any]) -> IODescriptor[Any]:
    with warnings.catch_warnings():
        # A pydantic model of the server does not travel: its values go in and come out as plain ones.
        warnings.simplefilter("ignore")
        return from_spec(spec)


def _sending(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec of a descriptor as one that writes requests: images go in a form that the API takes."""
    arguments = spec.get("args")
    if not isinstance(arguments, Mapping):
        return spec
    if spec["id"] == _MULTIPART:
        return {**spec, "args": {name: _sending(field) for name, field in arguments.items()}}
    allowed = arguments.get("allowed_mime_types")
    if spec["id"] == _IMAGE and allowed:
        chosen = next((each for each in (_LOSSLESS, arguments.get("mime_type")) if each in allowed), allowed[0])
        return {**spec, "args": {**arguments, "mime_type": chosen}}
    return spec


def _binary_type(types: Iterable[str]) -> str | None:
    """The fastest form among the media types of an operation that can be read and written here."""
    return next((each for each, library in _BINARY if each in types and is_installed(library)), None)


def _counted(args: tuple[Any, ...], fields: Mapping[str, Any]) -> str:
    said = [f"{len(args)} positional"] if args else []
    said += [", ".join(fields)] if fields else []
    return " and ".join(said) or "nothing"
