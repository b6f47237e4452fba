"""Slot: one holder at a time; neither the pump nor a thread waits for ever."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from bentoml.runner.slot import Slot

HANG_S = 30.0


@pytest.fixture
def slot() -> Iterator[Slot]:
    made = Slot()
    yield made
    made.stand_down()


def start(function: object) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def in_line(slot: Slot, count: int) -> None:
    while len(slot._line) < count:
        threading.Event().wait(0.001)


def test_it_has_one_holder_at_a_time(slot: Slot) -> None:
    assert slot.try_acquire()
    assert not slot.try_acquire()
    assert not slot.acquire_now()
    slot.give_back()
    slot.stand_down()
    assert slot.acquire_now()
    assert not slot.acquire_now()
    slot.release()
    assert slot.acquire_now()


def test_the_pump_is_woken_when_it_has_found_the_slot_taken_and_only_then(slot: Slot) -> None:
    woken: list[int] = []
    slot.on_free = lambda: woken.append(1)
    slot.acquire()
    slot.release()
    assert woken == []
    slot.acquire()
    assert not slot.try_acquire()
    slot.release()
    assert woken == [1]
    assert slot.try_acquire()
    slot.give_back()
    slot.acquire()
    slot.release()
    assert woken == [1]


def test_while_the_pump_waits_later_threads_wait_behind_it(slot: Slot) -> None:
    slot.acquire()
    assert not slot.try_acquire()
    came_in = threading.Event()

    def late() -> None:
        slot.acquire()
        came_in.set()
        slot.release()

    thread = start(late)
    slot.release()
    assert not slot.acquire_now()
    assert slot.try_acquire(), "nobody came before the pump"
    assert not came_in.is_set()
    slot.give_back()
    thread.join(HANG_S)
    assert came_in.is_set()


def test_a_pump_that_does_not_want_it_any_more_lets_the_threads_in(slot: Slot) -> None:
    slot.acquire()
    assert not slot.try_acquire()
    slot.release()
    slot.stand_down()
    assert slot.acquire_now()


def test_the_thread_of_the_pump_goes_before_the_pump(slot: Slot) -> None:
    slot.acquire()
    assert not slot.try_acquire()
    slot.release()
    slot.acquire(past_gate=True)
    assert not slot.try_acquire()
    slot.release()


def test_after_its_turn_the_pump_lets_the_threads_in_line_go_first(slot: Slot) -> None:
    turns: list[str] = []
    assert slot.try_acquire()

    def waiting() -> None:
        slot.acquire()
        turns.append("thread")
        slot.release()

    thread = start(waiting)
    in_line(slot, 1)
    woken = threading.Event()
    slot.on_free = woken.set
    slot.give_back()
    if not slot.try_acquire():
        assert woken.wait(HANG_S)
        assert slot.try_acquire()
    turns.append("pump")
    thread.join(HANG_S)
    assert turns == ["thread", "pump"]


def test_an_interrupted_wait_leaves_the_line_and_wakes_the_pump(slot: Slot) -> None:
    class Interrupting:
        def __init__(self) -> None:
            self.taken = False

        def acquire(self, blocking: bool = True) -> bool:
            if blocking:
                raise KeyboardInterrupt
            return False

    woken: list[int] = []
    slot.on_free = lambda: woken.append(1)
    slot._lock = Interrupting()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        slot.acquire()
    assert (len(slot._line), woken) == (0, [1])


def test_a_pump_whose_event_loop_has_ended_keeps_nobody_out(slot: Slot) -> None:
    def ended() -> None:
        raise RuntimeError("Event loop is closed")

    slot.on_free = ended
    slot.acquire()
    assert not slot.try_acquire()
    slot.release()
    assert slot.acquire_now()


def test_many_threads_and_a_pump_never_hold_it_together_and_all_get_their_turns(slot: Slot) -> None:
    free = threading.Event()
    slot.on_free = free.set
    holders: list[int] = []
    overlaps: list[int] = []

    def hold(who: int) -> None:
        holders.append(who)
        if len(holders) > 1:
            overlaps.append(who)
        holders.remove(who)

    def work(who: int) -> None:
        choose = random.Random(who)
        for _ in range(300):
            if choose.random() < 0.2:
                if not slot.acquire_now():
                    continue
            else:
                slot.acquire()
            hold(who)
            slot.release()

    threads = [start(lambda who=who: work(who)) for who in range(6)]
    for _ in range(300):
        free.clear()
        while not slot.try_acquire():
            assert free.wait(HANG_S), "the pump was not woken"
            free.clear()
        hold(-1)
        slot.give_back()
    slot.stand_down()
    for thread in threads:
        thread.join(HANG_S)
        assert not thread.is_alive()
    assert overlaps == []
