"""Placement: how a runner in user code reaches its engine; one file for each way."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Awaitable
from typing import Any

__all__ = ["Placement"]


class Placement(abc.ABC):
    """The way from a Runner to the Engine that serves it.

    The five methods are all that a variant writes; `bentoml.testing.check_placement` is their contract.
    """

    @abc.abstractmethod
    async def start(self) -> None:
        """Make the engine reachable from the running event loop; returns when it can be called."""

    @abc.abstractmethod
    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Call a method from asynchronous code; cancelling what is returned withdraws the call.

        Raises:
            ServiceUnavailable: refused now, worth trying again.
        """

    @abc.abstractmethod
    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method and block until it is done."""

    @abc.abstractmethod
    def stream(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Iterate over what a generator method yields."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Fail what waits, let what runs end, and give back what `start` took."""

    @property
    def is_ready(self) -> bool:
        """Whether a call made now would reach a loaded model."""
        return True
