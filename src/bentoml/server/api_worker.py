"""An API worker process: reaches or loads the models of its service and answers requests."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import Callable, Sequence

from bentoml.config import LoadedConfig
from bentoml.runner.placements import Placement
from bentoml.runner.placements.worker_process import WorkerProcess
from bentoml.runner.runner import Runner
from bentoml.server.access_log import AccessLogWriter
from bentoml.server.app import App
from bentoml.server.control import Go, Start
from bentoml.server.limits import Limits
from bentoml.server.listener import Listener
from bentoml.server.placing import in_process, limited
from bentoml.server.runner_metrics import RunnerMetrics
from bentoml.server.tls import server_context
from bentoml.server.tracing import Tracing
from bentoml.server.worker import Worker, component, heed_the_supervisor_alone, run_worker
from bentoml.service.service import Service

__all__ = ["ApiWorker"]


class ApiWorker(Worker):
    """Answers requests on the inherited listening socket."""

    _app: App
    _listener: Listener
    _tracing: Tracing | None = None

    def __init__(self, service: Service, loaded: LoadedConfig, start: Start) -> None:
        super().__init__(service, loaded, start)
        self._placements: list[Placement] = []

    async def begin(self, go: Go) -> Callable[[], None]:
        server, tracing = self.loaded.config.api_server, self.loaded.config.tracing
        access = server.logging.access
        if tracing.exporter_type is not None:
            self._tracing = Tracing(tracing, self.service, component(self.service, self.start))
            self._tracing.start()
        self._app = App(
            self.service,
            self.loaded.config,
            is_ready=self._why_not_ready,
            access_log=AccessLogWriter(access, component(self.service, self.start)) if access.enabled else None,
            tracing=self._tracing,
        )
        self._listener = Listener(
            socket.socket(fileno=self.start.listen_fd),
            self._app.handle,
            limits=_limits(self.loaded),
            on_rejected=self._app.rejected,
            on_late=self._app.late,
            ssl=server_context(server.ssl),
        )
        for runner in self.service.runners:
            paths = go.sockets.get(runner.name)
            placement = (
                self._worker_process(runner, paths)
                if paths
                else in_process(runner, self.service, self.loaded, worker_index=self.start.index)
            )
            placement = limited(placement, runner, self.loaded)
            await placement.start()
            runner.attach(placement)
            self._placements.append(placement)
        # Whoever has called a hook for the start calls those for the end as well, whenever it is told to end.
        heed_the_supervisor_alone()
        await self._app.start()
        return self._listener.start

    def _worker_process(self, runner: Runner, paths: Sequence[str]) -> Placement:
        settings = self.loaded.runner(runner.name)
        observer = None
        if settings.metrics.enabled:
            observer = RunnerMetrics(self.service, runner, self.loaded, worker_index=self.start.index)
        placement = WorkerProcess(
            runner.name, paths, runner.plans(settings), timeout_s=settings.traffic.timeout, observer=observer
        )
        if observer is not None:
            observer.watch_queue(placement.queued_rows)
        return placement

    def _why_not_ready(self) -> str | None:
        if self.stopping.is_set():
            return "The server is shutting down."
        if not self.settled:
            return "The server is starting."
        if self.loaded.config.api_server.runner_probe.enabled and not all(p.is_ready for p in self._placements):
            return "Runners are not ready."
        return None

    async def end(self) -> None:
        await self._listener.drain(self.loaded.config.api_server.shutdown_grace, shared=self.succeeded)
        await self._app.stop()
        for placement in self._placements:
            await placement.close()
        self._app.close()
        if self._tracing is not None:
            await self._tracing.close()


def _limits(loaded: LoadedConfig) -> Limits:
    server = loaded.config.api_server
    return Limits(
        body_bytes=server.http.max_body_size,
        answer_timeout_s=server.traffic.timeout if server.traffic.timeout is not None else math.inf,
        keep_alive_s=server.traffic.keep_alive,
        connections=server.traffic.max_connections,
    )


if __name__ == "__main__":
    sys.exit(run_worker(ApiWorker))
