"""`bentoml serve` as a real process for the tests: started on a free port, waited for, stopped by its own pid."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import bentoml as bentoml_package

#: Long enough for a machine that runs other things as well; only a test that fails ever waits so long.
PATIENCE_S = 90.0

#: Where the package under test was imported from; its commands run in other folders.
SOURCE = str(Path(bentoml_package.__file__).parents[1])

#: The servers of this process that are up; a failing test shows their logs.
running: list[Server] = []


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition and return its value; it is looked at often, as nothing announces it."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"waited {PATIENCE_S:g} s for: {what}"
        threading.Event().wait(0.01)
    return value


class Server:
    """A running `bentoml serve`.

    Attributes:
        tls: how to speak to one that answers with HTTPS.
    """

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.process = process
        self.log_path = log_path
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def said(self, text: str) -> None:
        """Wait until the log holds the text."""
        until(lambda: text in self.log or self.process.poll() is not None, f"{text!r} in the log")
        assert text in self.log, f"{text!r} is not in the log of a server that has ended:\n{self.log}"

    def workers(self, kind: str) -> list[psutil.Process]:
        """Its live workers of one kind: `api_server` or `runner`."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if child.cmdline()[-1].startswith(f"{kind}:") and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
        return found

    def connect(self) -> http.client.HTTPConnection:
        if self.tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE_S, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            return exchange(connection, method, path, body, headers)

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """POST the value as JSON."""
        return self.request("POST", path, json.dumps(value).encode(), headers)

    def post_all(self, path: str, values: Sequence[Any], *, connections: int = 16) -> list[Answer]:
        """POST all values over a few connections at a time; the answers in the order of the values."""
        local = threading.local()
        opened: list[http.client.HTTPConnection] = []

        def send(value: Any) -> Answer:
            if not hasattr(local, "connection"):
                local.connection = self.connect()
                opened.append(local.connection)
            return exchange(local.connection, "POST", path, json.dumps(value).encode())

        with ThreadPoolExecutor(connections) as pool:
            answers = list(pool.map(send, values))
        for connection in opened:
            connection.close()
        return answers

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def wait_until_ready(self) -> Server:
        """Wait until it has said where it runs and /readyz answers 200."""

        def announced() -> re.Match[str] | None:
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
            return re.search(r"running on https?://\S+:(\d+) ", self.log)

        self.port = int(until(announced, "the server's announcement")[1])
        until(self.is_ready, "/readyz")
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on an open connection."""
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command: this one's without any setting of ours, and the store at `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BENTOML_")}
    return {**kept, "BENTOML_HOME": str(home), "PYTHONPATH": SOURCE, **(extra or {})}


def bentoml(
    *arguments: str, folder: Path, home: Path, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of `bentoml` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bentoml", *arguments],
        cwd=folder,
        env=environment(home, extra),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@contextlib.contextmanager
def started(
    *arguments: str, folder: Path, home: Path, extra: Mapping[str, str] | None = None, port: int | None = 0
) -> Iterator[Server]:
    """A server that may not be up yet; asked to end after the block. `port=None`: other settings choose the port."""
    log_path = folder / f"serve-{time.monotonic_ns()}.log"
    options = [] if port is None else ["--port", str(port)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", *arguments, *options],
            cwd=folder,
            env=environment(home, {"BENTOML_HOST": "127.0.0.1", **(extra or {})}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, log_path)
    running.append(server)
    try:
        yield server
        server.stop()
    finally:
        running.remove(server)
        if process.poll() is None:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(
    *arguments: str, folder: Path, home: Path, extra: Mapping[str, str] | None = None, port: int | None = 0
) -> Iterator[Server]:
    """A server that is up in the block and asked to end after it."""
    with started(*arguments, folder=folder, home=home, extra=extra, port=port) as server:
        yield server.wait_until_ready()


def sample(server: Server, name: str, **labels: str) -> float:
    """The sum of the samples of one metric that have these labels."""
    total = 0.0
    for line in server.get("/metrics").body.decode().splitlines():
        match = re.fullmatch(r"([a-zA-Z0-9_:]+)(?:\{(.*)\})? (\S+)", line)
        if match and match[1] == name:
            found = dict(re.findall(r'([a-zA-Z0-9_]+)="([^"]*)"', match[2] or ""))
            if labels.items() <= found.items():
                total += float(match[3])
    return total
