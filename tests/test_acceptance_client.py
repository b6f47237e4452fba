"""The clients of BentoML 1.1, called as its users call them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bentoml.client import AsyncHTTPClient, Client, HTTPClient, SyncHTTPClient
from bentoml.exceptions import BentoMLException
from tests._server import Server


@pytest.fixture(scope="module")
def client(e2e: Server) -> Iterator[Client]:
    with Client.from_url(f"http://127.0.0.1:{e2e.port}") as client:
        yield client


@pytest.mark.parametrize("kind", [HTTPClient, SyncHTTPClient, Client])
def test_a_client_asks_for_the_health_of_the_server(e2e: Server, kind: type[SyncHTTPClient]) -> None:
    kind.wait_until_server_ready("127.0.0.1", e2e.port, timeout=30, check_interval=1)
    client = kind.from_url(f"http://127.0.0.1:{e2e.port}")
    answer = client.health()
    assert answer.status_code == 200
    assert answer.text.strip() == ""
    client.close()


def test_an_async_client_is_awaited(e2e: Server) -> None:
    async def exchanged() -> None:
        client = await AsyncHTTPClient.from_url(f"http://127.0.0.1:{e2e.port}")
        assert (await client.health()).status_code == 200
        assert await client.echo_json({"a": 1}) == {"a": 1}
        assert await client.call("echo_json", inp=None) is None
        await client.close()

    asyncio.run(exchanged())


def test_the_address_may_lack_its_scheme(e2e: Server) -> None:
    with SyncHTTPClient.from_url(f"127.0.0.1:{e2e.port}") as client:
        assert client.server_url == f"http://127.0.0.1:{e2e.port}"


def test_each_api_is_a_method_with_native_values(client: Client) -> None:
    assert client.echo_text("abc") == "abc"
    assert client.echo_json({"a": 1}) == {"a": 1}
    assert client.pydantic_json({"name": "x"})["weight"] == 1
    array = client.predict_ndarray_multi_output(np.array([[1, 2]]))
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [[4, 8]]
    frame = client.predict_dataframe(pd.DataFrame({"col1": [101]}))
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"col1": [202]}))
    assert client.predict_series(pd.Series([1, 2])).tolist() == [2, 4]
    image = client.echo_image(Image.new("RGB", (10, 10), (1, 2, 3)))
    assert image.size == (10, 10)


def test_a_form_takes_its_fields_by_name(client: Client) -> None:
    picture = Image.new("RGB", (10, 10), (1, 2, 3))
    answer = client.predict_multi_images(original=picture, compared=picture)
    assert list(answer) == ["img1", "img2"]
    assert np.asarray(answer["img1"]).max() == 0


def test_an_api_may_be_called_by_its_name(client: Client) -> None:
    assert client.call("echo_json", {"a": 1}) == {"a": 1}
    assert client.call("echo_json", inp={"a": 1}) == {"a": 1}
    assert client.call("mixed_form", arr=np.array([1, 2]), meta={"k": 1}) == {"sum": 3, "k": 1}
    assert "echo_json" in client.endpoints
    assert "healthz" not in client.endpoints


def test_a_client_of_both_kinds_can_be_awaited(client: Client) -> None:
    async def exchanged() -> None:
        assert await client.async_echo_json([1]) == [1]
        assert await client.async_call("echo_json", [2]) == [2]

    asyncio.run(exchanged())


def test_an_answer_that_is_no_success_raises_with_its_status(client: Client) -> None:
    with pytest.raises(BentoMLException, match="^Error making request: 404: not here"):
        client.raise_error("not_found")
    with pytest.raises(BentoMLException, match="^Error making request: 400: .*Invalid JSON input received: "):
        client.pydantic_json({})
