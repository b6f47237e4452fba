"""Images, files, forms and streams of a real server, as curl and a plain client send and read them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bentoml.io import SSE
from bentoml.io._form import Part, form_of, parse_form
from tests._server import Answer, Server, sample, serving, until

FOLDER = Path(__file__).parent / "services" / "files"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("files")
    arguments = ("service:svc", "--working-dir", str(FOLDER), "--api-workers", "1")
    options = {"BENTOML_CONFIG_OPTIONS": "api_server.http.max_body_size=1000000"}
    with serving(*arguments, folder=folder, home=folder / "home", extra=options) as server:
        yield server


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(path)
    return path


def curl(server: Server, path: str, *arguments: str) -> tuple[int, bytes]:
    """Status and body of what curl is answered."""
    url = f"http://127.0.0.1:{server.port}{path}"
    done = subprocess.run(["curl", "-sS", "-w", "%{http_code}", url, *arguments], capture_output=True, check=True)
    return int(done.stdout[-3:]), done.stdout[:-3]


def send_form(server: Server, path: str, *parts: Part) -> Answer:
    body, content_type = form_of(parts)
    return server.request("POST", path, body, {"Content-Type": content_type.decode()})


# -- images and files --------------------------------------------------------------------------------------------------


def test_curl_sends_an_image_as_the_body_or_in_a_form(server: Server, photo: Path) -> None:
    for arguments in (
        ("-H", "content-type: image/jpeg", "--data-binary", f"@{photo}"),
        ("-F", f"image=@{photo}"),
        ("-F", "note=hello", "-F", f"image=@{photo};type=application/octet-stream"),
    ):
        status, body = curl(server, "/half", *arguments)
        image = PIL.Image.open(io.BytesIO(body))
        assert (status, image.format, image.size) == (200, "PNG", (40, 30))


def test_an_image_comes_as_a_file_to_be_saved(server: Server, photo: Path) -> None:
    answer = server.request("POST", "/half", photo.read_bytes(), {"Content-Type": "image/jpeg"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == 'attachment; filename="output.png"'


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["-d", "text"], 400, "is not allowed; allowed are image/png"),
        (["-H", "content-type: image/png", "-d", "text"], 400, "the body is none of image/png"),
        (["-F", "image=text"], 400, "the form has no image of an allowed type: image/png"),
    ],
)
def test_what_is_no_allowed_image_is_refused_with_the_reason(
    server: Server, arguments: list[str], status: int, text: str
) -> None:
    found, body = curl(server, "/measure", *arguments)
    assert found == status
    assert text in json.loads(body)


def test_an_image_of_too_many_pixels_is_a_413(server: Server) -> None:
    for size, status in (((100, 100), 200), ((100, 101), 413)):
        file = io.BytesIO()
        PIL.Image.new("1", size).save(file, "PNG")
        assert server.request("POST", "/measure", file.getvalue(), {"Content-Type": "image/png"}).status == status


def test_curl_sends_a_file_with_its_name_which_is_no_path(server: Server, photo: Path) -> None:
    size = photo.stat().st_size
    status, body = curl(server, "/inspect", "-F", f"file=@{photo};filename=../../etc/pass\\wd")
    assert (status, json.loads(body)) == (200, {"name": "wd", "size": size, "type": "image/jpeg"})
    status, body = curl(server, "/inspect", "--data-binary", f"@{photo}", "-H", "content-type:")
    assert (status, json.loads(body)) == (200, {"name": None, "size": size, "type": ""})


def test_a_file_has_the_type_that_the_api_asks_for(server: Server) -> None:
    answer = server.request("POST", "/table", b"a,b", {"Content-Type": "text/csv"})
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"A,B", "text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="table.csv"'
    refused = server.request("POST", "/table", b"a,b", {"Content-Type": "application/json"})
    assert refused.status == 415
    assert "File: expected a file of type text/csv, but the content type is 'application/json'" in refused.value


def test_a_file_over_the_limit_of_the_body_is_a_413(server: Server, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(1_000_001))
    assert curl(server, "/inspect", "-F", f"file=@{tmp_path / 'large'}")[0] == 413


# -- forms -------------------------------------------------------------------------------------------------------------


def test_a_form_goes_in_and_a_form_comes_out(server: Server, photo: Path) -> None:
    image = Part("image", "photo.jpg", [(b"content-type", b"image/jpeg")], photo.read_bytes())
    options = Part("options", None, [(b"content-type", b"application/json")], b'{"width": 20}')
    answer = send_form(server, "/resize", Part("note", None, [], "grün".encode()), options, image)
    assert answer.status == 200
    parts = {part.name: part for part in parse_form(answer.headers["content-type"], answer.body)}
    assert (parts["note"].body.decode(), parts["size"].body) == ("GRÜN", b"[20, 15]")
    assert parts["thumbnail"].filename == "output.jpeg"
    assert PIL.Image.open(io.BytesIO(parts["thumbnail"].body)).size == (20, 15)


def test_curl_sends_the_fields_of_a_form(server: Server) -> None:
    status, body = curl(server, "/add", "-F", "b=2", "-F", "a=1;type=application/json")
    assert (status, body) == (200, b"3")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-F", "a=1"], "Multipart: missing b (hint: the fields are a, b)"),
        (["-F", "a=1", "-F", "b=2", "-F", "c=3"], "Multipart: there is no field 'c' (hint: the fields are a, b)"),
        (["-F", "a=1", "-F", "a=1", "-F", "b=2"], "Multipart: the field 'a' is there twice"),
        (["-F", "a=1", "-F", "b={"], "field 'b': Invalid JSON input received: the document ends too early"),
        (["-H", "content-type: multipart/form-data", "-d", "x"], "the content type of a form must name its boundary"),
    ],
)
def test_what_is_wrong_with_a_form_is_a_400_that_names_the_field(
    server: Server, arguments: list[str], text: str
) -> None:
    status, body = curl(server, "/add", *arguments)
    assert (status, json.loads(body).removeprefix("BentoService error handling API request: ")[: len(text)]) == (
        400,
        text,
    )


def test_a_form_with_an_image_of_a_wrong_type_is_a_400(server: Server) -> None:
    parts = [Part("image", "a", [(b"content-type", b"text/plain")], b"x"), Part("options", None, [], b'{"width": 1}')]
    answer = send_form(server, "/resize", *parts, Part("note", None, [], b""))
    assert answer.status == 400
    assert "field 'image': Image: the content type 'text/plain' is not allowed" in answer.value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["/half", "/measure", "/inspect", "/table", "/resize", "/add"]),
    st.sampled_from(["image/png", "image/jpeg", "text/csv", "multipart/form-data; boundary=x", "multipart/form-data"]),
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from(
            [
                b"--x\r\n", b"--x--\r\n", b"\r\n", b"\r\n\r\n", b"1", b'Content-Disposition: form-data; name="a"\r\n\r\n',
                b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n', b"\x89PNG\r\n\x1a\n",
            ]
        ),
        max_size=8,
    ),
)  # fmt: skip
def test_no_body_is_answered_with_a_server_error(
    server: Server, path: str, content_type: str, pieces: list[bytes]
) -> None:
    answer = server.request("POST", path, b"".join(pieces), {"Content-Type": content_type})
    assert answer.status < 500, answer


# -- streams -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def asking(server: Server, path: str, value: Any) -> Iterator[http.client.HTTPResponse]:
    with contextlib.closing(server.connect()) as connection:
        connection.request("POST", path, json.dumps(value))
        yield connection.getresponse()


def events_in(body: bytes) -> list[SSE]:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    async def collect() -> list[SSE]:
        return [event async for event in SSE.from_iterator(chunks())]

    return asyncio.run(collect())


def counted(server: Server, path: str, status: int) -> float:
    return sample(server, "bentoml_api_server_request_total", endpoint=path, http_response_code=str(status))


def test_each_event_is_sent_when_it_is_made_behind_the_head_that_the_generator_set(
    server: Server, tmp_path: Path
) -> None:
    gate, before = tmp_path / "gate", counted(server, "/events", 200)
    with asking(server, "/events", {"gate": str(gate)}) as response:
        assert (response.status, response.headers["x-model"]) == (200, "v1")
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert [response.readline() for _ in range(4)] == [b"event: token\n", b"id: 0\n", b"data: 0\n", b"\n"]
        assert counted(server, "/events", 200) == before
        assert sample(server, "bentoml_api_server_request_in_progress", endpoint="/events") == 1
        gate.touch()
        assert response.read() == b"data: 1\n\n"
    assert counted(server, "/events", 200) == before + 1
    assert sample(server, "bentoml_api_server_request_in_progress", endpoint="/events") == 0


def test_an_error_before_the_first_event_is_an_answer_of_its_own(server: Server) -> None:
    refused = server.post("/events", {"fail": "at once"})
    assert (refused.status, refused.value) == (400, "BentoService error handling API request: not like this")
    failed = server.post("/events", {"fail": "before"})
    assert failed.status == 500
    assert "secret" not in failed.value


def test_an_error_midway_is_an_event_that_names_the_request(server: Server) -> None:
    before = counted(server, "/events", 500)
    answer = server.post("/events", {"fail": "midway"})
    first, second, last = events_in(answer.body)
    request_id = answer.headers["x-bentoml-request-id"]
    assert (first, second, last.event) == (SSE("0", event="token", id="0"), SSE("1"), "error")
    assert json.loads(last.data) == {
        "error": "the service failed; its log has the details under the request id",
        "status": 500,
        "request_id": request_id,
    }
    assert counted(server, "/events", 500) == before + 1
    server.said(f"Exception on /events [POST] (request id {request_id}), after its answer had begun")
    assert "RuntimeError: secret" in server.log


def test_curl_reads_a_failed_stream_of_events_to_its_regular_end(server: Server) -> None:
    status, body = curl(server, "/events", "-N", "-d", '{"fail": "told"}')
    assert status == 200
    assert json.loads(events_in(body)[-1].data)["error"] == "no further"


@pytest.mark.parametrize("kind", ["any", "exit"])
def test_another_stream_that_fails_is_cut_and_the_server_goes_on(server: Server, kind: str) -> None:
    assert server.post("/lines", {}).body == b"first\nsecond\n"
    before = counted(server, "/lines", 500)
    with asking(server, "/lines", {"fail": kind}) as response:
        assert response.readline() == b"first\n"
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            response.read()
    server.said("Exception on /lines [POST] (request id ")
    assert counted(server, "/lines", 500) == before + 1
    assert len(server.workers("api_server")) == 1
    assert "broke off" not in server.log


def test_a_client_that_goes_midway_is_counted_as_such(server: Server, tmp_path: Path) -> None:
    before = counted(server, "/events", 499)
    with asking(server, "/events", {"gate": str(tmp_path / "never")}) as response:
        assert response.readline() == b"event: token\n"
    until(lambda: counted(server, "/events", 499) == before + 1, "the count")
    assert sample(server, "bentoml_api_server_request_in_progress", endpoint="/events") == 0
