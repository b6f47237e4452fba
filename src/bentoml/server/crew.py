"""Crew: keeps worker processes alive; names the cause of each death, starts successors, gives up a crash loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from bentoml import _metrics
from bentoml._process import ProcessSpec, describe_exit
from bentoml._resources import oom_kills
from bentoml.exceptions import BentoMLException
from bentoml.server.child import Child
from bentoml.server.control import FAILED_TO_START, Start
from bentoml.server.restart import GiveUp, Life, decide_restart

__all__ = ["Crew"]

logger = logging.getLogger("bentoml")

#: What workers get beyond their own grace period before they are killed, in seconds: shutdown hooks run in it.
KILL_MARGIN_S = 10.0
#: The return codes of workers that ended because they were asked to, the last one while they were starting.
_ASKED_FOR = (0, FAILED_TO_START, -signal.SIGTERM)


class Crew:
    """The workers of one server.

    Args:
        start_message: makes a worker's first message.
        inherited_fds: the descriptors that a worker needs.
        bring_up: talks a started worker into readiness; returns when it is ready or has failed.
        on_give_up: called with the reason when the server cannot go on.
        metrics_dir: where a dead worker is marked as such.
        patient: after a failure wait for `restart` rather than try again: the code is being edited.

    Attributes:
        settled: whether the server was up once; until then a worker that cannot start ends it.
    """

    def __init__(
        self,
        *,
        start_message: Callable[[ProcessSpec], Start],
        inherited_fds: Callable[[ProcessSpec], list[int]],
        bring_up: Callable[[Child], Awaitable[None]],
        on_give_up: Callable[[BentoMLException, str], None],
        metrics_dir: Path,
        patient: bool,
    ) -> None:
        self._start_message = start_message
        self._inherited_fds = inherited_fds
        self._bring_up = bring_up
        self._on_give_up = on_give_up
        self._metrics_dir = metrics_dir
        self._patient = patient
        self._children: dict[str, Child] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._edited = asyncio.Event()
        self._restarts = _metrics.DEFAULT.counter(
            "worker_restarts", "Workers that ended and were started again", ("worker",), namespace="bentoml"
        )
        self.settled = False

    def add(self, specs: Iterable[ProcessSpec]) -> None:
        """Keep these workers alive from now on."""
        self._tasks += [asyncio.create_task(self._keep_alive(spec), name=spec.name) for spec in specs]

    def ready(self, specs: Iterable[ProcessSpec]) -> bool:
        """Whether all these workers are ready."""
        children = [self._children.get(spec.name) for spec in specs]
        return all(child is not None and child.ready_at is not None for child in children)

    def settle(self, specs: Iterable[ProcessSpec]) -> None:
        """Tell these workers that the server is up."""
        self.settled = True
        for spec in specs:
            self._children[spec.name].settle()

    @property
    def failed(self) -> bool:
        """Whether one of them has said that it cannot start."""
        return any(child.failed is not None for child in self._children.values())

    async def _keep_alive(self, spec: ProcessSpec) -> None:
        lives: list[Life] = []
        while not self._stopping.is_set():
            self._edited.clear()
            child = self._children[spec.name] = Child(spec)
            kills_before = oom_kills()
            await child.start(self._start_message(spec), self._inherited_fds(spec))
            await self._bring_up(child)
            code = await child.ended()
            _metrics.mark_dead(self._metrics_dir, child.pid)
            if self._stopping.is_set():
                return
            if child.failed is not None and not self.settled:
                self._on_give_up(BentoMLException(child.failed.message), child.failed.details)
                return
            lived_s = time.monotonic() - child.ready_at if child.ready_at is not None else 0.0
            if child.restarting:
                continue
            if child.failed is not None:
                logger.error("%s could not start: %s", spec.name, child.failed.message)
            else:
                cause = describe_exit(code, out_of_memory=oom_kills() > kills_before)
                logger.error("%s (pid %d) %s after %.1f s", spec.name, child.pid, cause, lived_s)
            if self._patient:
                logger.info("waiting for a file to change")
                await self._edited.wait()
                continue
            lives.append(Life(lived_s))
            decision = decide_restart(lives)
            if isinstance(decision, GiveUp):
                self._on_give_up(
                    BentoMLException(
                        f"{spec.name} died {decision.deaths} times in a row; giving up",
                        hint="the lines above say what it died of",
                    ),
                    "",
                )
                return
            logger.info("starting %s again in %.1f s", spec.name, decision.delay_s)
            self._restarts.labels(spec.name).inc()
            await asyncio.sleep(decision.delay_s)

    def restart(self) -> None:
        """Let every worker finish what it has and start a successor: the code was edited."""
        self._edited.set()
        for child in self._children.values():
            child.restarting = True
            child.stop(succeeded=True)

    def kill(self) -> None:
        """End every worker at once."""
        for child in self._children.values():
            child.kill()

    async def stop(self, kind: str, grace_s: float) -> bool:
        """Let the workers of one kind finish and end; whether all of them ended as asked."""
        self._stopping.set()
        children = [child for child in self._children.values() if child.spec.kind == kind and child.pid]
        for child in children:
            child.stop(succeeded=False)
        endings = [asyncio.create_task(child.ended()) for child in children]
        if not endings:
            return True
        _, late = await asyncio.wait(endings, timeout=grace_s + KILL_MARGIN_S)
        if late:
            logger.warning("%d workers did not end in time and are killed", len(late))
            for child in children:
                child.kill()
            await asyncio.wait(late)
        return all(ending.result() in _ASKED_FOR for ending in endings)

    async def disband(self) -> None:
        """Forget the workers, which have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
