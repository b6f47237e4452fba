"""`bentoml serve`: flags and variables become configuration; what cannot be served is one line."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import click
import pytest

from bentoml import config
from bentoml.cli.serve import KEYS, serve, serve_options
from bentoml.config.tree import Config
from bentoml.exceptions import BentoMLConfigException
from bentoml.server.supervisor import ServeOptions
from tests._cli import environment, invoke, run

SERVICE = """
import bentoml
from bentoml.io import JSON

svc = bentoml.Service("echo")

@svc.api(input=JSON(), output=JSON())
def echo(value):
    return value
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("BENTOML_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "_current", None)


def options(*args: str) -> ServeOptions:
    with serve.make_context("serve", list(args)) as ctx:
        return serve_options(ctx)


def test_without_flags_all_is_as_configured() -> None:
    made = options()
    assert made._replace(loaded=None) == ServeOptions(".", None, None, development=False, reload=False)  # type: ignore[arg-type]  # compared without
    assert made.loaded.config == Config()
    assert made.loaded.origins == {}


def test_flags_become_configuration_and_are_named_as_its_origin() -> None:
    loaded = options(
        "svc:svc", "-p", "3001", "--host", "127.0.0.1", "--api-workers", "2", "--timeout", "7.5", "--backlog", "128"
    ).loaded
    server, runners = loaded.config.api_server, loaded.config.runners
    assert (server.http.port, server.http.host, server.workers, server.backlog) == (3001, "127.0.0.1", 2, 128)
    assert (server.traffic.timeout, runners.traffic.timeout) == (7.5, 7.5)
    assert loaded.origins == {
        "api_server.http.port": "--port",
        "api_server.http.host": "--host",
        "api_server.workers": "--api-workers",
        "api_server.traffic.timeout": "--timeout",
        "runners.traffic.timeout": "--timeout",
        "api_server.backlog": "--backlog",
    }


def test_the_flags_of_tls_and_the_unix_socket_become_configuration() -> None:
    names = ["certfile", "keyfile", "keyfile-password", "version", "cert-reqs", "ca-certs", "ciphers"]
    given = [word for name in names for word in (f"--ssl-{name}", f"the {name}")]
    loaded = options("svc:svc", *given, "--uds", "here.sock").loaded
    for name in names:
        assert getattr(loaded.config.api_server.ssl, name.replace("-", "_")) == f"the {name}"
        assert loaded.origins[f"api_server.ssl.{name.replace('-', '_')}"] == f"--ssl-{name}"
    assert loaded.config.api_server.http.unix_socket == "here.sock"


def test_variables_become_configuration_and_flags_win_over_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "3001", "HOST": "::1", "API_WORKERS": "2", "TIMEOUT": "5"}.items():
        monkeypatch.setenv(f"BENTOML_{name}", value)
    loaded = options("svc:svc", "--api-workers", "3").loaded
    assert loaded.config.api_server.http.host == "::1"
    assert loaded.config.api_server.workers == 3
    assert loaded.origins == {
        "api_server.http.port": "BENTOML_PORT",
        "api_server.http.host": "BENTOML_HOST",
        "api_server.workers": "--api-workers",
        "api_server.traffic.timeout": "BENTOML_TIMEOUT",
        "runners.traffic.timeout": "BENTOML_TIMEOUT",
    }


def test_flags_win_over_a_file_in_the_working_directory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    project = tmp_path / "project"
    project.mkdir()
    file = project / "bentoml_configuration.yaml"
    file.write_text("api_server: {http: {port: 4000}, workers: 5}")
    for args in (["svc:svc", "--working-dir", str(project)], [str(project)]):
        caplog.clear()
        with caplog.at_level("INFO", logger="bentoml"):
            loaded = options(*args, "-p", "4001").loaded
        assert (loaded.config.api_server.http.port, loaded.config.api_server.workers) == (4001, 5)
        assert caplog.messages == [f"using the configuration file {file}"]


def test_the_configuration_is_that_of_the_process_from_then_on() -> None:
    made = options("--port", "3009")
    assert config.current() is made.loaded


