"""A runner worker process: holds one model and serves it to the API workers of the same server."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable

from bentoml.config import LoadedConfig
from bentoml.runner.serving import EngineServer
from bentoml.server.control import Go, Start
from bentoml.server.runner_metrics import RunnerMetrics
from bentoml.server.worker import Worker, run_worker
from bentoml.service.service import Service

__all__ = ["RunnerWorker"]


class RunnerWorker(Worker):
    """Serves one runner's engine on the inherited unix socket."""

    def __init__(self, service: Service, loaded: LoadedConfig, start: Start) -> None:
        super().__init__(service, loaded, start)
        runner = next(runner for runner in service.runners if runner.name == start.runner)
        settings = loaded.runner(runner.name)
        if settings.metrics.enabled:
            observer = RunnerMetrics(service, runner, loaded, worker_index=start.index)
            self._engine = runner.engine(settings, observer)
            observer.watch(self._engine)
        else:
            self._engine = runner.engine(settings)
        self._server = EngineServer(self._engine, socket.socket(fileno=start.listen_fd))

    async def begin(self, go: Go) -> Callable[[], None]:
        await asyncio.to_thread(self._engine.load)
        self._engine.start()
        return self._server.start

    async def end(self) -> None:
        await self._server.close()
        await self._engine.close()


if __name__ == "__main__":
    sys.exit(run_worker(RunnerWorker))
