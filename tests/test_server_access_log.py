"""The access line: its form, its switches, and that nobody can forge one."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import socket
import tempfile
from typing import Any

import msgspec
import pytest

from bentoml._http import Request, Response
from bentoml.config import AccessLog
from bentoml.server import access_log
from bentoml.server.access_log import AccessLogWriter
from tests._server import PATIENCE_S, Server


def lines(*answered: tuple[Request, Response], **config: Any) -> list[str]:
    """What a writer writes of these requests."""
    with tempfile.TemporaryFile() as file:

        async def main() -> None:
            writer = AccessLogWriter(msgspec.convert(config, AccessLog), "api_server:s:1", fd=file.fileno())
            for request, response in answered:
                writer.log(request, response, 0.0123456, 16)
            writer.flush()
            writer.close()

        asyncio.run(main())
        file.seek(0)
        return file.read().decode().splitlines()


REQUEST = Request(
    path="/classify",
    raw_headers=[(b"content-type", b"application/json"), (b"content-length", b"20")],
    client="127.0.0.1:53312",
    body=b"x" * 20,
)
REQUEST.trace = (255, False)
RESPONSE = Response(b"abc", content_type=b"application/json")
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[INFO\] \[api_server:s:1\] "


def test_the_line_is_that_of_bentoml() -> None:
    [line] = lines((REQUEST, RESPONSE))
    assert re.fullmatch(
        STAMP + r"127\.0\.0\.1:53312 \(scheme=http,method=POST,path=/classify,type=application/json,length=20\) "
        r"\(status=200,type=application/json,length=3\) 12\.346ms "
        r"\(trace=000000000000000000000000000000ff,span=0000000000000010,sampled=0\)",
        line,
    )


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({"request_content_type": False}, "path=/classify,length=20) (status=200,type=application/json,length=3)"),
        ({"request_content_length": False}, "path=/classify,type=application/json) (status=200,"),
        ({"response_content_type": False}, "length=20) (status=200,length=3)"),
        ({"response_content_length": False}, "(status=200,type=application/json)"),
        ({"format": {"trace_id": "x", "span_id": "d"}}, "(trace=ff,span=16,sampled=0)"),
    ],
)
def test_what_is_switched_off_is_left_out(config: dict[str, Any], shown: str) -> None:
    assert shown in lines((REQUEST, RESPONSE), **config)[0]


def test_a_trace_that_the_caller_samples_is_said_to_be() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    request = Request(raw_headers=[(b"traceparent", f"00-{trace}-00f067aa0ba902b7-01".encode())])
    assert f"(trace={trace},span=0000000000000010,sampled=1)" in lines((request, RESPONSE))[0]


def test_json_is_one_object_on_each_line() -> None:
    strange = Request(path='/a"\n\u2028b\x1b', client="[::1]:5")
    first, second = (json.loads(line) for line in lines((REQUEST, RESPONSE), (strange, RESPONSE), style="json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", first.pop("time"))
    assert datetime.datetime.fromisoformat(second["time"]).tzinfo is not None
    assert first == {
        "component": "api_server:s:1",
        "client": "127.0.0.1:53312",
        "scheme": "http",
        "method": "POST",
        "path": "/classify",
        "status": 200,
        "duration_ms": 12.346,
        "request_type": "application/json",
        "request_length": 20,
        "response_type": "application/json",
        "response_length": 3,
        "trace_id": "000000000000000000000000000000ff",
        "span_id": "0000000000000010",
        "request_id": "16",
        "sampled": False,
    }
    assert (second["path"], second["request_type"], second["request_length"]) == (strange.path, "", 0)


def test_json_leaves_out_what_is_switched_off_and_has_null_for_what_is_not_known() -> None:
    async def chunks() -> Any:
        yield b""

    off = {f"{side}_content_{what}": False for side in ("request", "response") for what in ("type", "length")}
    [line] = lines((REQUEST, RESPONSE), style="json", **off)
    assert not {"request_type", "request_length", "response_type", "response_length"} & set(json.loads(line))
    [line] = lines((REQUEST, Response(chunks())), style="json")
    assert json.loads(line)["response_length"] is None


def test_what_is_missing_is_empty() -> None:
    async def chunks() -> Any:
        yield b""

    [line] = lines((Request(), Response(chunks(), content_type=b"")))
    assert "_ (scheme=http,method=POST,path=/,type=,length=) (status=200,type=,length=)" in line


@pytest.mark.parametrize("char", ["\x85", "\u2028", "\u2029", "\x9b", "\u202e", "\udcff"])
def test_no_path_breaks_a_line_or_reaches_the_terminal(char: str) -> None:
    [line] = lines((Request(path=f"/a{char}b"), RESPONSE))
    assert "path=/a\\" in line
    assert char not in line
    assert lines((Request(path="/ü"), RESPONSE))[0].count("path=/ü,") == 1


def test_many_lines_are_written_at_once_and_none_is_lost() -> None:
    count = access_log.FLUSH_BYTES // 200 + 500
    assert len(lines(*[(REQUEST, RESPONSE)] * count)) == count


def test_a_reader_that_went_away_loses_lines_and_no_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    async def main() -> None:
        writer = AccessLogWriter(AccessLog(), "x", fd=writing)
        writer.log(REQUEST, RESPONSE, 0.0, 0)
        writer.close()

    asyncio.run(main())
    os.close(writing)


def test_lines_are_written_without_being_asked_for() -> None:
    reading, writing = os.pipe()

    async def main() -> bytes:
        AccessLogWriter(AccessLog(), "x", fd=writing).log(REQUEST, RESPONSE, 0.0, 0)
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        loop.add_reader(reading, lambda: came.done() or came.set_result(os.read(reading, 1000)))
        return await asyncio.wait_for(came, PATIENCE_S)

    assert b"path=/classify" in asyncio.run(main())
    os.close(reading)
    os.close(writing)


def test_a_served_request_is_logged_with_its_client_and_id(kitchen: Server) -> None:
    with socket.create_connection(("127.0.0.1", kitchen.port), PATIENCE_S) as sock:
        client = sock.getsockname()[1]
        sock.sendall(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n[]"
        )
        answer = sock.makefile("rb").read()
    request_id = int(re.search(rb"x-bentoml-request-id: (\d+)", answer)[1])  # type: ignore[index]
    kitchen.said(f"127.0.0.1:{client} (scheme=http,method=POST,path=/echo,type=application/json,length=2) (status=200,")
    kitchen.said(f"span={request_id:016x},sampled=0)")


def test_the_metrics_page_is_not_logged(kitchen: Server) -> None:
    kitchen.get("/metrics")
    kitchen.get("/livez?marker=1")
    kitchen.said("path=/livez")
    assert "path=/metrics" not in kitchen.log
