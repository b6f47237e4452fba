"""Every descriptor through a client: tables, images, files and forms go in and come out as native values."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bentoml.client import AsyncHTTPClient, SyncHTTPClient
from bentoml.exceptions import BadInput, InvalidArgument
from tests import _server

pytest.importorskip("bentoml.io.multipart")
pd = pytest.importorskip("pandas")
pil = pytest.importorskip("PIL.Image")

SERVICE = """
import bentoml
from bentoml.io import JSON, SSE, File, Image, Multipart, NumpyNdarray, PandasDataFrame, PandasSeries, Text

svc = bentoml.Service("all")
echo = lambda value: value


@svc.api(input=Multipart(image=Image(), note=Text(), numbers=NumpyNdarray()), output=Multipart(image=Image(mime_type="image/png"), note=Text()))
def form(image, note, numbers):
    return {"image": image.rotate(90), "note": f"{note} {numbers.sum()} {image.getpixel((0, 0))}"}


@svc.api(input=Text(), output=Text("text/event-stream"))
async def events(count):
    for number in range(int(count)):
        yield SSE(str(number), event="tick").marshal()


for name, given, taken in [
    ("array", NumpyNdarray(), NumpyNdarray()), ("frame", PandasDataFrame(), PandasDataFrame()),
    ("csv", PandasDataFrame(default_format="csv"), PandasDataFrame()), ("series", PandasSeries(), PandasSeries()),
    ("image", Image(mime_type="image/jpeg"), Image(mime_type="image/png")),
    ("bitmap", Image(allowed_mime_types=["image/bmp"]), Image(mime_type="image/bmp")),
    ("file", File(), File()), ("table", File(mime_type="text/csv"), File(mime_type="text/csv")),
]:
    svc.api(input=given, output=taken, name=name)(echo)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_server.Server]:
    folder = tmp_path_factory.mktemp("all")
    (folder / "service.py").write_text(SERVICE)
    with _server.serving("service:svc", "--api-workers", "1", folder=folder, home=folder / "home") as found:
        yield found


@pytest.fixture
def client(server: _server.Server) -> Iterator[SyncHTTPClient]:
    with SyncHTTPClient.from_url(f"http://127.0.0.1:{server.port}") as found:
        yield found


def picture() -> Any:
    return pil.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8))


def test_arrays_come_back_as_they_went(client: SyncHTTPClient) -> None:
    for array in (np.arange(6, dtype=np.int16).reshape(2, 3), np.array([1.5, np.nan, np.inf]), np.array([True, False])):
        found = client.array(array)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype, "a binary form keeps the type"


def test_tables_come_back_as_they_went(client: SyncHTTPClient) -> None:
    frame = pd.DataFrame({"age": [1, 2], "name": ["a", "ü"], "share": [0.5, 0.25]})
    pd.testing.assert_frame_equal(client.frame(frame), frame)
    pd.testing.assert_frame_equal(client.csv(frame)[list(frame)], frame)
    pd.testing.assert_series_equal(client.series(pd.Series([1, 2, 3])), pd.Series([1, 2, 3]))


def test_a_table_of_mixed_cells_is_sent_as_json(client: SyncHTTPClient) -> None:
    frame = pd.DataFrame({"mixed": [1, "a"]})
    assert client.frame(frame)["mixed"].tolist() == [1, "a"]


def test_an_image_is_sent_without_loss(client: SyncHTTPClient) -> None:
    image = picture()
    assert client.image(image).tobytes() == image.tobytes(), "as PNG, though the API answers JPEG"
    assert client.bitmap(image).tobytes() == image.tobytes()
    assert client.image(np.asarray(image)).tobytes() == image.tobytes()


def test_an_image_file_is_sent_as_it_is(client: SyncHTTPClient, tmp_path: Path) -> None:
    image = picture()
    image.save(tmp_path / "a.bmp")
    assert client.image(tmp_path / "a.bmp").tobytes() == image.tobytes()
    (tmp_path / "a.gif").write_bytes(b"")
    with pytest.raises(BadInput, match="400: Image: the content type 'image/gif' is not allowed"):
        client.bitmap(tmp_path / "a.gif")


def test_files_are_bytes_or_open_files_or_paths(client: SyncHTTPClient, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n")
    assert client.file(b"\x810\x899").read() == b"\x810\x899"
    assert client.file(io.BytesIO(b"x")).read() == b"x"
    with path.open("rb") as opened:
        assert client.table(opened).read() == b"a,b\n"
    assert client.table(path).read() == b"a,b\n"


def test_a_form_takes_its_fields_by_name(client: SyncHTTPClient) -> None:
    image = picture()
    answer = client.form(image=image, note="sum", numbers=np.arange(4))
    assert answer["note"] == f"sum 6 {image.getpixel((0, 0))}"
    assert answer["image"].size == image.size
    with pytest.raises(InvalidArgument, match=r"not note \(hint: client.form\(image=…, note=…, numbers=…\)\)"):
        client.form(note="sum")
    with pytest.raises(InvalidArgument, match="takes the fields of its form as keyword arguments, not 1 positional"):
        client.form(image)


def test_events_of_a_stream_can_be_taken_apart(server: _server.Server) -> None:
    from bentoml.io import SSE

    async def work() -> list[SSE]:
        async with AsyncHTTPClient.from_url(f"http://127.0.0.1:{server.port}") as client:
            image = await client.image(picture())
            assert image.size == (12, 8)
            return [event async for event in SSE.from_iterator(client.stream_events("3"))]

    assert asyncio.run(work()) == [SSE(str(number), event="tick") for number in range(3)]


def test_what_the_server_refuses_names_the_field(client: SyncHTTPClient) -> None:
    fields = client._endpoints["form"].input.fields
    assert fields is not None
    fields["numbers"] = fields["note"]  # type: ignore[index]  # a client that sends text where numbers belong
    with pytest.raises(BadInput, match="400: field 'numbers': "):
        client.form(image=picture(), note="a", numbers="[[1], [2, 3]]")
