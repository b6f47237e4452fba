"""The worker's side of the worker-process placement: frames of calls in, one frame of answers a turn out."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from typing import Any

import msgspec

from bentoml import exceptions
from bentoml._context import ModelTiming, model_timings
from bentoml.exceptions import BentoMLException, RemoteException, ServiceUnavailable
from bentoml.runner.engine import Engine
from bentoml.runner.frames import GONE, FramePeer
from bentoml.runner.wire import FrameError, pack, unpack

__all__ = ["ENDED", "FAILED", "VALUE", "EngineServer", "packed_error", "rebuilt_error"]

logger = logging.getLogger("bentoml")

#: What an answer means: the call's value (or one item of a stream), the error to raise in its place, the stream's end.
VALUE, FAILED, ENDED = range(3)


class RemoteTraceback(Exception):
    """The cause of an error that crossed a process boundary: where it was raised there, for the log."""


def packed_error(error: BaseException, buffers: list[Any]) -> list[Any]:
    """An error for the caller's process: what it says, where it was raised, and itself where it can be pickled."""
    kind, message, where = type(error).__name__, str(error), "".join(traceback.format_exception(error))
    retry_after_s = error.retry_after_s if isinstance(error, ServiceUnavailable) else 0.0
    if type(error).__module__ == exceptions.__name__ and isinstance(error, BentoMLException):
        return [kind, error.message, error.hint, retry_after_s, None, where]
    before = len(buffers)
    try:
        return [kind, message, "", 0.0, pack(error, buffers), where]
    except Exception:  # noqa: BLE001 - pickling runs the error's own code; what it says still travels
        del buffers[before:]
        return [kind, message, "", 0.0, None, where]


def rebuilt_error(packed: Any, buffers: list[memoryview]) -> BaseException:
    """The error that `packed_error` was given, or a RemoteException that says what it said."""
    kind, message, hint, retry_after_s, pickled, where = packed
    error = _rebuilt(kind, message, hint, retry_after_s, pickled, buffers)
    error.__cause__ = RemoteTraceback(f"in the runner worker:\n{where}")
    return error


def _rebuilt(
    kind: str, message: str, hint: str, retry_after_s: float, pickled: Any, buffers: list[memoryview]
) -> Exception:
    if pickled is not None:
        try:
            error = unpack(pickled, buffers, trusted=True)
            if isinstance(error, Exception):
                return error
        except Exception as failure:  # noqa: BLE001 - unpickling runs the error's own code; what it says is there
            logger.debug("an error of a runner worker could not be rebuilt: %s", failure)
    own = getattr(exceptions, kind, None) if pickled is None else None
    if own is ServiceUnavailable:
        return ServiceUnavailable(message, hint=hint, retry_after_s=retry_after_s)
    if isinstance(own, type) and issubclass(own, BentoMLException):
        return own(message, hint=hint)
    return RemoteException(f"{kind}: {message}")