def test_reload_implies_development(caplog: pytest.LogCaptureFixture) -> None:
    assert options("--reload")[3:5] == (True, True)
    assert options("--development")[3:5] == (True, False)
    assert options("--production")[3:5] == (False, False)
    assert caplog.messages == []
    assert options("--reload", "--production")[3:5] == (True, True)
    assert caplog.messages == ["--production has no effect: --reload serves for development"]


def test_production_and_development_exclude_each_other() -> None:
    with pytest.raises(click.UsageError, match="exclude each other"):
        options("--production", "--development")


def test_localhost_is_taken_for_127_0_0_1_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    assert options("--host", "localhost").loaded.config.api_server.http.host == "127.0.0.1"
    assert caplog.messages == ["localhost is taken for 127.0.0.1: only this machine can connect"]


def test_a_host_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BentoMLConfigException) as caught:
        options("--host", "example.org")
    assert str(caught.value) == (
        "`api_server.http.host` must be an IPv4 or IPv6 address, not 'example.org' (set by --host) "
        "(hint: 0.0.0.0 for every network of this machine, 127.0.0.1 for this machine alone)"
    )
    monkeypatch.setenv("BENTOML_CONFIG_OPTIONS", "api_server.http.host=localhost")
    with pytest.raises(BentoMLConfigException, match="not 'localhost' \\(set by BENTOML_CONFIG_OPTIONS\\)"):
        options()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--port", "70000"], "`api_server.http.port`: expected `int` <= 65535 (set by --port)"),
        (["--api-workers", "0"], "`api_server.workers`: expected `int` >= 1 (set by --api-workers)"),
        (["--timeout", "0"], "`api_server.traffic.timeout`: expected `float` > 0.0 (set by --timeout)"),
        (["--backlog", "1"], "`api_server.backlog`: expected `int` >= 64 (set by --backlog)"),
    ],
)
def test_a_value_beyond_its_limit_names_the_flag(args: list[str], text: str) -> None:
    result = invoke("serve", *args)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: `serve` failed: ")
    assert result.stderr.endswith(f"{text}\n")


@pytest.mark.parametrize("args", [["--port", "x"], ["--working-dir", "nowhere"], ["a", "b"], ["--timeout", "soon"]])
def test_a_value_of_the_wrong_kind_is_wrong_usage(args: list[str]) -> None:
    assert invoke("serve", *args).exit_code == 2


def test_the_defaults_in_the_help_are_those_of_the_configuration() -> None:
    helps = {param.name: param.help for param in serve.params if isinstance(param, click.Option)}
    for name, keys in KEYS.items():
        if name == "api_workers" or name.startswith("ssl_") or name == "uds":
            continue
        shown = re.search(r"\[default: (.*)\]", helps[name] or "")
        assert shown is not None
        for text, key in zip(shown[1].split(" and "), keys, strict=True):
            value: object = Config()
            for part in key.split("."):
                value = getattr(value, part)
            assert str(value).removesuffix(".0") == text.removesuffix(".0"), key


# -- the real server ----------------------------------------------------------------------------------------------


def test_an_unknown_service_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    done = run("serve", "nope:svc", "--port", "0", "--development", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"Error: `serve` failed: there is no module 'nope' in {tmp_path}, and no bento of that name in the store "
        "(hint: Python files there: service.py)"
    )


def test_an_unknown_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("import bentoml\nbentoml.models.get('nope')\n" + SERVICE)
    done = run("serve", ".", "--port", "0", "--development", home=tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert "Error: `serve` failed: no model 'nope' in the store" in done.stderr.splitlines()[-1]


def test_a_taken_port_is_one_line_and_the_first_server_goes_on(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", ".", "--host", "127.0.0.1", "--port", str(port), home=tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: `serve` failed: port {port} on 127.0.0.1 is already in use (hint: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("mode", ["--production", "--development"])
def test_a_service_is_served_until_a_signal_comes(tmp_path: Path, mode: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    command = [sys.executable, "-m", "bentoml", "serve", "service:svc", mode, "--api-workers", "1"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        url = next(found[1] for line in process.stdout if (found := re.search(r"open (http://\S+)", line)))
        request = urllib.request.Request(f"{url}/echo", b'{"a": 1}', {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.read() == b'{"a":1}'
        process.send_signal(signal.SIGINT)
        assert "stopping" in process.stdout.read()
    assert process.wait(timeout=30) == 0
