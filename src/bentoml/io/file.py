"""File: the bytes of one uploaded file, as a file-like object."""

from __future__ import annotations

import io
import mimetypes
import os
import re
from typing import Any, BinaryIO

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml.exceptions import BadInput, InternalServerError, InvalidArgument, UnsupportedMediaType
from bentoml.io._form import FORM, file_name, media_type, uploads
from bentoml.io.descriptor import IODescriptor

__all__ = ["File", "Upload"]

_UNKNOWN = "application/octet-stream"


class Upload(io.BytesIO, BinaryIO):
    """What the API function receives: a binary file in memory.

    Attributes:
        name: the base name that the client gave the file, for showing; None where it gave none. It is what a stranger
            wrote, so it is no path to open.
        content_type: as sent, in lower case and without parameters; empty where the client sent none.
    """

    name: str | None = None

    def __init__(self, content: bytes, *, name: str | None = None, content_type: str = "") -> None:
        super().__init__(content)
        self.name = name
        self.content_type = content_type


class BytesIOFile(IODescriptor[Any], descriptor_id="bentoml.io.File"):
    """A file of any kind, as the body or as a part of `multipart/form-data`.

    The API function receives an `Upload`, which is an `io.BytesIO`. It returns bytes, or a file-like object whose
    `read()` gives them.

    Args:
        kind: `"binaryio"`, the only one there is.
        mime_type: the content type that the file must have, and that of the answer; None takes every type, and
            answers with `application/octet-stream`.

    Raises:
        ValueError: another `kind`.
        InvalidArgument: `mime_type` is no media type.
    """

    offloads = True

    def __init__(self, kind: str = "binaryio", mime_type: str | None = None) -> None:
        if kind != "binaryio":
            raise ValueError(f"File: kind must be 'binaryio', not {kind!r}")
        if mime_type is not None and re.fullmatch(r"[\w.+-]+/[\w.+-]+", mime_type, re.ASCII) is None:
            raise InvalidArgument(f"File: {mime_type!r} is no media type", hint='for instance mime_type="text/csv"')
        self._wanted = None if mime_type is None else mime_type.lower()
        self.mime_type = self._wanted or _UNKNOWN

    def from_http_request(self, request: Request) -> Upload:
        """The body, or the first fitting file of a form.

        Raises:
            UnsupportedMediaType: the body has another type than the file must have.
            BadInput: the form is malformed or has no such file.
        """
        for upload in uploads(request):
            content_type = media_type(upload)
            if self._wanted in (None, content_type):
                return Upload(upload.body, name=file_name(upload), content_type=content_type)
        wanted = f"a file of type {self._wanted}" if self._wanted else "a file"
        if media_type(request) == FORM:
            raise BadInput(f"File: the form has no part that is {wanted}", hint="curl -F 'file=@path;type=…'")
        raise UnsupportedMediaType(
            f"File: expected {wanted}, but the content type is {media_type(request)[:100]!r}",
            hint=f"send the header content-type: {self._wanted}",
        )

    def to_http_response(self, value: Any, context: Context | None) -> Response:
        """The bytes, or what `read()` gives, as the body.

        Raises:
            InternalServerError: the value is neither.
        """
        body = value.read() if hasattr(value, "read") else value
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise InternalServerError(
                f"File: the API function returned {type(value).__name__}, not bytes or a binary file",
                hint="open files with 'rb'; encode text",
            )
        return self.respond(bytes(body), self.mime_type.encode("ascii"), context)

    def input_type(self) -> type[Upload]:
        """`Upload`, an `io.BytesIO` and `typing.BinaryIO`."""
        return Upload

    def openapi_schema(self) -> dict[str, Any]:
        """A string of bytes."""
        return {"type": "string", "format": "binary"}

    def openapi_example(self) -> None:
        """None: a document holds no bytes."""

    def to_spec(self) -> dict[str, Any]:
        """The arguments."""
        return {"id": self.descriptor_id, "args": {"kind": "binaryio", "mime_type": self._wanted}}

    @classmethod
    def from_sample(cls, sample: Any, **arguments: Any) -> BytesIOFile:
        """A descriptor for files like the sample.

        Args:
            sample: a path, by whose ending the `mime_type` is guessed; bytes; or an open binary file.

        Raises:
            BadInput: the sample is none of these, or cannot be read.
        """
        if isinstance(sample, (str, os.PathLike)):
            arguments.setdefault("mime_type", mimetypes.guess_type(os.fspath(sample))[0])
        return super().from_sample(sample, **arguments)

    def _from_sample(self, sample: Any) -> bytes:
        try:
            if isinstance(sample, (str, os.PathLike)):
                with open(sample, "rb") as file:
                    return file.read()
            content = sample.read() if hasattr(sample, "read") else sample
        except (OSError, ValueError) as error:
            raise BadInput(f"File: the sample cannot be read: {error}") from error
        if not isinstance(content, bytes):
            raise BadInput(f"File: {sample!r} is no sample", hint="give a path, bytes, or a file opened with 'rb'")
        return content


#: BentoML 1.x makes a `BytesIOFile` of every `File(…)`, and shows that name.
File = BytesIOFile
