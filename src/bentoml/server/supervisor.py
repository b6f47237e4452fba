"""The supervisor: binds the port once, starts the workers, says what runs where, restarts the dead, drains on SIGTERM.

bind ─► start API workers ─► the first describes the service ─► plan ─► Go ─► all ready ─► announce
                                    │ fails: print why, exit 1
worker dies ─► name the cause ─► decide_restart ─► start a successor, or give up with exit 1
SIGTERM, SIGINT ─► SIGTERM to the workers ─► they drain ─► exit 0       a second signal: SIGKILL
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bentoml import _metrics
from bentoml._process import ProcessSpec, describe_exit
from bentoml._resources import oom_kills, whole_cpus
from bentoml.config import LoadedConfig, home
from bentoml.exceptions import BentoMLException
from bentoml.server.control import FAILED_TO_START, Described, Go, Start
from bentoml.server.plan import api_worker_specs, choose_placement
from bentoml.server.reload import changes
from bentoml.server.restart import GiveUp, Life, decide_restart
from bentoml.server.sockets import bind
from bentoml.server.child import Child

__all__ = ["ServeOptions", "serve"]

logger = logging.getLogger("bentoml")

#: What workers get beyond their own grace period before they are killed, in seconds: shutdown hooks run in it.
KILL_MARGIN_S = 10.0


class ServeOptions(NamedTuple):
    """What `bentoml serve` was asked for.

    Attributes:
        identifier: as given by the user.
        development: one API worker, without restarts.
        reload: restart the workers when a file of the working directory changes.
    """

    identifier: str
    working_dir: str | None
    loaded: LoadedConfig
    development: bool = False
    reload: bool = False


def serve(options: ServeOptions) -> int:
    """Serve until SIGTERM or SIGINT; the exit code.

    Raises:
        BentoMLException: the port is taken, or the service cannot be started; says why.
    """
    http = options.loaded.config.api_server.http
    sock = bind(http.host, http.port, backlog=options.loaded.config.api_server.backlog)
    metrics_dir = tempfile.mkdtemp(prefix="bentoml-metrics-")
    try:
        return asyncio.run(_Supervisor(options, sock, metrics_dir).run())
    finally:
        sock.close()
        shutil.rmtree(metrics_dir, ignore_errors=True)


class _Supervisor:
    def __init__(self, options: ServeOptions, sock: socket.socket, metrics_dir: str) -> None:
        self.options = options
        self.config = options.loaded.config
        self.sock = sock
        self.metrics_dir = metrics_dir
        self.workers: dict[str, Child] = {}
        self.stopping = asyncio.Event()
        self.changed = asyncio.Event()
        self.exit_code = 0
        self.cause: BentoMLException | None = None
        self.planned = False
        self.announced = False
        self.started_s = time.monotonic()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        specs = api_worker_specs(
            workers=self._worker_count(),
            cpus=whole_cpus(),
            development=self.options.development,
            environment=os.environ,
            service=self.options.identifier.rpartition(":")[2],
        )
        tasks = [asyncio.create_task(self._keep_alive(spec), name=spec.name) for spec in specs]
        if self.options.reload:
            tasks.append(asyncio.create_task(self._reload_on_change(), name="reload"))
        await self.stopping.wait()
        await self._stop_workers()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.cause is not None:
            raise self.cause
        return self.exit_code

    def _worker_count(self) -> int:
        return 1 if self.options.development else self.config.api_server.workers or whole_cpus()

    # -- one worker, for ever -----------------------------------------------------------------------------------------

    async def _keep_alive(self, spec: ProcessSpec) -> None:
        lives: list[Life] = []
        while not self.stopping.is_set():
            self.changed.clear()
            worker = self.workers[spec.name] = Child(spec)
            kills_before = oom_kills()
            await worker.start(self._start_message(spec), [self.sock.fileno()])
            await self._bring_up(worker)
            code = await worker.ended()
            _metrics.mark_dead(Path(self.metrics_dir), worker.pid)
            if self.stopping.is_set():
                return
            if worker.failed is not None and not self.announced:
                self._give_up(BentoMLException(worker.failed.message), worker.failed.details)
                return
            lived_s = time.monotonic() - worker.ready_at if worker.ready_at is not None else 0.0
            if worker.restarting:
                continue
            if worker.failed is not None:
                logger.error("%s could not start: %s", spec.name, worker.failed.message)
            else:
                cause = describe_exit(code, out_of_memory=oom_kills() > kills_before)
                logger.error("%s (pid %d) %s after %.1f s", spec.name, worker.pid, cause, lived_s)
            if self.options.reload:
                logger.info("waiting for a file to change")
                await self.changed.wait()
                continue
            lives.append(Life(lived_s))
            decision = decide_restart(lives)
            if isinstance(decision, GiveUp):
                self._give_up(
                    BentoMLException(
                        f"{spec.name} died {decision.deaths} times in a row; giving up",
                        hint="the lines above say what it died of",
                    )
                )
                return
            logger.info("starting %s again in %.1f s", spec.name, decision.delay_s)
            await asyncio.sleep(decision.delay_s)

    async def _reload_on_change(self) -> None:
        folders = [Path(self.options.working_dir or "."), home() / "models"]
        async for files in changes(folders, self.stopping):
            logger.info("%s changed: reloading", ", ".join(os.path.relpath(file) for file in files[:3]))
            self.changed.set()
            for worker in self.workers.values():
                worker.restarting = True
                worker.signal(signal.SIGTERM)

    async def _bring_up(self, worker: Child) -> None:
        description = await worker.described()
        if description is None:
            return
        if not self.planned:
            self.planned = True
            self._print_plan(description)
        if await worker.become_ready(Go()) and not self.announced and self._all_ready():
            self.announced = True
            self._announce()

    def _all_ready(self) -> bool:
        return len(self.workers) == self._worker_count() and all(w.ready_at is not None for w in self.workers.values())

    def _start_message(self, spec: ProcessSpec) -> Start:
        loaded = self.options.loaded
        return Start(
            name=spec.name,
            index=spec.index,
            identifier=self.options.identifier,
            working_dir=self.options.working_dir,
            config=loaded.tree,
            origins=loaded.origins,
            listen_fd=self.sock.fileno(),
            metrics_dir=self.metrics_dir,
            log_level=logger.level,
            development=self.options.development,
        )

    # -- what a human sees --------------------------------------------------------------------------------------------

    def _print_plan(self, description: Described) -> None:
        workers = self._worker_count()
        for name in self.options.loaded.unknown_runners([facts.name for facts in description.runners]):
            logger.warning("the configuration has a section for the runner %s, which this service does not have", name)
        logger.info(
            "%d API worker%s for %s", workers, "s" if workers > 1 else "", ", ".join(description.apis) or "no API"
        )
        for facts in description.runners:
            choice = choose_placement(facts, self.options.loaded.runner(facts.name), api_workers=workers)
            logger.info("runner %s (%s): %s (%s)", facts.name, ", ".join(facts.models) or facts.runnable, *choice)

    def _announce(self) -> None:
        host, port = self.sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        local = "localhost" if host in ("0.0.0.0", "::") else shown
        if self.config.api_server.metrics.enabled:
            logger.info(
                'Prometheus metrics for HTTP BentoServer from "%s" can be accessed at http://%s:%d/metrics.',
                self.options.identifier,
                local,
                port,
            )
        logger.info(
            'Starting %s HTTP BentoServer from "%s" running on http://%s:%d (Press CTRL+C to quit)',
            "development" if self.options.development else "production",
            self.options.identifier,
            shown,
            port,
        )
        logger.info("ready after %.1f s; open http://%s:%d", time.monotonic() - self.started_s, local, port)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _on_signal(self) -> None:
        if self.stopping.is_set():
            logger.warning("stopping at once: requests in flight are lost")
            for worker in self.workers.values():
                worker.signal(signal.SIGKILL)
            return
        logger.info("stopping: finishing the requests in flight")
        self.stopping.set()

    def _give_up(self, cause: BentoMLException, details: str = "") -> None:
        if details:
            logger.debug("%s", details)
        if self.cause is None:
            self.cause = cause
        self.stopping.set()

    async def _stop_workers(self) -> None:
        for worker in self.workers.values():
            worker.signal(signal.SIGTERM)
        endings = [asyncio.create_task(worker.ended()) for worker in self.workers.values() if worker.pid]
        if not endings:
            return
        _, late = await asyncio.wait(endings, timeout=self.config.api_server.shutdown_grace + KILL_MARGIN_S)
        if late:
            logger.warning("%d workers did not end in time and are killed", len(late))
            for worker in self.workers.values():
                worker.signal(signal.SIGKILL)
            await asyncio.wait(late)
        if any(ending.result() not in (0, FAILED_TO_START) for ending in endings) and self.cause is None:
            self.exit_code = 1
