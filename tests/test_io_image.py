"""Image: pictures in the allowed formats, bounded before they are decoded."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml._context import Context
from bentoml._http import Request
from bentoml.exceptions import (
    BadInput,
    BentoMLException,
    InternalServerError,
    InvalidArgument,
    PayloadTooLarge,
    UnprocessableEntity,
)
from bentoml.io import Image, from_spec
from bentoml.io._form import Part, form_of
from bentoml.testing.descriptor import check_descriptor

PIL.Image.init()
#: Each MIME type that is taken by default, and the format that Pillow writes for it.
FORMATS = {"image/bmp": "BMP", "image/gif": "GIF", "image/jpeg": "JPEG", "image/png": "PNG", "image/tiff": "TIFF", "image/webp": "WEBP"}  # fmt: skip


def picture(mode: str = "RGB", size: tuple[int, int] = (8, 6), *, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    PIL.Image.new(mode, size).save(file, format)
    return file.getvalue()


def request(body: bytes, content_type: str = "image/png") -> Request:
    return Request(body=body, raw_headers=[(b"content-type", content_type.encode("latin-1"))])


def form(*parts: Part) -> Request:
    body, content_type = form_of(parts)
    return request(body, content_type.decode())


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says to be of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


GOOD = [
    request(picture(mode, format=name), mime)
    for mime, name in FORMATS.items()
    for mode in (("RGB",) if mime in ("image/jpeg", "image/webp", "image/bmp") else ("RGB", "P", "L"))
]
BAD = [
    request(b""),
    request(b"no image"),
    request(picture()[:-30]),
    request(picture(format="JPEG")[:-40], "image/jpeg"),
    request(picture(), "text/plain"),
    request(picture(), "image/x-tga"),
    request(bomb(20_000, 20_000)),
    request(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
    request(b"", "multipart/form-data; boundary=x"),
    form(Part("a", None, [], b"text")),
    form(Part("a", "a.txt", [(b"content-type", b"text/plain")], picture())),
]


@pytest.mark.parametrize("mime_type", FORMATS)
def test_image_keeps_the_contract_of_descriptors(mime_type: str) -> None:
    check_descriptor(Image(mime_type=mime_type), good_bodies=GOOD, bad_bodies=BAD)


_PIECES = st.one_of(st.binary(max_size=60), st.sampled_from([picture(format=name)[:40] for name in FORMATS.values()]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(_PIECES, max_size=4).map(b"".join),
    st.sampled_from([*FORMATS, "", "multipart/form-data; boundary=x", "text/plain"]),
)
def test_any_bytes_are_an_image_or_refused(body: bytes, content_type: str) -> None:
    _taken_or_refused(request(body, content_type))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FORMATS.values())), st.data())
def test_an_image_with_any_byte_changed_is_an_image_or_refused(name: str, data: st.DataObject) -> None:
    body = bytearray(picture(format=name))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    _taken_or_refused(request(bytes(body)))


def _taken_or_refused(request: Request) -> None:
    descriptor = Image(max_pixels=1_000_000)
    try:
        image = descriptor.from_http_request(request)
    except BentoMLException as error:
        assert 400 <= error.error_code < 500  # noqa: PT017 - or it was taken
    else:
        assert image.width * image.height <= 1_000_000
        assert PIL.Image.open(io.BytesIO(descriptor.to_http_response(image, None).body)).format == "JPEG"


@pytest.mark.parametrize("mime_type", FORMATS)
@pytest.mark.parametrize(
    "mode", ["1", "CMYK", "F", "I", "I;16", "L", "LA", "LAB", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"]
)
def test_an_image_of_any_mode_that_can_be_sent_in_can_be_sent_out(mode: str, mime_type: str) -> None:
    try:
        body = picture(mode, format=FORMATS[mime_type])
    except (OSError, ValueError):
        return  # no such file exists
    for out in FORMATS:
        descriptor = Image(mime_type=out)
        answer = descriptor.to_http_response(descriptor.from_http_request(request(body, mime_type)), None)
        assert PIL.Image.open(io.BytesIO(answer.body)).size == (8, 6)


# -- what is taken -----------------------------------------------------------------------------------------------------


def test_the_image_comes_decoded_and_in_its_own_mode() -> None:
    image = Image().from_http_request(request(picture("RGBA")))
    assert isinstance(image, PIL.Image.Image)
    assert (image.mode, image.size, image.format) == ("RGBA", (8, 6), "PNG")
    assert image.getpixel((7, 5)) == (0, 0, 0, 0)


@pytest.mark.parametrize("content_type", ["image/png; q=1", "IMAGE/PNG", "image/jpg", "application/octet-stream", ""])
def test_the_type_may_be_written_otherwise_or_be_unknown(content_type: str) -> None:
    assert Image().from_http_request(request(picture(), content_type)).size == (8, 6)


def test_only_the_allowed_types_are_taken_and_named() -> None:
    descriptor = Image(allowed_mime_types=["image/png", "image/JPG"])
    assert descriptor.from_http_request(request(picture(format="JPEG"), "image/jpeg")).format == "JPEG"
    expected = r"the content type 'image/gif' is not allowed; allowed are image/jpeg, image/png \(hint: curl"
    with pytest.raises(BadInput, match=expected):
        descriptor.from_http_request(request(picture(format="GIF"), "image/gif"))


def test_only_the_allowed_formats_are_tried_whatever_the_header_says() -> None:
    with pytest.raises(BadInput, match="Image: the body is none of image/png$"):
        Image(allowed_mime_types=["image/png"]).from_http_request(request(picture(format="GIF"), "image/png"))


def test_of_a_form_the_first_image_of_an_allowed_type_is_taken() -> None:
    parts = [
        Part("note", None, [], b"text"),
        Part("other", "a.gif", [(b"content-type", b"image/gif")], picture(size=(1, 1), format="GIF")),
        Part("image", "a.png", [(b"content-type", b"image/png")], picture()),
    ]
    descriptor = Image(allowed_mime_types=["image/png"])
    assert descriptor.from_http_request(form(*parts)).size == (8, 6)
    with pytest.raises(BadInput, match=r"the form has no image of an allowed type: image/png \(hint: curl -F"):
        descriptor.from_http_request(form(*parts[:2]))


def test_a_part_without_a_type_is_taken_for_what_it_is() -> None:
    assert Image().from_http_request(form(Part("image", "a", [], picture()))).format == "PNG"


@pytest.mark.parametrize("name", FORMATS.values())
def test_an_image_that_is_cut_off_is_refused(name: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(noise).save(file, name)
    with pytest.raises(BadInput, match="Image: the image is damaged or cut off|Image: the body is none of"):
        Image().from_http_request(request(file.getvalue()[: len(file.getvalue()) // 2]))


# -- bombs and decoders ------------------------------------------------------------------------------------------------


def test_an_image_of_too_many_pixels_is_a_413_and_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    for size in ((101, 100), (10_000, 10_000), (60_000, 60_000)):
        with pytest.raises(PayloadTooLarge, match=r"more than 10000 pixels, the most that this API takes \(hint: make"):
            Image(max_pixels=10_000).from_http_request(request(bomb(*size)))


def test_the_limit_is_inclusive() -> None:
    assert Image(max_pixels=48).from_http_request(request(picture())).size == (8, 6)
    with pytest.raises(PayloadTooLarge):
        Image(max_pixels=47).from_http_request(request(picture()))


def test_the_limits_of_pillow_are_left_alone() -> None:
    before = PIL.Image.MAX_IMAGE_PIXELS
    Image(max_pixels=5)
    assert before == PIL.Image.MAX_IMAGE_PIXELS


def test_postscript_is_never_read() -> None:
    with pytest.raises(
        InvalidArgument, match=r"types that are read here, not application/postscript \(hint: some of im"
    ):
        Image(allowed_mime_types=["image/png", "application/postscript"])


def test_no_format_is_tried_by_default_but_those_of_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    for name, (factory, _accept) in list(PIL.Image.OPEN.items()):
        monkeypatch.setitem(PIL.Image.OPEN, name, (factory, lambda prefix, name=name: tried.append(name)))
    with pytest.raises(BadInput):
        Image().from_http_request(request(picture()))
    assert set(tried) - {"AVIF"} == {*FORMATS.values(), "DIB"}


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_an_answer_is_a_file_to_be_saved() -> None:
    response = Image().to_http_response(PIL.Image.new("RGB", (2, 2)), None)
    assert response.content_type == b"image/jpeg"
    assert response.raw_headers == [(b"content-disposition", b'attachment; filename="output.jpeg"')]
    assert response.body[:2] == b"\xff\xd8"


def test_the_function_may_name_the_file_itself() -> None:
    context = Context(Request())
    context.response.headers["Content-Disposition"] = "inline"
    response = Image().to_http_response(PIL.Image.new("RGB", (2, 2)), context)
    assert response.raw_headers == [(b"content-disposition", b"inline")]


@pytest.mark.parametrize(
    ("shape", "dtype", "mode"),
    [
        ((6, 8, 3), "uint8", "RGB"),
        ((6, 8), "uint8", "L"),
        ((6, 8, 4), "uint8", "RGBA"),
        ((6, 8), "bool", "1"),
        ((6, 8), "float32", "F"),
    ],
)
def test_an_array_is_an_image(shape: tuple[int, ...], dtype: str, mode: str) -> None:
    descriptor = Image(mime_type="image/tiff")
    answer = descriptor.to_http_response(np.ones(shape, dtype), None)
    image = PIL.Image.open(io.BytesIO(answer.body))
    assert (image.mode, image.size) == (mode, (8, 6))


def test_the_mode_says_how_to_read_an_array() -> None:
    red = np.full((1, 1, 3), [0, 255, 255], np.uint8)  # hue, saturation, value
    answer = Image(pilmode="HSV", mime_type="image/png").to_http_response(red, None)
    assert PIL.Image.open(io.BytesIO(answer.body)).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_an_array_in_another_order_or_cut_out_is_sent_as_it_looks() -> None:
    array = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    for view in (array[:, ::-1], np.asfortranarray(array), array[1:5, 2:7]):
        answer = Image(mime_type="image/png").to_http_response(view, None)
        assert np.array_equal(np.asarray(PIL.Image.open(io.BytesIO(answer.body))), view)


def test_sixteen_bits_are_scaled_where_only_eight_can_be_sent() -> None:
    answer = Image().to_http_response(PIL.Image.new("I;16", (8, 8), 0x8000), None)
    assert abs(PIL.Image.open(io.BytesIO(answer.body)).convert("L").getpixel((4, 4)) - 128) <= 1


@pytest.mark.parametrize("value", [None, b"bytes", [[0]], 5])
def test_what_is_no_image_is_an_error_of_the_service(value: Any) -> None:
    with pytest.raises(InternalServerError, match=rf"returned {type(value).__name__}, not a PIL image or an array"):
        Image().to_http_response(value, None)


def test_an_array_that_is_no_image_is_an_error_of_the_service() -> None:
    with pytest.raises(
        InternalServerError, match=r"an array of shape \(2, 2, 7\) and dtype float64 is no image: .*hint: shape"
    ):
        Image().to_http_response(np.zeros((2, 2, 7)), None)


@pytest.mark.parametrize(("mode", "mime_type"), [("L", "image/jpeg"), ("RGBA", "image/webp"), ("F", "image/gif")])
def test_an_image_too_long_for_its_format_is_a_422(mode: str, mime_type: str) -> None:
    with pytest.raises(UnprocessableEntity, match=f"an image of 70000 x 1 pixels cannot become {mime_type}: "):
        Image(mime_type=mime_type).to_http_response(PIL.Image.new(mode, (70_000, 1)), None)


# -- the constructor ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pilmode": "RGB24"}, r"'RGB24' is no mode of Pillow \(hint: one of 1, CMYK, F"),
        ({"mime_type": "image/nothing"}, r"Pillow does not write 'image/nothing' \(hint: one of application/pdf"),
        ({"mime_type": "video/mpeg"}, "Pillow does not write 'video/mpeg'"),
        ({"allowed_mime_types": ["image/png", "text/plain"]}, "read here, not text/plain"),
        ({"allowed_mime_types": ["application/pdf"]}, "read here, not application/pdf"),
        ({"allowed_mime_types": []}, "read here, not none"),
        ({"max_pixels": 0}, "max_pixels must be 1 or more, not 0"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Image(**arguments)


def test_the_spec_holds_the_arguments() -> None:
    spec = Image("L", "image/png", allowed_mime_types=["image/png"], max_pixels=5).to_spec()
    assert spec == {
        "id": "bentoml.io.Image",
        "args": {"pilmode": "L", "mime_type": "image/png", "allowed_mime_types": ["image/png"], "max_pixels": 5},
    }
    assert from_spec(spec).to_spec() == spec
    assert "max_pixels" not in Image().to_spec()["args"]


def test_the_document_has_an_entry_for_each_allowed_type() -> None:
    descriptor = Image(mime_type="image/webp", allowed_mime_types=["image/png", "image/jpeg"])
    schema = {"schema": {"type": "string", "format": "binary"}}
    assert descriptor.openapi_request_body()["content"] == {"image/png": schema, "image/jpeg": schema}
    assert descriptor.openapi_responses()["content"] == {"image/webp": schema}


def test_a_sample_gives_the_type_of_the_answer(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    made = Image.from_sample(str(tmp_path / "a.png"))
    assert (made.mime_type, made.sample.size, made.openapi_example()) == ("image/png", (8, 6), None)
    assert Image.from_sample(tmp_path / "a.png", mime_type="image/webp").mime_type == "image/webp"
    assert Image.from_sample(np.zeros((2, 2, 3), np.uint8)).mime_type == "image/jpeg"


@pytest.mark.parametrize("sample", ["/nowhere/a.png", __file__, 5, np.zeros((2, 2, 7))])
def test_a_sample_that_is_no_image_is_refused(sample: Any) -> None:
    with pytest.raises(BadInput, match="Image: "):
        Image.from_sample(sample)


def test_the_api_function_receives_images_of_pillow() -> None:
    assert Image().input_type() is PIL.Image.Image
    assert Image.offloads


def test_without_pillow_the_message_says_what_to_install() -> None:
    code = """
import sys
sys.modules["PIL"] = None
from bentoml.io import Image
try:
    Image()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "MissingDependencyException bentoml.io.Image needs the library 'PIL', which is not installed "
        "(hint: pip install 'makunouchi[image]')\n"
    )
