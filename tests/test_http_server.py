"""HTTPServer: `bentoml serve` from Python, with its end and its failures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bentoml
from bentoml.exceptions import BentoMLException, InvalidArgument, ServerStateException, UnservableException
from bentoml.http_server import HTTPServer
from tests._server import PATIENCE_S, SOURCE, environment

LIGHT = str(Path(__file__).parent / "services" / "light")
#: One worker starts sooner than two.
QUICK: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "timeout": PATIENCE_S, "api_workers": 1, "working_dir": LIGHT}


@pytest.fixture(autouse=True)
def _child_finds_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


def test_a_with_statement_gives_a_client_and_stops() -> None:
    server = HTTPServer("service:svc", **QUICK)
    with server.start() as client:
        assert client.echo({"a": 1}) == {"a": 1}
        assert client is server.get_client()
        assert server.process is not None
        assert server.process.poll() is None
        assert server.url == f"http://127.0.0.1:{server.port}"
        with server.get_client(headers={"x": "y"}) as other:
            assert other is not client
        with pytest.raises(ServerStateException, match=r"is running already; stop\(\) it first"):
            server.start()
    assert server.process.returncode == 0
    assert "Starting production HTTP BentoServer" in server.output
    server.stop()  # once more does nothing
    with pytest.raises(ServerStateException, match=r"(?s)the server exited with code 0; it said:\n.*ready after"):
        server.get_client()


def test_a_server_that_was_not_started_has_no_client() -> None:
    with pytest.raises(ServerStateException, match=r"the server was not started; call start\(\) first"):
        HTTPServer("service:svc").get_client()


def test_a_server_that_cannot_start_says_why() -> None:
    server = HTTPServer("service:nothing", **QUICK)
    with (
        pytest.raises(
            ServerStateException, match=r"(?s)the server exited with code 1; it said:\n.*has no attribute 'nothing'"
        ),
        server,
    ):
        pass
    assert server.process is not None
    assert server.process.returncode == 1


def test_a_server_that_is_not_ready_in_time_says_what_it_said_so_far(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("import time\nprint('thinking')\ntime.sleep(600)\n")
    server = HTTPServer("service:svc", **{**QUICK, "timeout": 0.1, "working_dir": str(tmp_path)})
    with (
        pytest.raises(ServerStateException, match=rf"the server at {server.url[:16]}.* did not become ready in 0\.1 s"),
        server,
    ):
        pass
    assert server.process is not None
    assert server.process.returncode is not None


def test_variables_reach_the_server_and_its_output_can_go_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        "import os, bentoml\nfrom bentoml.io import JSON\nsvc = bentoml.Service('env')\n"
        "@svc.api(input=JSON(), output=JSON())\ndef variable(name):\n    return os.environ.get(name)\n"
    )
    server = HTTPServer("service.py:svc", **{**QUICK, "working_dir": str(tmp_path)})
    with (tmp_path / "log").open("wb") as log:
        server.start(env={"GREETING": "hello"}, stdout=log, stderr=subprocess.STDOUT)
        try:
            assert server.get_client().variable("GREETING") == "hello"
        finally:
            server.stop()
    assert "Starting production" in (tmp_path / "log").read_text()
    assert server.output == ""


def test_the_free_port_is_kept_until_the_server_has_it() -> None:
    import socket

    from bentoml.http_server import _reserve

    with _reserve("127.0.0.1") as reserved:
        port = reserved.getsockname()[1]
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        if sys.platform == "linux":
            with socket.create_server(("127.0.0.1", port)):
                pass
    with pytest.raises(BentoMLException, match=re.escape("no port of '192.0.2.1' can be had")):
        _reserve("192.0.2.1")


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, []),
        ({"production": False}, ["--development"]),
        ({"reload": True}, ["--reload"]),
        ({"api_workers": 2, "backlog": 9}, ["--api-workers", "2", "--backlog", "9"]),
        ({"ssl_certfile": "a.pem", "ssl_keyfile": None}, ["--ssl-certfile", "a.pem"]),
    ],
)
def test_options_become_flags(options: dict[str, Any], flags: list[str]) -> None:
    assert HTTPServer("service:svc", **options)._flags == flags


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="HTTPServer: there is no option ssl_cert, certfile"):
        HTTPServer("service:svc", ssl_cert="a", certfile="b")
    with pytest.raises(InvalidArgument, match="there is no option env='conda'"):
        HTTPServer("service:svc", env="conda")  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
        ("10.0.0.7", "http://10.0.0.7:1"),
    ],
)
def test_the_url_is_one_that_a_client_can_use(host: str, url: str) -> None:
    assert HTTPServer("service:svc", host=host, port=1).url == url


def test_host_and_port_are_the_configured_ones_by_default() -> None:
    server = HTTPServer("service:svc")
    assert (server.host, server.port) == ("0.0.0.0", 3000)


# -- services as objects -----------------------------------------------------------------------------------------------


def test_a_service_is_served_from_where_it_was_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded = bentoml.load("service:svc", working_dir=LIGHT)
    assert HTTPServer(loaded)._target == "service:svc"
    assert HTTPServer(loaded)._flags == ["--working-dir", LIGHT]

    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "till.py").write_text("import bentoml\nit = bentoml.Service('till')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    module = importlib.import_module("shop.till")
    assert HTTPServer(module.it)._target == "shop.till:it"
    assert HTTPServer(module.it)._flags == ["--working-dir", str(tmp_path.resolve())]


def test_a_service_that_nobody_else_can_import_is_refused() -> None:
    with pytest.raises(UnservableException, match="no other process can import the service 'here'"):
        HTTPServer(bentoml.Service("here"))


def test_a_tag_is_served_by_its_name() -> None:
    assert HTTPServer(bentoml.Tag("iris", "v1"))._target == "iris:v1"


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import bentoml\n"
        f"server = bentoml.HTTPServer('service:svc', working_dir={LIGHT!r}, host='127.0.0.1', port=0, timeout=90,"
        " api_workers=1)\nserver.start()\nserver.get_client()\nprint(server.process.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment(tmp_path), "PYTHONPATH": SOURCE}, capture_output=True, text=True,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not Path(f"/proc/{done.stdout.strip()}").exists()
