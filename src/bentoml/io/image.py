"""Image: one picture in any of the formats that the API allows."""

from __future__ import annotations

import io
import os
from collections.abc import Container, Iterable, Sequence
from typing import Any, Final

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml._importing import loaded, require
from bentoml.exceptions import (
    BadInput,
    InternalServerError,
    InvalidArgument,
    PayloadTooLarge,
    UnprocessableEntity,
)
from bentoml.io._form import FORM, media_type, uploads
from bentoml.io.descriptor import IODescriptor

__all__ = ["Image"]

#: 200 MB in memory at four bytes per pixel: beyond what cameras of phones make, far below what a bomb unfolds to.
MAX_PIXELS: Final = 50_000_000

#: What is taken unless the API says otherwise: formats of the web, whose decoders the whole world attacks and mends.
#: Pillow has some thirty more, most of them for files of other centuries. The commonest first: tools offer that one.
DEFAULT_MIME_TYPES: Final[tuple[str, ...]] = (
    "image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/bmp", "image/tiff",
)  # fmt: skip

#: Reading PostScript starts Ghostscript on what a stranger wrote.
_NEVER_READ = frozenset({"EPS"})
_SYNONYMS = {"image/jpg": "image/jpeg"}
#: A client that does not know says one of these; the decoder finds out, among the allowed formats.
_UNKNOWN = ("", "application/octet-stream")
#: Modes whose pixels have the same bytes as the mode that Pillow sees in an array.
_SAME_BYTES = {
    "L": ("P",), "LA": ("La", "PA"), "RGB": ("YCbCr", "LAB", "HSV"), "RGBA": ("RGBa", "RGBX", "CMYK"),
}  # fmt: skip
#: What the encoders of Pillow raise for an image that their format cannot hold.
_UNWRITABLE = (OSError, OverflowError, RuntimeError, ValueError)