class EngineServer:
    """Serves an engine to the API workers of this server.

    Args:
        sock: bound and listening, in a folder that only this user can enter.
    """

    def __init__(self, engine: Engine, sock: socket.socket) -> None:
        self._engine = engine
        self._sock = sock
        self._clients: set[_Client] = set()
        self._accepting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take connections on the running event loop."""
        self._sock.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._sock)
            try:
                self._clients.add(_Client(self._engine, sock, self._clients.discard))
            except FrameError as error:
                logger.error("%s", error)
                sock.close()

    async def close(self) -> None:
        """Take no more connections, and end those that are open once their calls are answered."""
        if self._accepting is not None:
            self._accepting.cancel()
        self._sock.close()
        while any(client.busy for client in self._clients):
            await asyncio.sleep(0.01)
        for client in list(self._clients):
            client.close()


class _Answer:
    """Stands for the future of a call whose caller is in another process: no event loop need come round for it."""

    __slots__ = ("_client", "_number", "_timings")

    def __init__(self, client: _Client, number: int, timings: list[ModelTiming] | None) -> None:
        self._client: _Client | None = client
        self._number = number
        self._timings = timings

    def done(self) -> bool:
        return self._client is None

    def cancel(self) -> None:
        self._client = None

    def set_result(self, value: Any) -> None:
        self._set(VALUE, value)

    def set_exception(self, error: BaseException) -> None:
        self._set(FAILED, error)

    def _set(self, outcome: int, value: Any) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.ended(self._number)
            client.answer(self._number, outcome, value, self._timings)


class _Client:
    """One API worker's connection."""

    def __init__(self, engine: Engine, sock: socket.socket, on_gone: Any) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._on_gone = on_gone
        self._running: dict[int, asyncio.Future[Any] | _Answer] = {}
        self._answers: list[Any] = []
        self._buffers: list[Any] = []
        self._flush_scheduled = False
        self._peer = FramePeer(sock, on_frame=self._on_frame, on_lost=self._on_lost)
        # The greeting: the client sends nothing before it, as it cannot tell a worker from a socket nobody reads.
        self._peer.send([], [])

    @property
    def busy(self) -> bool:
        """Whether it waits for answers."""
        return bool(self._running or self._answers)

    def _on_frame(self, tree: Any, buffers: list[memoryview]) -> None:
        try:
            calls, withdrawn = tree
            for number, method, args, kwargs, waited_s, timed, streamed in calls:
                self._begin(number, method, args, kwargs, buffers, waited_s, timed, streamed)
            for number in withdrawn:
                future = self._running.pop(number, None)
                if future is not None:
                    future.cancel()
        except (TypeError, ValueError) as error:
            raise FrameError(f"a frame of calls is malformed: {error}") from error

    def _begin(
        self,
        number: int,
        method: str,
        args: Any,
        kwargs: Any,
        buffers: list[memoryview],
        waited_s: float,
        timed: bool,
        streamed: bool,
    ) -> None:
        engine = self._engine
        timings: list[ModelTiming] | None = [] if timed else None
        try:
            arguments = tuple([unpack(each, buffers, trusted=True) for each in args])
            keywords = {key: unpack(each, buffers, trusted=True) for key, each in kwargs.items()} if kwargs else {}
            if streamed:
                self._running[number] = self._loop.create_task(self._stream(number, method, arguments, keywords))
                return
            noted = model_timings.set(timings)
            try:
                if engine.takes_turns(method):
                    task = engine.submit(method, arguments, keywords, waited_s=waited_s)
                    self._running[number] = task
                    task.add_done_callback(lambda done: self._turn_ended(number, done, timings))
                else:
                    answer = self._running[number] = _Answer(self, number, timings)
                    engine.enqueue(method, arguments, keywords, answer, waited_s)
            finally:
                model_timings.reset(noted)
        except Exception as error:  # noqa: BLE001 - the border of a call: its caller gets whatever went wrong
            self._running.pop(number, None)
            self.answer(number, FAILED, error)

    def ended(self, number: int) -> None:
        """A call needs no more to be withdrawn."""
        self._running.pop(number, None)

    def _turn_ended(self, number: int, task: asyncio.Future[Any], timings: list[ModelTiming] | None) -> None:
        if self._running.pop(number, None) is None:
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, asyncio.CancelledError):
            error = ServiceUnavailable("the call was cancelled by the model")
        if error is not None:
            self.answer(number, FAILED, error, timings)
        else:
            self.answer(number, VALUE, task.result(), timings)

    async def _stream(self, number: int, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            async for item in self._engine.stream(method, args, kwargs):
                self.answer(number, VALUE, item)
                # A generator that never waits must not keep the loop, and this very item, from everyone.
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - the border of a call
            self.answer(number, FAILED, error)
        else:
            self.answer(number, ENDED, None)
        finally:
            self._running.pop(number, None)

    def answer(self, number: int, outcome: int, value: Any, timings: list[ModelTiming] | None = None) -> None:
        """Send an outcome with all others of this turn of the loop."""
        if outcome == FAILED:
            packed = packed_error(value, self._buffers)
        else:
            before = len(self._buffers)
            try:
                packed = pack(value, self._buffers)
            except Exception as error:  # noqa: BLE001 - pickling runs the value's own code
                del self._buffers[before:]
                outcome = FAILED
                failure = BentoMLException(f"a {type(value).__name__} cannot be sent to the API worker: {error}")
                packed = packed_error(failure, self._buffers)
        self._answers.append([number, outcome, packed, timings])
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        answers, self._answers = self._answers, []
        buffers, self._buffers = self._buffers, []
        try:
            self._peer.send(answers, buffers)
        except (FrameError, msgspec.MsgspecError) as error:
            logger.error("answers could not be sent: %s", error)
            self._peer.send([[number, FAILED, packed_error(error, []), None] for number, *_ in answers], [])

    def _on_lost(self, reason: str) -> None:
        if reason != GONE:
            logger.error("a connection to the runner %s was dropped: %s", self._engine.name, reason)
        for future in list(self._running.values()):
            future.cancel()
        self._running.clear()
        self._on_gone(self)

    def close(self) -> None:
        """End the connection."""
        self._peer.close()
        self._on_gone(self)
