"""T25: nothing is ever sent anywhere: commands and servers run where every other address than this machine is out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests._server import PATIENCE_S, SOURCE, bentoml, environment, serving

#: Python imports it at its start. An offence is noted as well as refused, since whoever is refused may keep it quiet.
GUARD = """
import sys

NOTES = {notes!r}
LOCAL = ("127.", "::1", "localhost")


def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "127."
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host or "127."
    if not str(host).startswith(LOCAL):
        with open(NOTES, "a") as file:
            file.write(f"{{event}} {{host}} {{sys.argv}}\\n")
        raise PermissionError(f"{{event}} {{host}}")


sys.addaudithook(guard)
"""
SERVICE = """
import bentoml
from bentoml.io import JSON

model = bentoml.picklable_model.get("double").to_runner()
svc = bentoml.Service("offline", runners=[model])

@svc.api(input=JSON(), output=JSON())
async def double(value):
    return await model.async_run(value)
"""
SAVE = "import bentoml; bentoml.picklable_model.save_model('double', abs)"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where offences are noted."""
    (tmp_path / "guard").mkdir()
    path = tmp_path / "notes.txt"
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD.format(notes=str(path)))
    return path


def guarded(notes: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": f"{notes.parent / 'guard'}:{SOURCE}",
        "BENTOML_API_WORKERS": "1",
        "BENTOML_CONFIG_OPTIONS": "runners.placement=worker_process runners.resources.cpu=1",
    }


def python(code: str, notes: Path) -> subprocess.CompletedProcess[str]:
    home = notes.parent / "home"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home, guarded(notes)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_the_guard_of_these_tests_guards(notes: Path) -> None:
    done = python("import socket; socket.create_connection(('192.0.2.1', 80), 5)", notes)
    assert "PermissionError" in done.stderr
    assert "192.0.2.1" in notes.read_text()


def test_models_are_saved_listed_and_served_and_nobody_outside_is_asked(notes: Path) -> None:
    folder, home = notes.parent, notes.parent / "home"
    assert python(SAVE, notes).returncode == 0
    for arguments in (("models", "list"), ("models", "get", "double:latest"), ("env",), ("--version",), ("--help",)):
        done = bentoml(*arguments, folder=folder, home=home, extra=guarded(notes))
        assert done.returncode == 0, done.stderr
    (folder / "service.py").write_text(SERVICE)
    with serving("service:svc", folder=folder, home=home, extra=guarded(notes)) as server:
        assert server.post("/double", -3).value == 3
        assert server.request("POST", "/double", b"{").status == 400
        assert b"<script" in server.get("/").body
        assert server.get("/metrics").status == 200
        workers = [psutil.Process(server.process.pid), *server.workers("api_server"), *server.workers("runner")]
        assert len(workers) == 3
        # Sockets that native code may have opened, which the guard cannot see.
        ends = [end for each in workers for end in each.net_connections(kind="inet")]
        assert ends != []
        assert {address.ip for end in ends for address in (end.laddr, end.raddr) if address} == {"127.0.0.1"}
    assert not notes.exists(), notes.read_text()
