"""Lifespan: an ASGI application is told that the server starts and stops, if it wants to know."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from bentoml.exceptions import BentoMLException

__all__ = ["Lifespan"]

#: An application that has said that it failed or stopped may still raise what it failed with, in seconds.
_LAST_WORD_S = 1.0

logger = logging.getLogger("bentoml")


class Lifespan:
    """The lifespan protocol of one application. An application that does not know it goes without.

    Attributes:
        state: what the application left for its requests; each gets a shallow copy.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], name: str) -> None:
        self._app = app
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[Any] = asyncio.Queue()
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Let the application start.

        Raises:
            BentoMLException: it says that it cannot.
        """
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = asyncio.get_running_loop().create_task(self._run(scope))
        answer = await self._told("startup")
        if answer is None:
            # An application may raise at a scope that it does not know; its own failure to start looks the same.
            if self._error is not None:
                kind = type(self._error).__name__
                logger.info("%s takes no part in start and stop (%s: %s)", self._name, kind, self._error)
            self._task = None
        elif answer["type"] == "lifespan.startup.failed":
            await asyncio.wait([self._task], timeout=_LAST_WORD_S)
            self._task = None
            *_, reason = str(answer.get("message") or self._error or "it does not say why").strip().splitlines()
            raise BentoMLException(f"{self._name} failed to start: {reason}") from self._error

    async def stop(self) -> None:
        """Let the application clean up; a failure is logged."""
        if self._task is None:
            return
        answer = await self._told("shutdown")
        if answer is None or answer["type"] == "lifespan.shutdown.failed":
            reason = (answer or {}).get("message") or self._error or "it ended before it was told to"
            logger.error("%s failed to stop: %s", self._name, reason)
        await asyncio.wait([self._task], timeout=_LAST_WORD_S)
        self._task.cancel()
        self._task = None

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, self._to_app.get, self._from_app.put)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of an application: start and stop tell
            self._error = error
        finally:
            self._from_app.put_nowait(None)

    async def _told(self, event: str) -> Any:
        """What the application answers to an event, None if it ends instead."""
        self._to_app.put_nowait({"type": f"lifespan.{event}"})
        return await self._from_app.get()
