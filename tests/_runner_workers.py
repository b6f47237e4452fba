"""Real runner worker processes for the tests of the worker-process placement."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bentoml.config import Batching, RunnerConfig
from bentoml.runner.placements.worker_process import WorkerProcess
from bentoml.runner.runnable import Runnable
from bentoml.runner.runner import Runner
from bentoml.runner.serving import EngineServer

__all__ = ["Workers", "workers_of"]

_context = multiprocessing.get_context("spawn")


def _serve(sock: socket.socket, runnable: type[Runnable], params: dict[str, Any], config: RunnerConfig) -> None:
    """What a worker process does."""

    async def serve() -> None:
        engine = Runner(runnable, name="model", runnable_init_params=params).engine(config)
        engine.load()
        engine.start()
        EngineServer(engine, sock).start()
        await asyncio.Event().wait()

    asyncio.run(serve())


class Workers:
    """The workers of one runner; like a supervisor it holds their listening sockets."""

    def __init__(self, folder: Path, count: int, runnable: type[Runnable], config: RunnerConfig) -> None:
        self.runner = Runner(runnable, name="model")
        self.config = config
        self.folder = folder
        self.paths = [str(folder / f"{index}.sock") for index in range(count)]
        self._sockets = []
        for path in self.paths:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            sock.listen()
            self._sockets.append(sock)
        self.processes = [self._begun(index) for index in range(count)]

    def _begun(self, index: int) -> Any:
        params = {"folder": str(self.folder)} if "folder" in self.runner.runnable_class.__init__.__annotations__ else {}
        arguments = (self._sockets[index], self.runner.runnable_class, params, self.config)
        process = _context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        return process

    def placement(self, *, timeout_s: float = 900.0) -> WorkerProcess:
        """One that reaches them; not started."""
        return WorkerProcess("model", self.paths, self.runner.plans(self.config), timeout_s=timeout_s)

    def kill(self, index: int) -> None:
        """SIGKILL."""
        self.processes[index].kill()

    def restart(self, index: int) -> None:
        """Start a successor on the same socket."""
        self.processes[index].join()
        self.processes[index] = self._begun(index)

    def end(self) -> None:
        """Kill all."""
        for process in self.processes:
            process.kill()
            process.join()
        for sock in self._sockets:
            sock.close()


@contextlib.asynccontextmanager
async def workers_of(
    runnable: type[Runnable], *, count: int = 1, config: RunnerConfig | None = None, **batching: Any
) -> AsyncIterator[Workers]:
    """Worker processes; `batching`: limits of the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        workers = Workers(Path(folder), count, runnable, config or RunnerConfig(batching=Batching(**batching)))
        try:
            yield workers
        finally:
            workers.end()
