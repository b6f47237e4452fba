"""Every descriptor of a service written for BentoML 1.x, over HTTP: the bytes and statuses that its clients expect."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bentoml.testing import async_request, parse_multipart_form
from tests._server import Answer, Server

JSON = {"Content-Type": "application/json"}


def picture(image_format: str = "bmp", color: tuple[int, int, int] = (40, 80, 120)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10), color).save(buffer, image_format)
    return buffer.getvalue()


def form(*parts: tuple[str, str, bytes], boundary: str = "b0undary") -> tuple[dict[str, str], bytes]:
    """The header and body of a form whose parts are (disposition, content type, content)."""
    written = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\n%b\r\n%b\r\n"
        % (
            boundary.encode(),
            disposition.encode(),
            f"Content-Type: {content_type}\r\n".encode() if content_type else b"",
            content,
        )
        for disposition, content_type, content in parts
    )
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, written + f"--{boundary}--\r\n".encode()


def media_type(answer: Answer) -> str:
    return answer.headers["content-type"].partition(";")[0]


# JSON


@pytest.mark.parametrize("path", ["/echo_json", "/echo_json_sync"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream", None])
def test_json_is_echoed_without_a_space_whatever_its_content_type(
    e2e: Server, path: str, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = e2e.request("POST", path, b'{"a": 1, "b": 2}', headers)
    assert (answer.status, answer.body) == (200, b'{"a":1,"b":2}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == "13"


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"a": }'])
def test_a_body_that_is_no_json_is_a_400_with_the_prefix_that_clients_look_for(e2e: Server, body: bytes) -> None:
    answer = e2e.request("POST", "/echo_json", body, JSON)
    assert answer.status == 400
    assert answer.value.startswith("BentoService error handling API request: Invalid JSON input received: ")


def test_a_pydantic_model_is_validated_and_its_defaults_are_filled_in(e2e: Server) -> None:
    assert e2e.post("/pydantic_json", {"name": "test"}).body == b'{"name":"test","endpoints":null,"weight":1}'
    answer = e2e.post("/pydantic_json", {"name": "test", "endpoints": ["predict", "health"], "weight": 1.5})
    assert answer.body == b'{"name":"test","endpoints":["predict","health"],"weight":1.5}'


@pytest.mark.parametrize("value", [{}, {"name": ["x"]}, {"name": "x", "endpoints": 1}, [], None, "x"])
def test_what_the_pydantic_model_refuses_is_a_400(e2e: Server, value: Any) -> None:
    answer = e2e.post("/pydantic_json", value)
    assert answer.status == 400
    assert answer.value.startswith("BentoService error handling API request: Invalid JSON input received: ")


def test_an_instance_of_the_output_model_is_sent_as_its_fields(e2e: Server) -> None:
    answer = e2e.post("/api/v1/with_prefix", {"name": "x"})
    assert (answer.status, answer.value) == (200, {"name": "x", "endpoints": None, "weight": 1})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("ndarray", b"[[1,2],[3,4]]"),
        ("scalar", b"1.5"),
        ("query", b'{"name":"x","endpoints":null,"weight":1}'),
        ("frame", b'{"a":{"0":1,"1":2}}'),
        ("unicode", '{"text":"é"}'.encode()),
        ("none", b""),
    ],
)
def test_the_default_encoder_knows_what_models_return(e2e: Server, kind: str, body: bytes) -> None:
    answer = e2e.post("/json_of_anything", kind)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, body, "application/json")


def test_nan_is_no_json_and_a_500(e2e: Server) -> None:
    assert e2e.post("/json_of_anything", "nan").status == 500


# Text


@pytest.mark.parametrize("text", ["hello", "", "blåbær 🫐", "line\nline"])
def test_text_is_echoed(e2e: Server, text: str) -> None:
    answer = e2e.request("POST", "/echo_text", text.encode(), {"Content-Type": "application/whatever"})
    assert (answer.status, answer.body.decode(), media_type(answer)) == (200, text, "text/plain")
    assert int(answer.headers["content-length"]) == len(text.encode())


def test_text_that_is_no_utf_8_is_a_400(e2e: Server) -> None:
    assert e2e.request("POST", "/echo_text", b"\xff").status == 400


def test_a_stream_of_a_generator_arrives_as_the_same_text(e2e: Server) -> None:
    answer = e2e.post("/count_text_stream", {"count": 5})
    assert answer.status == 200
    assert answer.body == b"".join(b"data: %d\n\n" % i for i in range(5))
    assert media_type(answer) == "text/event-stream"
    assert answer.headers["transfer-encoding"] == "chunked"


def test_what_a_runner_streams_can_be_streamed_on(e2e: Server) -> None:
    answer = e2e.request("POST", "/predict_text_stream", b"one two three")
    assert (answer.status, answer.body, media_type(answer)) == (200, b"one two three ", "text/plain")


# NumpyNdarray


def test_an_array_is_answered_with_the_spaces_of_json_dumps(e2e: Server) -> None:
    answer = e2e.post("/predict_ndarray_multi_output", [[1, 2], [3, 4]])
    assert (answer.status, answer.body) == (200, b"[[4, 8], [12, 16]]")
    assert answer.headers["content-type"] == "application/json"


def test_the_output_takes_the_declared_shape_if_that_is_not_enforced(e2e: Server) -> None:
    answer = e2e.post("/predict_ndarray_enforce_shape", [[1, 2], [3, 4]])
    assert (answer.status, answer.body) == (200, b"[[2, 4, 6, 8]]")


@pytest.mark.parametrize("value", [[1, 2, 3, 4], [[1, 2, 3], [4, 5, 6]], [[[1, 2], [3, 4]]], 7])
def test_an_array_of_another_shape_is_refused_where_the_shape_is_enforced(e2e: Server, value: Any) -> None:
    answer = e2e.post("/predict_ndarray_enforce_shape", value)
    assert answer.status == 400
    assert 'NumpyNdarray: Expecting ndarray of shape "(2, 2)", but "' in answer.value
    assert answer.value.endswith('" was received.')


def test_the_dtype_is_enforced_on_the_way_in_and_taken_on_the_way_out(e2e: Server) -> None:
    answer = e2e.post("/predict_ndarray_enforce_dtype", [[2, 1], [4, 3]])
    assert (answer.status, answer.body) == (200, b'[["4", "2"], ["8", "6"]]')


@pytest.mark.parametrize("value", [[["2f", 1], [4, 3]], [[2.5, 1], [4, 3]]])
def test_an_array_of_another_dtype_is_refused_where_the_dtype_is_enforced(e2e: Server, value: Any) -> None:
    answer = e2e.post("/predict_ndarray_enforce_dtype", value)
    assert answer.status == 400


@pytest.mark.parametrize("body", [b"", b"[[1, 2], [3", b"[[1], [2, 3]]"])
def test_a_body_that_is_no_array_is_a_400_where_bentoml_answers_500(e2e: Server, body: bytes) -> None:
    assert e2e.request("POST", "/predict_ndarray_multi_output", body, JSON).status == 400


# Runners


def test_every_kind_of_runner_answers_in_every_way_it_can_be_called(e2e: Server) -> None:
    answer = e2e.post("/ndarray_by_every_runner", [[1, 2]])
    assert answer.value == {
        "partial": [[4, 8]],
        "double": [[2, 4]],
        "title": "times 2",
        "single": [[2, 3]],
        "method": [[3, 4]],
    }


def test_calls_of_a_runner_may_be_gathered(e2e: Server) -> None:
    assert e2e.post("/gathered", [1, 2, 3]).body == b"[11,12,13]"


# DataFrame and Series


FRAME = pd.DataFrame({"col1": [101]})


def test_a_frame_of_records_is_doubled(e2e: Server) -> None:
    answer = e2e.post("/predict_dataframe", [{"col1": 101}], JSON)
    assert (answer.status, answer.body) == (200, b'[{"col1":202}]')
    assert answer.headers["content-type"] == "application/json"


def test_a_frame_of_parquet_is_read_by_its_content_type(e2e: Server) -> None:
    buffer = io.BytesIO()
    FRAME.to_parquet(buffer)
    headers = {"Content-Type": "application/octet-stream"}
    answer = e2e.request("POST", "/predict_dataframe", buffer.getvalue(), headers)
    assert (answer.status, answer.body) == (200, b'[{"col1":202}]')


def test_a_frame_of_csv_is_read_by_its_content_type(e2e: Server) -> None:
    body = FRAME.to_csv().encode()
    answer = e2e.request("POST", "/predict_dataframe", body, {"Content-Type": "text/csv"})
    assert (answer.status, answer.body) == (200, b'[{"col1":202}]')


@pytest.mark.parametrize("content_type", [None, "text/plain"])
def test_a_frame_of_no_known_content_type_is_read_as_json(e2e: Server, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = e2e.request("POST", "/predict_dataframe", b'[{"col1": 101}]', headers)
    assert (answer.status, answer.body) == (200, b'[{"col1":202}]')


def test_a_series_is_a_flat_list(e2e: Server) -> None:
    assert e2e.post("/predict_series", [1, 2, 3]).body == b"[2,4,6]"


@pytest.mark.parametrize("path", ["/predict_dataframe", "/predict_series"])
def test_a_broken_frame_or_series_is_a_400_where_bentoml_answers_500(e2e: Server, path: str) -> None:
    assert e2e.request("POST", path, b"[{", JSON).status == 400


# File


BIN = b"\x810\x899"


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/pdf", "image/png"])
def test_a_file_may_be_the_whole_body_of_any_type(e2e: Server, content_type: str) -> None:
    answer = e2e.request("POST", "/predict_file", BIN, {"Content-Type": content_type})
    assert (answer.status, answer.body) == (200, BIN + b"!")
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/pdf"])
def test_a_file_may_be_part_of_a_form(e2e: Server, content_type: str) -> None:
    headers, body = form(('name="f"; filename="a.bin"', content_type, BIN))
    answer = e2e.request("POST", "/predict_file", body, headers)
    assert (answer.status, answer.body) == (200, BIN + b"!")


# Image


@pytest.mark.parametrize("kind", ["bmp", "png", "jpeg"])
def test_an_image_comes_back_as_the_declared_type(e2e: Server, kind: str) -> None:
    answer = e2e.request("POST", "/echo_image", picture(kind), {"Content-Type": f"image/{kind}"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/bmp"
    assert answer.headers["content-disposition"] == 'attachment; filename="output.bmp"'
    if kind != "jpeg":
        assert answer.body == picture("bmp")


def test_an_image_may_be_part_of_a_form(e2e: Server) -> None:
    headers, body = form(('name="f"; filename="a.bmp"', "image/bmp", picture()))
    answer = e2e.request("POST", "/echo_image", body, headers)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "image/bmp", picture())


@pytest.mark.parametrize("content_type", ["application/json", "text/html", "image/jpg-like", "audio/mp3"])
def test_an_image_of_a_type_that_is_none_is_a_400(e2e: Server, content_type: str) -> None:
    answer = e2e.request("POST", "/echo_image", picture(), {"Content-Type": content_type})
    assert answer.status == 400
    headers, body = form(('name="f"; filename="a.bmp"', content_type, picture()))
    assert e2e.request("POST", "/echo_image", body, headers).status == 400


def test_bytes_that_are_no_image_are_a_400(e2e: Server) -> None:
    assert e2e.request("POST", "/echo_image", b"no image", {"Content-Type": "image/bmp"}).status == 400


# Multipart


def test_a_form_of_images_is_answered_with_a_form_of_images(e2e: Server) -> None:
    headers, body = form(
        ('name="original"; filename="o.bmp"', "image/bmp", picture()),
        ('name="compared"; filename="c.bmp"', "image/bmp", picture(color=(40, 80, 121))),
    )

    async def exchanged() -> dict[str, Any]:
        _, received, content = await async_request(
            "POST", f"http://127.0.0.1:{e2e.port}/predict_multi_images", headers=headers, data=body, assert_status=200
        )
        assert received["content-type"].startswith("multipart/form-data; boundary=")
        return await parse_multipart_form(received, content)

    parts = asyncio.run(exchanged())
    assert list(parts) == ["img1", "img2"]
    images = [Image.open(part.file) for part in parts.values()]
    assert [image.format for image in images] == ["JPEG", "JPEG"]
    assert np.asarray(images[0]).max() <= 2
    assert np.asarray(images[1]).max() > 100


def test_fields_of_a_form_are_found_by_name_in_any_order(e2e: Server) -> None:
    headers, body = form(
        ('name="meta"', "application/json", b'{"k": "v"}'), ('name="arr"', "application/json", b"[1, 2, 3]")
    )
    for parts in (body, form(('name="arr"', "", b"[1, 2, 3]"), ('name="meta"', "", b'{"k": "v"}'))[1]):
        answer = e2e.request("POST", "/mixed_form", parts, headers)
        assert (answer.status, answer.body, answer.headers["x-rows"]) == (200, b'{"sum":6,"k":"v"}', "3")


@pytest.mark.parametrize(
    "parts", [[("meta", b"{}")], [("meta", b"{}"), ("other", b"[1]")], [("meta", b"{"), ("arr", b"[1]")], []]
)
def test_a_form_without_its_fields_is_a_400_where_bentoml_answers_500(
    e2e: Server, parts: list[tuple[str, bytes]]
) -> None:
    headers, body = form(*((f'name="{name}"', "", content) for name, content in parts))
    assert e2e.request("POST", "/mixed_form", body, headers).status == 400


def test_another_body_than_a_form_is_refused_by_the_api_that_takes_a_form(e2e: Server) -> None:
    answer = e2e.post("/mixed_form", {"meta": {}}, JSON)
    assert answer.status == 415
    assert answer.value.startswith("BentoService error handling API request: ")
