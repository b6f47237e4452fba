"""The example in a real image: built from the store, started from the image, asked, and ended by SIGTERM.

`make test-image` runs it: it takes minutes, and root, buildah and debootstrap.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests import _images, _server
from tests.conftest import EXAMPLE, Trained

pytestmark = pytest.mark.image

BASE_IMAGE_KEYS = f"""
docker:
  base_image: {_images.BASE_IMAGE}
"""
BUILD = "import bentoml; print(bentoml.bentos.build_bentofile().tag)"


class Image(NamedTuple):
    buildah: _images.Buildah
    name: str
    printed: str


@pytest.fixture(scope="module")
def image(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The example as an image, by way of the store and the command line."""
    _images.require_tools()
    folder = tmp_path_factory.mktemp("image")
    bento = _example_bento(trained, folder)
    with _images.buildah_with_base_image(folder) as buildah:
        name = "localhost/credit-risk:test"
        done = subprocess.run(
            [
                sys.executable, "-m", "bentoml", "containerize", bento, "--backend", "buildah", "-t", name,
                *_images.way_to_the_index(folder),
            ],
            env={**_server.environment(trained.home), **buildah.environment},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-6000:]}"
        yield Image(buildah, name, done.stdout)


def _example_bento(trained: Trained, folder: Path) -> str:
    """The tag of a bento of the example that asks for our base image, in the store of `trained`."""
    project = folder / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    with (project / "bentofile.yaml").open("a") as bentofile:
        bentofile.write(BASE_IMAGE_KEYS + f"  python_version: '{_images.python_version()}'\n")
    built = subprocess.run(
        [sys.executable, "-c", BUILD],
        cwd=project,
        env=_server.environment(trained.home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return built.stdout.split()[-1]


@pytest.fixture(scope="module")
def running(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[_server.Server, str]]:
    """A server that the image's own entrypoint started, and its container; on loopback only."""
    config = image.buildah.config(image.name)
    log_path = tmp_path_factory.mktemp("log") / "container.log"
    with image.buildah.container(image.name) as container, log_path.open("wb") as log:
        options = ["--env", "BENTOML_HOST=127.0.0.1", "--env", f"PORT={_free_port()}"]
        process = subprocess.Popen(
            image.buildah.run(container, *config["Entrypoint"], options=options),
            env={**os.environ, **image.buildah.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        server = _server.Server(process, log_path)
        _server.running.append(server)
        try:
            yield server.wait_until_ready(), container
        finally:
            _server.running.remove(server)
            for each in _in_container(process):
                each.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _in_container(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of the container, the first one first."""
    if process.poll() is not None:
        return []
    below = psutil.Process(process.pid).children(recursive=True)
    return [each for each in below if "buildah" not in each.name()]


def test_the_command_says_what_it_made_and_how_to_run_it(image: Image) -> None:
    said, hint = image.printed.splitlines()
    assert re.fullmatch(
        r'Successfully built Bento container for "credit_risk_classifier:\w+" with tag\(s\) "localhost/credit-risk:test"',
        said,
    )
    assert hint.endswith("podman run --rm -p 3000:3000 localhost/credit-risk:test")


def test_the_image_says_how_it_is_run_and_watched(image: Image) -> None:
    config = image.buildah.config(image.name)
    assert config["User"] == "1034:1034"
    assert config["Entrypoint"] == ["/bin/sh", "/home/bentoml/bento/env/docker/entrypoint.sh"]
    assert config["WorkingDir"] == "/home/bentoml/bento"
    assert config["StopSignal"] == "SIGTERM"
    assert config["ExposedPorts"] == {"3000/tcp": {}}
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "python", "-c"]
    assert {"BENTO_PATH=/home/bentoml/bento", "BENTOML_HOME=/home/bentoml/"} <= set(config["Env"])


def test_the_image_has_what_was_locked_and_nothing_of_the_build(image: Image) -> None:
    bento = "/home/bentoml/bento"
    with image.buildah.container(image.name) as container:

        def inside(*command: str) -> str:
            return image.buildah(*image.buildah.run(container, *command)[1:])

        assert inside("python", "-m", "pip", "check") == "No broken requirements found."
        installed = inside("python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check").splitlines()
        locked = re.findall(r"^(\S+==\S+)", inside("cat", f"{bento}/env/python/requirements.lock.txt"), re.MULTILINE)
        assert locked
        named = {_normal(line) for line in installed}
        missing = {_normal(line) for line in locked} - named
        assert missing == set(), "locked and not installed"
        assert any(line.startswith("makunouchi==") for line in named)
        assert not any(line.startswith("bentoml==") for line in named)
        assert inside("id", "-u") == "1034"
        assert inside("sh", "-c", "ls -d /tmp/bento /var/cache/pip 2>/dev/null || true") == ""
        assert (
            inside("sh", "-c", "echo $(stat -c %u $BENTO_PATH $BENTO_PATH/src $BENTO_PATH/models)") == "1034 1034 1034"
        )


def _normal(line: str) -> str:
    return line.lower().replace("_", "-")


def test_it_answers_the_request_of_the_example(running: tuple[_server.Server, str]) -> None:
    server, _ = running
    request = (EXAMPLE / "request.txt").read_text()
    body = json.loads(request[request.index("{") : request.rindex("}") + 1])
    answer = server.post("/classify", body)
    assert (answer.status, answer.value) == (200, {"Status": "MAYBE"})


def test_it_is_several_processes_of_a_user_who_is_not_root(running: tuple[_server.Server, str]) -> None:
    server, _ = running
    processes = _in_container(server.process)
    assert {each.uids().real for each in processes} == {1034}
    assert "serve" in processes[0].cmdline()


def test_the_health_check_of_the_image_passes_while_it_serves(
    running: tuple[_server.Server, str], image: Image
) -> None:
    server, _ = running
    check = image.buildah.config(image.name)["Healthcheck"]["Test"][1:]
    with image.buildah.container(image.name) as another:
        image.buildah(*image.buildah.run(another, *check, options=["--env", f"PORT={server.port}"])[1:])


def test_sigterm_ends_it_cleanly(running: tuple[_server.Server, str]) -> None:
    """The last test of this module: nothing runs in the container any more."""
    server, _ = running
    first = _in_container(server.process)[0]
    first.send_signal(signal.SIGTERM)
    assert server.wait() == 0, server.log
    assert _in_container(server.process) == []
