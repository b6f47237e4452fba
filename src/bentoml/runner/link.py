"""Link: one runner worker as the API worker sees it: calls out, answers in, connected again when it was restarted.

to the worker     [[[id, method, args, kwargs, seconds waited, timed, streamed], …], [ids that are withdrawn, …]]
from the worker   [[id, outcome, value, timings], …]       outcome: see `bentoml.runner.serving`
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from bentoml._context import ModelTiming
from bentoml.exceptions import ServiceUnavailable
from bentoml.runner.frames import FramePeer
from bentoml.runner.serving import ENDED, FAILED, VALUE, rebuilt_error
from bentoml.runner.wire import FrameError, pack, unpack

__all__ = ["Link", "PendingCall"]

logger = logging.getLogger("bentoml")

_Args = tuple[Any, ...]
_Kwargs = dict[str, Any]

#: How long to wait before the next attempt to reach a worker that is being restarted, in seconds.
RECONNECT_DELAY_S = 0.1


class PendingCall(asyncio.Future[Any]):
    """The future that a caller awaits, and what must be known of its call on the way: one object for each call.

    Attributes:
        rows: what it counts in the account of its queue.
        share: what it takes of a worker's room while the worker has it.
        sent_as: its number with the worker that has it; -1 while it waits.
        on_cancel: told when the caller goes away.
    """

    method: str
    args: _Args
    kwargs: _Kwargs
    rows: int
    share: int
    enqueued_at: float
    deadline: float
    timings: list[ModelTiming] | None
    sent_as: int
    link: Link | None
    was_sent_again: bool
    on_cancel: Callable[[PendingCall], None]

    def cancel(self, msg: Any | None = None) -> bool:
        """Withdraw the call."""
        if not super().cancel(msg):
            return False
        self.on_cancel(self)
        return True


class Link:
    """Reaches one worker at its unix socket; all methods are called on the event loop that called `connect`.

    Args:
        name: the runner's name, for messages.
        path: of the socket.
        on_ended: told of each call that needs no more room: answered, or failed here.
        on_ready: called whenever the worker can be reached.
        on_answers: called when it has answered.
        on_lost: given the error and the calls that the worker had when it ended.

    Attributes:
        in_hand: shares of the calls that the worker has not answered yet.
        load: the same and the calls that were withdrawn since its last answer: it may be at work on one of them.
    """

    def __init__(
        self,
        name: str,
        path: str,
        *,
        on_ended: Callable[[PendingCall], None],
        on_ready: Callable[[], None],
        on_answers: Callable[[], None],
        on_lost: Callable[[ServiceUnavailable, list[PendingCall]], None],
    ) -> None:
        self.in_hand = self.load = 0
        self._name = name
        self._path = path
        self._on_ended, self._on_ready, self._on_answers, self._on_lost_calls = on_ended, on_ready, on_answers, on_lost
        self._loop = asyncio.get_running_loop()
        self._peer: FramePeer | None = None
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._ids = itertools.count()
        self._calls: dict[int, PendingCall] = {}
        self._streams: dict[int, asyncio.Queue[tuple[int, Any]]] = {}
        self._last_withdrawn = -1
        self._outgoing: list[Any] = []
        self._withdrawn: list[int] = []
        self._buffers: list[Any] = []
        self._flush_scheduled = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._closed = False

    async def connect(self) -> None:
        """Reach the worker; returns when it has loaded its model."""
        while not self._closed:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            self._greeted = self._loop.create_future()
            try:
                await self._loop.sock_connect(sock, self._path)
                self._peer = FramePeer(sock, on_frame=self._on_frame, on_lost=self._on_lost)
                # The supervisor holds the listening socket, so connecting says nothing; the first frame says that a
                # worker has loaded its model.
                await self._greeted
                self._on_ready()
                return
            except (OSError, FrameError) as error:
                sock.close()
                logger.debug("a worker of the runner %s cannot be reached yet: %s", self._name, error)
                await asyncio.sleep(RECONNECT_DELAY_S)

    @property
    def is_ready(self) -> bool:
        """Whether a call made now would reach a loaded model."""
        return self._peer is not None and self._greeted.done()

    # -- calls --------------------------------------------------------------------------------------------------------

    def take(self, call: PendingCall, now: float) -> None:
        """Let the worker have a call; it leaves with the next `flush`."""
        timings = call.timings
        number = self._pack(call.method, call.args, call.kwargs, now - call.enqueued_at, timings is not None)
        call.sent_as, call.link = number, self
        self._calls[number] = call
        self.in_hand += call.share
        self.load += call.share

    def withdraw(self, call: PendingCall) -> None:
        """The caller of a call that the worker has went away."""
        if self._calls.pop(call.sent_as, None) is not None:
            self.in_hand -= call.share
            self._last_withdrawn = call.sent_as
            self._withdraw(call.sent_as)

    def overdue(self, since: float) -> list[PendingCall]:
        """The calls in hand that were made before."""
        return [call for call in self._calls.values() if call.enqueued_at <= since]

    async def stream(self, method: str, args: _Args, kwargs: _Kwargs) -> AsyncIterator[Any]:
        """Iterate over what a generator method yields."""
        if not self.is_ready:
            raise ServiceUnavailable(f"the worker of the runner {self._name!r} is being restarted")
        queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        number = self._pack(method, args, kwargs, 0.0, False, streamed=True)
        self._schedule_flush()
        self._streams[number] = queue
        self.load += 1
        outcome = VALUE
        try:
            while True:
                outcome, value = await queue.get()
                if outcome == FAILED:
                    raise value
                if outcome == ENDED:
                    return
                yield value
        finally:
            if self._streams.pop(number, None) is not None:
                self.load -= 1
            if outcome == VALUE:
                self._withdraw(number)

    def _pack(
        self, method: str, args: _Args, kwargs: _Kwargs, waited_s: float, timed: bool, *, streamed: bool = False
    ) -> int:
        before = len(self._buffers)
        try:
            packed = [pack(item, self._buffers) for item in args]
            keywords = {key: pack(item, self._buffers) for key, item in kwargs.items()} if kwargs else None
        except BaseException:
            del self._buffers[before:]
            raise
        number = next(self._ids)
        self._outgoing.append((number, method, packed, keywords, waited_s, timed, streamed))
        return number

    def _withdraw(self, number: int) -> None:
        if self._peer is not None:
            self._withdrawn.append(number)
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush_scheduled_one)

    def _flush_scheduled_one(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what was taken and withdrawn, as one frame."""
        if not (self._outgoing or self._withdrawn):
            return
        calls, self._outgoing = self._outgoing, []
        withdrawn, self._withdrawn = self._withdrawn, []
        buffers, self._buffers = self._buffers, []
        if self._peer is None:
            return
        try:
            self._peer.send((calls, withdrawn), buffers)
        except (FrameError, msgspec.MsgspecError, ValueError) as error:
            for number, *_ in calls:
                self._answered(number, FAILED, error)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _on_frame(self, tree: Any, buffers: list[memoryview]) -> None:
        if not self._greeted.done():
            self._greeted.set_result(None)
        try:
            for number, outcome, packed, timings in tree:
                call = self._calls.get(number)
                if timings is not None and call is not None and call.timings is not None:
                    call.timings += [ModelTiming(*each) for each in timings]
                if call is not None or number in self._streams:
                    self._answered(number, *_unpacked(outcome, packed, buffers))
        except (TypeError, ValueError) as error:
            raise FrameError(f"a frame of answers is malformed: {error}") from error
        self._on_answers()

    def _answered(self, number: int, outcome: int, value: Any) -> None:
        call = self._calls.pop(number, None)
        if call is None:
            queue = self._streams.get(number)
            if queue is not None:
                queue.put_nowait((outcome, value))
            return
        self.in_hand -= call.share
        # It works in order: whatever was withdrawn before this call does not keep it busy any more.
        self.load = self.load - call.share if number < self._last_withdrawn else self.in_hand + len(self._streams)
        self._on_ended(call)
        if not call.done():
            if outcome == FAILED:
                call.set_exception(value)
            else:
                call.set_result(value)

    def _on_lost(self, reason: str) -> None:
        self._peer = None
        if not self._greeted.done():
            self._greeted.set_exception(ConnectionError(reason))
            return
        count = len(self._calls) + len(self._streams)
        text = f"the worker of the runner {self._name!r} ended while it had this call: {reason}"
        if count:
            logger.error("%s (%d calls)", text, count)
        calls = self._emptied(ServiceUnavailable(text))
        if not self._closed:
            self._reconnecting = self._loop.create_task(self.connect())
        self._on_lost_calls(ServiceUnavailable(text), calls)

    def _emptied(self, error: ServiceUnavailable) -> list[PendingCall]:
        """The calls that the worker had; its streams are ended."""
        calls, self._calls = list(self._calls.values()), {}
        self._outgoing, self._withdrawn, self._buffers = [], [], []
        for queue in self._streams.values():
            queue.put_nowait((FAILED, error))
        self.in_hand = self.load = 0
        self._streams = {}
        return calls

    def close(self) -> list[PendingCall]:
        """End the connection; the calls that were in hand, for the caller to fail."""
        self._closed = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        if not self._greeted.done():
            self._greeted.cancel()
        return self._emptied(ServiceUnavailable(f"the runner {self._name!r} is shutting down"))


def _unpacked(outcome: int, packed: Any, buffers: list[memoryview]) -> tuple[int, Any]:
    try:
        if outcome == VALUE:
            return VALUE, unpack(packed, buffers, trusted=True)
        return outcome, rebuilt_error(packed, buffers) if outcome == FAILED else None
    except Exception as error:  # noqa: BLE001 - unpickling runs the value's own code: its caller gets what went wrong
        return FAILED, error
