"""serve(): a service behind a real socket for the tests of its authors, in a thread or in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from bentoml import config
from bentoml.client import HTTPClient
from bentoml.http_server import HTTPServer
from bentoml.service.loader import load
from bentoml.service.service import Service
from bentoml.testing.thread_server import ThreadServer

__all__ = ["Served", "serve"]

_OPTIONS = "BENTOML_CONFIG_OPTIONS"


class Served:
    """A service that is up.

    Attributes:
        host, port: where it listens.
        service: the object that is served; None where it lives in another process.
        process: the process that serves it; None where it lives in this one.
    """

    def __init__(
        self, host: str, port: int, *, service: Service | None = None, process: HTTPServer | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.service = service
        self.process = process

    @property
    def url(self) -> str:
        """`http://<host>:<port>`."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @cached_property
    def client(self) -> HTTPClient:
        """A client of it, which is closed with it.

        Raises:
            MissingDependencyException: httpx is not installed.
        """
        return HTTPClient.from_url(self.url)

    def _close(self) -> None:
        if "client" in vars(self):
            self.client.close()


@contextlib.contextmanager
def serve(
    target: Service | str | os.PathLike[str],
    *,
    in_thread: bool = True,
    host: str = "127.0.0.1",
    port: int = 0,
    working_dir: str | None = None,
    options: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Iterator[Served]:
    """Serve a service in the block of a `with` statement.

    In a thread the service is the very object of the test, with its runners beside it: what a test changes with
    `monkeypatch` is what is served, a breakpoint stops in it, and it is up in milliseconds. In processes it is what
    `bentoml serve` makes of it, with its workers and placements.

    Args:
        target: a Service, or what `bentoml serve` takes.
        port: 0 takes a free one.
        working_dir: where modules and files are looked up.
        options: keys of the configuration, for instance `{"api_server.traffic.timeout": 1}`, on top of what the
            environment asks for. In a thread there is one worker and every runner is in process, whatever they say.
        env: variables for the processes.
        timeout: seconds until the processes must be ready.

    Raises:
        ImportServiceError: there is no such service.
        ServerStateException: the processes do not come up; has their output.
        UnservableException: the Service can only be served in a thread.
        Exception: what a hook, or a model that cannot be loaded, raised in the thread.
    """
    environment = {**os.environ, **(env or {})}
    words = [f"{key}={_one_word(value)}" for key, value in (options or {}).items()]
    environment[_OPTIONS] = " ".join([environment.get(_OPTIONS, ""), *words])
    if in_thread:
        service = target if isinstance(target, Service) else load(target, working_dir)
        thread = ThreadServer(service, config.from_environment(environment), host=host, port=port)
        served, stop = Served(host, thread.port, service=service), thread.stop
    else:
        process = HTTPServer(target, host=host, port=port, working_dir=working_dir, timeout=timeout)
        process.start(env=environment)
        served, stop = Served(host, process.port, process=process), process.stop
    try:
        if served.process is not None:
            vars(served)["client"] = served.process.get_client()
        yield served
    finally:
        served._close()
        stop()


def _one_word(value: Any) -> str:
    """The value as JSON, which is YAML, without a space."""
    return json.dumps(value, separators=(",", ":")).replace(" ", "\\u0020")