class Image(IODescriptor[Any], descriptor_id="bentoml.io.Image"):
    """An image, as the body or as a part of `multipart/form-data`.

    The API function receives a `PIL.Image.Image`, decoded, in the mode that it was sent in. It returns one, or an
    array of shape (height, width) or (height, width, channels) and dtype uint8. Decoding and encoding happen in a
    thread. `pip install 'makunouchi[image]'` installs Pillow.

    Args:
        pilmode: Pillow's name of a mode. An array is read in it where its shape leaves that open, as with `"HSV"`;
            and an answer is converted to it, or else to RGB, that `mime_type` cannot hold, as JPEG no transparency.
        mime_type: of the answer.
        allowed_mime_types: of requests; the body is decoded as one of these formats, whatever its header says. A
            client that does not know sends none, or `application/octet-stream`. The default are AVIF (if this Pillow
            has it), BMP, GIF, JPEG, PNG, TIFF and WebP. PostScript is never read.
        max_pixels: width times height of the largest image that is decoded; known from its header before that. The
            limits of Pillow itself, which warns from 89 million pixels and refuses from twice as many, hold as well.

    Raises:
        MissingDependencyException: Pillow is not installed.
        InvalidArgument: Pillow does not know the mode, does not write `mime_type`, or does not read an allowed type.
    """

    offloads = True

    def __init__(
        self,
        pilmode: str = "RGB",
        mime_type: str = "image/jpeg",
        *,
        allowed_mime_types: Sequence[str] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._pil = pil = require("PIL.Image", install="'makunouchi[image]'", what="bentoml.io.Image")
        pil.init()  # else only the five commonest formats are registered
        if pilmode not in pil.MODES:
            raise InvalidArgument(
                f"Image: {pilmode!r} is no mode of Pillow", hint=f"one of {', '.join(sorted(pil.MODES))}"
            )
        if max_pixels < 1:
            raise InvalidArgument(f"Image: max_pixels must be 1 or more, not {max_pixels}")
        written = _formats_by_type(pil, pil.SAVE)
        read = _formats_by_type(pil, pil.OPEN.keys() - _NEVER_READ)
        self.pilmode = pilmode
        self.max_pixels = max_pixels
        self.mime_type = _canonical(mime_type)
        if self.mime_type not in written:
            raise InvalidArgument(f"Image: Pillow does not write {mime_type!r}", hint=f"one of {_listed(written)}")
        self._format = written[self.mime_type][0]
        if allowed_mime_types is None:
            self.allowed_mime_types = tuple(mime for mime in DEFAULT_MIME_TYPES if mime in read)
        else:
            self.allowed_mime_types = tuple(map(_canonical, allowed_mime_types))
            unknown = [mime for mime in self.allowed_mime_types if mime not in read]
            if unknown or not self.allowed_mime_types:
                raise InvalidArgument(
                    f"Image: allowed_mime_types must name types that are read here, not {_listed(unknown) or 'none'}",
                    hint=f"some of {_listed(read)}",
                )
        self._formats = [name for mime in self.allowed_mime_types for name in read[mime]]

    def from_http_request(self, request: Request) -> Any:
        """The image, decoded; of several in a form the first one of an allowed type.

        Raises:
            BadInput: the content type is not allowed, the form has no such image, or the image is none, damaged or cut
                off.
            PayloadTooLarge: it has more than `max_pixels`.
        """
        for upload in uploads(request):
            content_type = _canonical(media_type(upload))
            if content_type in self.allowed_mime_types or content_type in _UNKNOWN:
                return self._decoded(upload.body)
        allowed = _listed(self.allowed_mime_types)
        if media_type(request) == FORM:
            raise BadInput(
                f"Image: the form has no image of an allowed type: {allowed}",
                hint="curl -F 'image=@path;type=image/png'",
            )
        # Not a 415, as `File` answers: of an image clients of BentoML 1.x expect a 400.
        raise BadInput(
            f"Image: the content type {media_type(request)[:100]!r} is not allowed; allowed are {allowed}",
            hint="curl -H 'content-type: image/png' --data-binary @path",
        )

    def _decoded(self, body: bytes) -> Any:
        pil = self._pil
        try:
            image = pil.open(io.BytesIO(body), formats=self._formats)
            if image.width * image.height <= self.max_pixels:
                image.load()  # now, not in the function of the user, which could not answer for what is broken
                return image
        except (pil.DecompressionBombError, pil.DecompressionBombWarning):
            pass
        except pil.UnidentifiedImageError:
            raise BadInput(f"Image: the body is none of {_listed(self.allowed_mime_types)}") from None
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the border to decoders of strange bytes, which raise anything
            raise BadInput("Image: the image is damaged or cut off") from None
        raise PayloadTooLarge(
            f"Image: the image has more than {self.max_pixels} pixels, the most that this API takes",
            hint="make it smaller",
        )

    def to_http_response(self, value: Any, context: Context | None) -> Response:
        """The image in the format of `mime_type`, as a file to be saved unless the function said otherwise.

        Raises:
            InternalServerError: the value is no image.
            UnprocessableEntity: it is wider or higher than the format can hold.
        """
        response = self.respond(self._encoded(self._as_image(value)), self.mime_type.encode("ascii"), context)
        if not any(name == b"content-disposition" for name, _ in response.raw_headers):
            disposition = f'attachment; filename="output.{self._format.lower()}"'.encode("ascii")
            response.raw_headers.append((b"content-disposition", disposition))
        return response

    def _as_image(self, value: Any) -> Any:
        if isinstance(value, self._pil.Image):
            return value
        numpy = loaded("numpy")
        if numpy is None or not isinstance(value, numpy.ndarray):
            raise InternalServerError(
                f"Image: the API function returned {type(value).__name__}, not a PIL image or an array",
                hint="PIL.Image.fromarray(…) makes an image",
            )
        try:
            image = self._pil.fromarray(value)
        except (TypeError, ValueError) as error:
            raise InternalServerError(
                f"Image: an array of shape {value.shape} and dtype {value.dtype} is no image: {error}",
                hint="shape (height, width) or (height, width, 3), dtype uint8",
            ) from None
        if self.pilmode in _SAME_BYTES.get(image.mode, ()):
            return self._pil.frombytes(self.pilmode, image.size, image.tobytes())
        return image

    def _encoded(self, image: Any) -> bytes:
        try:
            return self._saved(image)
        except _UNWRITABLE:
            pass  # the format does not have this mode
        if image.mode.startswith("I;16"):  # Pillow would make all white what is brighter than 255 of 65535
            image = image.convert("I").point(lambda value: value / 256)
        for mode in (self.pilmode, "RGB"):
            try:
                return self._saved(image.convert(mode))
            except _UNWRITABLE as error:
                reason = error
        # What is RGB and still cannot be written has too many pixels in a row, or none: as a rule those of the input.
        raise UnprocessableEntity(
            f"Image: an image of {image.width} x {image.height} pixels cannot become {self.mime_type}: {reason}"
        ) from reason

    def _saved(self, image: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, format=self._format)
        return file.getvalue()

    def input_type(self) -> Any:
        """`PIL.Image.Image`."""
        return self._pil.Image

    def openapi_schema(self) -> dict[str, Any]:
        """A string of bytes."""
        return {"type": "string", "format": "binary"}

    def openapi_example(self) -> None:
        """None: a document holds no bytes."""

    def openapi_request_body(self) -> dict[str, Any]:
        """One entry for each allowed type."""
        content = {mime: {"schema": self.openapi_schema()} for mime in self.allowed_mime_types}
        return {**super().openapi_request_body(), "content": content}

    def to_spec(self) -> dict[str, Any]:
        """The arguments; `max_pixels` only where it is not the default."""
        arguments: dict[str, Any] = {
            "pilmode": self.pilmode,
            "mime_type": self.mime_type,
            "allowed_mime_types": list(self.allowed_mime_types),
        }
        if self.max_pixels != MAX_PIXELS:
            arguments["max_pixels"] = self.max_pixels
        return {"id": self.descriptor_id, "args": arguments}

    @classmethod
    def from_sample(cls, sample: Any, **arguments: Any) -> Image:
        """A descriptor that answers with images in the format of the sample.

        Args:
            sample: a path, a PIL image or an array.

        Raises:
            BadInput: the sample is no image.
        """
        pil = require("PIL.Image", install="'makunouchi[image]'", what="bentoml.io.Image")
        if isinstance(sample, (str, os.PathLike)):
            try:
                sample = pil.open(sample)
                sample.load()
            except (OSError, SyntaxError, ValueError) as error:
                raise BadInput(f"Image: the sample is no image: {error}") from error
        mime_type = pil.MIME.get(getattr(sample, "format", None))
        if mime_type is not None:
            arguments.setdefault("mime_type", mime_type)
        return super().from_sample(sample, **arguments)

    def _from_sample(self, sample: Any) -> Any:
        try:
            return self._as_image(sample)
        except InternalServerError as error:
            raise BadInput(error.message, hint=error.hint) from None


def _canonical(mime_type: str) -> str:
    lower = mime_type.lower()
    return _SYNONYMS.get(lower, lower)


def _formats_by_type(pil: Any, formats: Container[str]) -> dict[str, list[str]]:
    """Pillow's names of these formats by MIME type, some of which have several, as BMP and DIB."""
    by_type: dict[str, list[str]] = {}
    for name, mime in pil.MIME.items():
        if name in formats:
            by_type.setdefault(mime, []).append(name)
    return by_type


def _listed(types: Iterable[str]) -> str:
    return ", ".join(sorted(types))
