"""What supervisor and workers say to each other: typed messages, one JSON line each, over a private socket pair."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec

__all__ = [
    "FAILED_TO_START",
    "Channel",
    "Deploy",
    "Deployed",
    "Described",
    "Failed",
    "FromWorker",
    "Go",
    "Ready",
    "RunnerFacts",
    "Settled",
    "Start",
    "Stop",
    "ToWorker",
]


#: The exit code of a worker that could not start and has said why.
FAILED_TO_START = 3


class Start(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first message to a worker: who it is and what it serves.

    Attributes:
        config: the merged configuration as plain values; the worker reads no other source.
        listen_fd: the inherited listening socket: of the port for API workers, of the runner for runner workers.
        metrics_dir: where the processes of this server share their metrics.
    """

    name: str
    index: int
    identifier: str
    working_dir: str | None
    config: dict[str, Any]
    origins: dict[str, str]
    listen_fd: int
    metrics_dir: str
    log_level: int
    runner: str = ""


class Deploy(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """To the one worker that runs the deployment hooks of its service, before any worker loads a model."""


class Go(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """To a worker that has described its service: load the models and take requests.

    Attributes:
        sockets: runner name → paths of the sockets of its workers; a runner that is not named lives in this very
            process.
        settled: the server was up before; the worker is a successor.
    """

    sockets: dict[str, list[str]] = {}
    settled: bool = False


class Settled(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """To the API workers: all workers of the server are ready, and so is the server."""


class Stop(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """To a worker: finish what you have and end.

    Attributes:
        succeeded: others go on accepting from the listening socket; clients that wait there are left to them.
    """

    succeeded: bool


class RunnerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan must know of a runner.

    Attributes:
        worker_environments: the variables of each worker that its strategy asks for, should it get workers of its own.
    """

    name: str
    runnable: str
    models: list[str]
    model_bytes: int
    resources: list[str]
    embedded: bool
    worker_environments: list[dict[str, str]]


class Described(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A worker has imported the service.

    Attributes:
        resident_bytes: the memory that it takes now, before it loads any model; 0: not measured.
        has_deployment_hooks: whether one worker must be told to `Deploy`.
    """

    service: str
    apis: list[str]
    runners: list[RunnerFacts]
    resident_bytes: int = 0
    has_deployment_hooks: bool = False


class Deployed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A worker has run the deployment hooks."""


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A worker takes requests; `seconds` passed since it was started."""

    seconds: float


class Failed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A worker cannot start, and why; the supervisor prints it and starting again would not help."""

    message: str
    details: str = ""


ToWorker = Start | Deploy | Go | Settled | Stop
FromWorker = Described | Deployed | Ready | Failed


class Channel:
    """One end of a control socket; reading and writing are asynchronous.

    Args:
        sock: one end of a socket pair.
        incoming: the union of messages that may arrive.
    """

    def __init__(self, sock: socket.socket, incoming: Any) -> None:
        self._sock = sock
        self._decoder = msgspec.json.Decoder(incoming)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def receive_blocking(self) -> Any:
        """The first message, before there is an event loop; None when the other side is gone."""
        line = b""
        # Byte by byte: what follows the line belongs to the event loop's reader.
        while not line.endswith(b"\n"):
            byte = self._sock.recv(1)
            if not byte:
                return None
            line += byte
        return self._decoder.decode(line)

    def send_blocking(self, message: FromWorker) -> None:
        """Send a message before there is an event loop."""
        self._sock.sendall(msgspec.json.encode(message) + b"\n")

    async def open(self) -> None:
        """Attach to the running event loop."""
        self._sock.setblocking(False)
        # A configuration or a traceback is one line and may be long.
        self._reader, self._writer = await asyncio.open_connection(sock=self._sock, limit=16 * 1024 * 1024)

    async def receive(self) -> Any:
        """The next message; None when the other side is gone."""
        assert self._reader is not None
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return self._decoder.decode(line) if line.endswith(b"\n") else None

    def send(self, message: ToWorker | FromWorker) -> None:
        """Send a message; one that the other side no longer reads is lost."""
        assert self._writer is not None
        self._writer.write(msgspec.json.encode(message) + b"\n")

    async def close(self) -> None:
        """Send what is buffered and close."""
        if self._writer is not None:
            self._writer.close()
            try:
                await self._writer.wait_closed()
            except ConnectionError:
                return
