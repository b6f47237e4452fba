"""Threads: where plain functions run; the quick ones take turns, so that they do not fight for the interpreter lock.

When a batch ends the threads that waited for it all have something to do, and only one at a time can do it. Woken at
once they would spend more time on getting the interpreter lock, from one another and from the event loop, than on their
work. So of the functions that are quick only one runs at a time: who holds the turn. It is passed on where a function
ends or waits for a model, which is known here, and is taken away from one that stays away otherwise.

run (event loop) ─► _quick ─► the turn ─► function ─► outbox ─► event loop, woken once when nobody is left to run
                                ▲           │ runner.run
resume (event loop) ─► _ready ──┘           ▼
                          ▲─────────── waits, passes the turn on

Functions that take long, mostly in waiting for something else, run all at one time: passing a turn would gain nothing.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Lane", "Pending", "Threads", "Work", "has_company", "post", "wait_for"]

#: A function that runs so long at one go, in seconds, has nothing from taking turns: threads that are woken all at once
#: take about as long for each request.
QUICK_S = 0.0005
#: Who holds the turn for longer, in seconds, loses it: probably it waits for something. Others are kept waiting no
#: longer than that, and an event loop looks no more often than once in a millisecond.
HOLD_S = 0.002
#: What is for the event loop waits in seconds at most for more that shares its waking.
COLLECT_S = 0.004
#: Turns that were too long, less those that were not: with so many more a lane leaves the turns.
PATIENCE = 32
#: What a turn counts that was taken away.
LOST = 8
#: For so many seconds; then it may show that it has become quick.
BANISHED_S = 1.0

_here = threading.local()


class Lane:
    """The calls of one function; learns whether they are quick enough to take turns."""

    __slots__ = ("_debt", "_slow_until")

    def __init__(self) -> None:
        self._debt = 0
        self._slow_until = 0.0

    def is_quick(self, now: float) -> bool:
        """Whether its next call takes turns."""
        return now >= self._slow_until

    def note(self, weight: int, now: float) -> bool:
        """Take one turn into account; True if the lane is slow from now on. A majority: any turn may be disturbed."""
        self._debt = max(0, self._debt + weight)
        if self._debt < PATIENCE or now < self._slow_until:
            return False
        self._debt = PATIENCE - LOST
        self._slow_until = now + BANISHED_S
        return True


class Work:
    """One call of a function.

    Attributes:
        future: of the event loop that asked for it; whoever awaits it may cancel it and then put another in its place.
    """

    __slots__ = ("_arguments", "_context", "_error", "_function", "_value", "future", "is_over", "lane", "number")

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], lane: Lane, future: asyncio.Future[Any]
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._context = contextvars.copy_context()
        self._value: Any = None
        self._error: BaseException | None = None
        self.future = future
        self.lane = lane
        self.is_over = False
        self.number = 0

    def perform(self) -> None:
        """Call the function, in the thread that this is for."""
        try:
            self._value = self._context.run(self._function, *self._arguments)
        except StopIteration as error:
            # No future takes one; a coroutine that raises it ends the same way.
            self._error = RuntimeError("the function raised StopIteration")
            self._error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - user code: whatever it raises belongs to who asked for it
            self._error = error

    def deliver(self) -> None:
        """Hand over what came of it, on the event loop."""
        self.is_over = True
        if self.future.done():
            return
        if self._error is None:
            self.future.set_result(self._value)
        else:
            self.future.set_exception(self._error)


class _Worker(threading.Thread):
    """One of the threads. While it runs it belongs to itself; what others may set is behind the mutex of `threads`.

    Attributes:
        lock: closed; opened once by whoever has something for this thread to do.
        quick: whether it runs when it has the turn, and gives it up when it waits.
        waited: whether the function has waited for a model.
        since: when it began to run, on the monotonic clock; 0: it has been told to and has not begun.
    """

    def __init__(self, threads: Threads, name: str) -> None:
        super().__init__(name=name)
        self.threads = threads
        self.lock = threading.Lock()
        self.lock.acquire()
        self.work: Work | None = None
        self.quick = False
        self.waited = False
        self.since = 0.0

    def run(self) -> None:
        _here.worker = self
        while True:
            self.lock.acquire()
            work = self.work
            if work is None:
                return
            while work is not None:
                self.since = time.monotonic()
                work.perform()
                work = self.work = self.threads._ended(self, work)


class Pending:
    """The result of a call that one thread waits for: the one that makes this object; set by another."""

    __slots__ = ("_error", "_is_done", "_lock", "_value", "_worker", "waited_for")

    def __init__(self) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self._is_done = False
        self._worker: _Worker | None = getattr(_here, "worker", None)
        self.waited_for = False
        self._lock = self._worker.lock if self._worker is not None else threading.Lock()
        if self._worker is None:
            self._lock.acquire()

    def done(self) -> bool:
        """Whether there is a result."""
        return self._is_done

    def set_result(self, value: Any, /) -> None:
        """The call has returned."""
        self._value = value
        self._end()

    def set_exception(self, error: BaseException, /) -> None:
        """The call has raised."""
        self._error = error
        self._end()

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.threads._resume(self._worker, self)
        else:
            self._is_done = True
            self._lock.release()

    def result(self) -> Any:
        """Wait for the result; a thread that takes turns lets others have theirs."""
        if self._worker is None:
            with self._lock:
                pass
        elif self._worker.threads._leave(self._worker, self):
            self._lock.acquire()
            self._worker.since = time.monotonic()
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The traceback of the error holds this frame, and would with it hold the error itself.
                del self
        return self._value


class Threads:
    """Runs plain functions for one event loop.

    Args:
        count: how many at one time; a thread is started when it is needed and stays.
        name: the threads are called `name_0`, `name_1`, ...
    """

    def __init__(self, count: int, *, name: str) -> None:
        self._count = count
        self._name = name
        self._mutex = threading.Lock()
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._quick: deque[Work] = deque()
        self._slow: deque[Work] = deque()
        #: Who waited for a model and has its answer.
        self._ready: deque[_Worker] = deque()
        #: Who has the turn.
        self._holder: _Worker | None = None
        self._numbers = 0
        self._outbox: deque[Callable[[], object]] = deque()
        self._outbox_since = 0.0
        self._told = False
        self._watched = False
        self._closed = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        me = weakref.ref(self)
        # As the executors of the standard library do: Python waits for all threads before it ends.
        threading._register_atexit(lambda: (pool := me()) and pool.close())  # type: ignore[attr-defined]  # not public

    # -- for the event loop --------------------------------------------------------------------------------------------

    async def run(self, lane: Lane, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a plain function in a thread, in the context of the caller, so that context variables reach it.

        Cancelled, it drops a function that has not begun; for one that runs it waits, as nothing can stop it: until
        then the request counts as being in flight.
        """
        work = self.submit(lane, function, *arguments)
        try:
            return await work.future
        except asyncio.CancelledError:
            if not self.cancel(work):
                await self.ended(work)
            raise

    def submit(self, lane: Lane, function: Callable[..., Any], *arguments: Any) -> Work:
        """Let a function be called.

        Raises:
            RuntimeError: after `close`, or the machine has no thread to give.
        """
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            self.loop, self._loop_thread, self._told, self._watched = loop, threading.get_ident(), False, False
        work = Work(function, arguments, lane, loop.create_future())
        with self._mutex:
            if self._closed:
                raise RuntimeError("the threads have been told to end")
            self._numbers += 1
            work.number = self._numbers
            if lane.is_quick(time.monotonic()):
                self._quick.append(work)
                if self._holder is None:
                    self._pass_on()
                else:
                    self._watch()
            else:
                self._slow.append(work)
                self._start_slow()
        return work

    def cancel(self, work: Work) -> bool:
        """Drop a call; False if it has begun."""
        with self._mutex:
            for queue in (self._quick, self._slow):
                if work in queue:
                    queue.remove(work)
                    return True
        return False

    async def ended(self, work: Work) -> None:
        """Wait until a call whose future was cancelled has ended, whatever came of it."""
        if work.is_over:
            return
        # Only a second cancellation, when the loop itself ends, leaves the thread to itself.
        work.future = asyncio.get_running_loop().create_future()
        await asyncio.wait([work.future])
        work.future.exception()  # nobody else will look at it, which asyncio would complain about

    def close(self) -> None:
        """Drop what has not begun, whose futures are cancelled; let the threads end, each after what it does."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            dropped = [*self._quick, *self._slow]
            self._quick.clear()
            self._slow.clear()
            while self._idle:
                self._idle.pop().lock.release()
            self._outbox.extend(work.future.cancel for work in dropped)
            self._tell()

    # -- for the threads -----------------------------------------------------------------------------------------------

    def _ended(self, worker: _Worker, work: Work) -> Work | None:
        """A thread is done with its work; what it does next, None: nothing."""
        now = time.monotonic()
        with self._mutex:
            self._outbox.append(work.deliver)
            if worker.quick:
                self._note(worker, now)
                # One that is new after one that had waited: it takes no switch of threads, and nobody starves.
                if self._quick and (worker.waited or not self._ready) and not self._is_older(self._slow, self._quick):
                    self._collect(now)
                    worker.waited = False
                    return self._quick.popleft()
                self._pass_on()
            else:
                self._tell()
            worker.work, worker.waited, worker.quick = None, False, False
            if self._slow:
                return self._slow.popleft()
            if self._quick and self._holder is None:
                self._holder, worker.quick = worker, True
                return self._quick.popleft()
            if self._closed:
                return None
            self._idle.append(worker)
            return None

    def _leave(self, worker: _Worker, pending: Pending) -> bool:
        """A thread is about to wait; False if it need not."""
        with self._mutex:
            if pending.done():
                return False
            pending.waited_for = True
            if worker.quick:
                worker.waited = True
                self._note(worker, time.monotonic())
                self._pass_on()
            return True

    def _resume(self, worker: _Worker, pending: Pending) -> None:
        """What a thread waits for is there; from any thread."""
        with self._mutex:
            pending._is_done = True
            if not pending.waited_for:
                return
            if not worker.quick:
                worker.lock.release()
                return
            self._ready.append(worker)
            if self._holder is None:
                self._pass_on()
            else:
                self._watch()

    def _post(self, worker: _Worker, callback: Callable[[], object]) -> None:
        self._outbox.append(callback)
        if not worker.quick:
            self._tell()

    # -- with the mutex ------------------------------------------------------------------------------------------------

    def _pass_on(self) -> None:
        """Give the turn to the next one: one that has waited before one that is new, as somebody waits for it longer."""
        nxt: _Worker | None = None
        if self._ready:
            nxt = self._ready.popleft()
        elif self._quick and (nxt := self._hand()) is not None:
            nxt.work, nxt.quick = self._quick.popleft(), True
        self._holder = nxt
        if nxt is None:
            if self._outbox:
                self._tell()
            return
        nxt.since = 0.0
        nxt.lock.release()
        if self._outbox:
            self._collect(time.monotonic())
        if self._ready or self._quick:
            self._watch()

    def _hand(self) -> _Worker | None:
        """A thread that has nothing to do."""
        if self._idle:
            return self._idle.pop()
        if len(self._workers) == self._count:
            return None
        worker = _Worker(self, f"{self._name}_{len(self._workers)}")
        try:
            worker.start()
        except RuntimeError:
            # The machine has no thread to give; those that there are do it later.
            if not self._workers:
                raise
            return None
        self._workers.append(worker)
        return worker

    def _start_slow(self) -> None:
        while self._slow and (worker := self._hand()) is not None:
            worker.work, worker.quick = self._slow.popleft(), False
            worker.lock.release()

    def _note(self, worker: _Worker, now: float) -> None:
        assert worker.work is not None
        self._judge(worker.work.lane, 1 if now - worker.since > QUICK_S else -1, now)

    def _judge(self, lane: Lane, weight: int, now: float) -> None:
        if lane.note(weight, now):
            self._slow.extend(work for work in self._quick if work.lane is lane)
            self._quick = deque(work for work in self._quick if work.lane is not lane)
            self._start_slow()

    def _collect(self, now: float) -> None:
        """Wake the event loop if what is there for it has waited long enough."""
        if not self._outbox_since:
            self._outbox_since = now
        elif now - self._outbox_since > COLLECT_S:
            self._tell()

    # -- between the two -----------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        if self._told or self.loop is None:
            return
        self._told = True
        # Once the event loop has ended nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._told, self._outbox_since = False, 0.0
        while self._outbox:
            self._outbox.popleft()()

    def _watch(self) -> None:
        """Look at who holds the turn after a while."""
        if self._watched or self.loop is None:
            return
        self._watched = True
        if threading.get_ident() == self._loop_thread:
            self.loop.call_later(HOLD_S, self._look)
        else:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.loop.call_later, HOLD_S, self._look)

    def _look(self) -> None:
        """Take the turn away from one that holds it too long while others wait for it."""
        now = time.monotonic()
        with self._mutex:
            self._watched = False
            holder = self._holder
            if holder is None or not (self._ready or self._quick):
                return
            if holder.since and now - holder.since > HOLD_S:
                holder.quick = False
                assert holder.work is not None
                self._judge(holder.work.lane, LOST, now)
                self._tell()
                self._pass_on()
            if self._holder is not None:
                self._watch()

    @staticmethod
    def _is_older(one: deque[Work], other: deque[Work]) -> bool:
        """Whether the next of a queue was asked for before that of the other."""
        return bool(one) and one[0].number < other[0].number


def has_company() -> bool:
    """Whether this thread has the turn, and others would have something to do if they had it."""
    worker: _Worker | None = getattr(_here, "worker", None)
    if worker is None or not worker.quick:
        return False
    threads = worker.threads
    return bool(threads._quick or threads._ready or threads._outbox)


def post(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Let an event loop call a function; from a thread that takes turns at the latest when nobody is left to have one.

    Raises:
        RuntimeError: the event loop has ended.
    """
    worker: _Worker | None = getattr(_here, "worker", None)
    if worker is None or worker.threads.loop is not loop or loop.is_closed():
        loop.call_soon_threadsafe(callback)
    else:
        worker.threads._post(worker, callback)


def wait_for(future: concurrent.futures.Future[Any]) -> Any:
    """The result of a future; a thread that takes turns lets others have theirs while it waits."""
    if getattr(_here, "worker", None) is not None:
        pending = Pending()
        future.add_done_callback(pending.set_result)
        pending.result()
    return future.result()
