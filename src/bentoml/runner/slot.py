"""Slot: the right to call the model, over which the threads and the pump of an engine take turns."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Slot"]


class Slot:
    """A lock that tells the pump when it becomes free, and keeps neither the pump nor a thread waiting for ever.

    A thread may block for it; the pump, which lives on an event loop, may not. So while the pump waits a gate is shut
    behind which later threads wait until it had its turn; and after its turn the threads in line go first.

    Attributes:
        on_free: called from the thread that frees the slot while the pump waits for it.
    """

    __slots__ = ("_gate", "_line", "_lock", "_pump_was_last", "on_free")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gate = threading.Event()
        self._gate.set()
        #: One item for each blocked thread; a deque, as its length changes in one step.
        self._line: deque[None] = deque()
        self._pump_was_last = False
        self.on_free: Callable[[], object] | None = None

    # -- for threads --------------------------------------------------------------------------------------------------

    def acquire_now(self) -> bool:
        """Take the slot if it is free and the pump does not wait for it."""
        if self._gate.is_set() and self._lock.acquire(blocking=False):
            self._pump_was_last = False
            return True
        return False

    def acquire(self, *, past_gate: bool = False) -> None:
        """Take the slot, waiting for it.

        Args:
            past_gate: go before a waiting pump; for its own thread, in which it cannot have its turn meanwhile.
        """
        if not past_gate and not self._gate.is_set():
            self._gate.wait()
        if not self._lock.acquire(blocking=False):
            self._line.append(None)
            try:
                self._lock.acquire()
            except BaseException:
                # Interrupted from the keyboard. The pump may have stepped back for this thread.
                self._line.pop()
                self._wake_pump()
                raise
            self._line.pop()
        self._pump_was_last = False

    def release(self) -> None:
        """Give the slot back."""
        self._lock.release()
        if not self._gate.is_set():
            self._wake_pump()

    def _wake_pump(self) -> None:
        on_free = self.on_free
        try:
            if on_free is not None:
                on_free()
        except RuntimeError:
            # Its event loop is closed: it will never come for its turn.
            self._gate.set()

    # -- for the pump -------------------------------------------------------------------------------------------------

    def try_acquire(self) -> bool:
        """Take the slot if it is free; else `on_free` will be called, until then or `stand_down` the gate is shut."""
        if self._take():
            return True
        self._gate.clear()
        # Again: had it been freed before the gate was shut, nobody would wake the pump.
        return self._take()

    def _take(self) -> bool:
        if (self._pump_was_last and self._line) or not self._lock.acquire(blocking=False):
            return False
        self._pump_was_last = True
        if not self._gate.is_set():
            self._gate.set()
        return True

    def give_back(self) -> None:
        """Give the slot back; from any thread."""
        self._lock.release()

    def stand_down(self) -> None:
        """The pump does not want the slot any more."""
        if not self._gate.is_set():
            self._gate.set()
