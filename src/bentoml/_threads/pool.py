"""Threads: what of them runs when. Of the works that are quick one runs at a time: in the thread that has the turn.

submit (event loop) ─► _quick ─► the turn ─► function ─► _outbox ─► event loop, woken once for many
                                 ▲           │ runner.run
resume (event loop) ─► _ready ───┘           └─► waits, and the turn goes on

When a batch ends, the threads that waited for it all have something to do, and the interpreter lock lets one of them do
it. Woken at once they would spend more on getting it, from one another and from the event loop, than on their work. So
the turn goes from hand to hand, where a function ends or waits for a model; who keeps it otherwise loses it. Works that
are slow, mostly as they wait for something that is not known here, run all at one time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from bentoml._threads.lane import LOST, Lane, weight
from bentoml._threads.outbox import Outbox
from bentoml._threads.work import Work
from bentoml._threads.worker import Wait, Worker, crews

__all__ = ["Threads"]

#: Who has the turn for longer, in seconds, loses it: it waits for something. An event loop looks no more often than
#: once in a millisecond, and with every look it takes the interpreter lock from who has the turn.
HOLD_S = 0.002


class Threads:
    """Runs plain functions for one event loop.

    Args:
        count: how many at one time; a thread is started when it is needed first, and stays.
        name: the threads are called `name_0`, `name_1` and so on.
    """

    def __init__(self, count: int, *, name: str) -> None:
        self.is_closed = False
        self._count = count
        self._name = name
        self._mutex = threading.Lock()
        self._workers = 0
        self._idle: list[Worker] = []
        self._number = 0
        self._quick: deque[Work] = deque()
        self._slow: deque[Work] = deque()
        #: Who waited and need not any longer.
        self._ready: deque[Worker] = deque()
        #: Who has the turn.
        self._holder: Worker | None = None
        self._outbox = Outbox()
        self._watched = False
        crews.add(self)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._outbox.loop

    # -- for the event loop --------------------------------------------------------------------------------------------

    async def run(self, lane: Lane | None, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a plain function in a thread, in the context of the caller, so that context variables reach it.

        Cancelled, it drops a function that has not begun; for one that runs it waits, as nothing can stop it: until
        then the request counts as being in flight.
        """
        work = self.submit(lane, function, *arguments)
        try:
            return await work.future
        except asyncio.CancelledError:
            if not self.cancel(work):
                await self.end_of(work)
            raise

    def submit(self, lane: Lane | None, function: Callable[..., Any], *arguments: Any) -> Work:
        """Let a function be called.

        Args:
            lane: of that function; None: it takes no turns.

        Raises:
            RuntimeError: after `close`, or the machine has no thread to give.
        """
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            self._outbox.serve(loop)
            self._watched = False
        work = Work(function, arguments, lane, loop.create_future(), self._number)
        self._number += 1
        with self._mutex:
            if self.is_closed:
                raise RuntimeError("the threads have been told to end")
            if not self._workers:
                self._idle.append(self._start())
            if lane is not None and lane.is_quick(time.monotonic()):
                self._quick.append(work)
                self._go_on()
            else:
                self._slow.append(work)
                self._begin_slow()
        return work

    def cancel(self, work: Work) -> bool:
        """Drop a work; False if it has begun."""
        with self._mutex:
            for queue in (self._quick, self._slow):
                if work in queue:
                    queue.remove(work)
                    return True
        return False

    async def end_of(self, work: Work) -> None:
        """Wait until a work has ended whose future was cancelled, whatever comes of it."""
        if work.is_over:
            return
        # Only a second cancellation, when the loop itself ends, leaves the thread to itself.
        work.future = asyncio.get_running_loop().create_future()
        await asyncio.wait([work.future])
        work.future.exception()  # nobody else will look at it, which asyncio would complain about

    def close(self) -> None:
        """Drop the works that have not begun, whose futures are cancelled; the threads end, each after its work."""
        with self._mutex:
            self.is_closed = True
            for work in (*self._quick, *self._slow):
                self._outbox.add(work.drop)
            self._quick.clear()
            self._slow.clear()
            while self._idle:
                self._idle.pop().lock.release()
            self._outbox.tell()

    # -- for the threads -----------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        return bool(self._quick or self._ready or self._outbox)

    def ended(self, worker: Worker, work: Work) -> Work | None:
        now = time.monotonic()
        with self._mutex:
            self._outbox.add(work.deliver)
            if worker.quick:
                self._note(worker, now)
                # One that is new after one that had waited: that takes no switch of threads, and nobody starves.
                if self._quick and (worker.waited or not self._ready) and not _is_older(self._slow, self._quick):
                    self._collect(now)
                    return self._take(worker, self._quick, now)
                self._pass_on(worker)
            else:
                self._outbox.tell()
            worker.work, worker.quick = None, False
            if self._quick and self._holder is None and not _is_older(self._slow, self._quick):
                self._holder, worker.quick = worker, True
                return self._take(worker, self._quick, now)
            if self._slow:
                worker.hand_over()
                return self._take(worker, self._slow, now)
            if not self.is_closed:
                self._idle.append(worker)
            return None

    def leave(self, worker: Worker, wait: Wait) -> bool:
        with self._mutex:
            if wait.is_done:
                return False
            wait.is_waited_for = True
            if worker.quick:
                worker.waited = True
                self._note(worker, time.monotonic())
                self._pass_on(worker)
            return True

    def resume(self, worker: Worker, wait: Wait) -> None:
        with self._mutex:
            wait.is_done = True
            if wait.is_waited_for and not worker.quick:
                worker.lock.release()
            elif wait.is_waited_for:
                self._ready.append(worker)
                self._go_on()

    def post(self, worker: Worker, callback: Callable[[], object]) -> None:
        self._outbox.add(callback)
        # One that loses its turn at this moment has its outbox emptied then.
        if not worker.quick:
            self._outbox.tell()

    # -- with the mutex: the turn --------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Somebody has come to wait for the turn."""
        if self._holder is None:
            self._pass_on()
        else:
            self._watch()

    def _pass_on(self, worker: Worker | None = None) -> None:
        """Give the turn to whoever waited for a model, else to a new work.

        Args:
            worker: the thread that has it and is about to stop; None: nobody has it.
        """
        successor = None
        if self._ready:
            successor = self._ready.popleft()
            successor.since = 0.0
        elif self._quick and (successor := self._hand()) is not None:
            successor.quick = True
            self._take(successor, self._quick, 0.0)
        self._holder = successor
        if successor is None:
            self._outbox.tell()
            return
        self._collect(time.monotonic())
        if worker is None:
            successor.lock.release()
        else:
            worker.successor = successor.lock

    def _note(self, worker: Worker, now: float) -> None:
        """Take the go into account that the thread which this is ends here."""
        # A thread that waits uses no CPU time: this is the end of its last go as well as the beginning of this one.
        cpu_s, worker.cpu_s = worker.cpu_s, time.thread_time()
        self._judge(worker, weight(now - worker.since, worker.cpu_s - cpu_s), now)

    def _judge(self, worker: Worker, weight: int, now: float) -> None:
        """If the lane of its work turns out to be slow it leaves the turns."""
        lane = worker.work.lane if worker.work is not None else None
        if lane is not None and lane.note(weight, now):
            self._slow.extend(work for work in self._quick if work.lane is lane)
            self._quick = deque(work for work in self._quick if work.lane is not lane)
            self._begin_slow()

    def _watch(self) -> None:
        """Look after a while at who has the turn."""
        if not self._watched:
            self._watched = True
            self._outbox.call_later(HOLD_S, self._look)

    def _collect(self, now: float) -> None:
        """Let what is for the event loop wait for more, and see that it does not wait for long."""
        if self._outbox.collect(now):
            self._watch()

    def _look(self) -> None:
        """Take the turn away from who has had it for too long while others wait for it."""
        self._outbox.deliver()
        now = time.monotonic()
        with self._mutex:
            self._watched = False
            holder = self._holder
            if holder is None or not self.is_busy:
                return
            if holder.since and now - holder.since > HOLD_S:
                self._judge(holder, LOST, now)
                holder.quick = False
                self._pass_on()
            if self._holder is not None:
                self._watch()

    # -- with the mutex: threads ---------------------------------------------------------------------------------------

    def _hand(self) -> Worker | None:
        """A thread that has nothing to do."""
        if self._idle:
            return self._idle.pop()
        if self._workers < self._count:
            # If the machine has no thread to give, those that there are do it later.
            with contextlib.suppress(RuntimeError):
                return self._start()
        return None

    def _start(self) -> Worker:
        worker = Worker(self, f"{self._name}_{self._workers}")
        worker.start()
        self._workers += 1
        return worker

    def _begin_slow(self) -> None:
        while self._slow and (worker := self._hand()) is not None:
            worker.quick = False
            self._take(worker, self._slow, 0.0)
            worker.lock.release()

    def _take(self, worker: Worker, queue: deque[Work], now: float) -> Work:
        work = worker.work = queue.popleft()
        worker.waited, worker.since = False, now
        return work


def _is_older(one: deque[Work], other: deque[Work]) -> bool:
    """Whether the next of a queue was asked for before that of the other."""
    return bool(one) and bool(other) and one[0].number < other[0].number
