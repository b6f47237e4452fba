"""Threads: plain functions and their turns; nothing waits for ever, nothing is lost, and what is slow does not wait."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bentoml
from bentoml._threads import Lane, Pending, Threads, has_company, outbox, pool, post, wait_for
from bentoml._threads.lane import LOST, weight

#: Only a test that fails waits so long.
PATIENCE_S = 30.0


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(40, name="test")
    yield made
    made.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, nobody loses a turn, and what is for the event loop waits for the others."""
    monkeypatch.setattr(pool, "HOLD_S", 2 * PATIENCE_S)
    monkeypatch.setattr(outbox, "COLLECT_S", 2 * PATIENCE_S)


def run(threads: Threads, *functions: Callable[[], Any], lane: Lane | None = None) -> list[Any]:
    """What comes of functions that are asked for at the same time."""

    async def main() -> list[Any]:
        calls = [threads.run(lane, function) for function in functions]
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), PATIENCE_S)

    return asyncio.run(main())


@pytest.mark.parametrize("lane", [None, Lane()])
def test_a_function_returns_or_raises_and_sees_the_context_of_its_caller(threads: Threads, lane: Lane | None) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the caller")

    def fail() -> None:
        raise KeyError("no")

    def stop() -> None:
        raise StopIteration

    value, error, stopped = run(threads, variable.get, fail, stop, lane=lane)
    assert value == "of the caller"
    assert isinstance(error, KeyError)
    assert isinstance(stopped, RuntimeError)
    assert str(stopped) == "the function raised StopIteration"


@pytest.mark.parametrize("lane", [None, Lane()])
def test_as_many_functions_as_there_are_threads_may_wait_for_each_other(threads: Threads, lane: Lane | None) -> None:
    together = threading.Barrier(40, timeout=PATIENCE_S)
    assert sorted(run(threads, *[together.wait] * 40, lane=lane)) == list(range(40))


def test_a_function_that_blocks_in_each_call_is_soon_left_out_of_the_turns(threads: Threads) -> None:
    lane, met = Lane(), []
    for _ in range(3):
        together = threading.Barrier(2, timeout=PATIENCE_S)
        met += run(threads, *[together.wait] * 40, lane=lane)
    assert len(met) == 120
    assert not lane.is_quick(0.0)


@pytest.mark.usefixtures("patient")
def test_quick_functions_run_one_at_a_time(threads: Threads) -> None:
    at_work, most = 0, 0

    def work() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        threading.Event().wait(0.0001)
        at_work -= 1

    run(threads, *[work] * 20, lane=Lane())
    assert most == 1


@pytest.mark.usefixtures("patient")
def test_who_waits_for_a_model_lets_the_next_one_have_its_turn(threads: Threads) -> None:
    pending: list[Pending] = []

    def first() -> Any:
        pending.append(Pending())
        return pending[0].result()

    assert run(threads, first, lambda: pending[0].set_result("from the second"), lane=Lane()) == [
        "from the second",
        None,
    ]


@pytest.mark.usefixtures("patient")
def test_calls_of_all_who_have_something_to_do_reach_the_event_loop_together(threads: Threads) -> None:
    waiting: list[Pending] = []
    found: list[int] = []

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()

        def answer(pending: Pending) -> None:
            found.append(len(waiting))
            pending.set_result("answer")

        def work() -> Any:
            pending = Pending()
            waiting.append(pending)
            post(loop, lambda: answer(pending))
            return pending.result()

        lane = Lane()
        return await asyncio.wait_for(asyncio.gather(*[threads.run(lane, work) for _ in range(8)]), PATIENCE_S)

    assert asyncio.run(main()) == ["answer"] * 8
    assert found == [8] * 8


def test_an_answer_does_not_wait_for_the_long_function_after_it(threads: Threads) -> None:
    go_on = threading.Event()

    async def main() -> None:
        lane = Lane()
        quick = asyncio.ensure_future(threads.run(lane, lambda: "quick"))
        long = asyncio.ensure_future(threads.run(lane, go_on.wait, PATIENCE_S))
        assert await asyncio.wait_for(quick, PATIENCE_S) == "quick"
        go_on.set()
        assert await long

    asyncio.run(main())


def test_no_more_threads_run_than_were_allowed() -> None:
    threads = Threads(3, name="few")
    seen = run(threads, *[threading.get_ident] * 50) + run(threads, *[threading.get_ident] * 50, lane=Lane())
    assert 1 <= len(set(seen)) <= 3
    threads.close()


def test_quick_and_slow_functions_share_one_thread() -> None:
    threads = Threads(1, name="one")
    lane, order = Lane(), []

    async def main() -> None:
        calls = [threads.run(lane if number % 3 else None, order.append, number) for number in range(30)]
        await asyncio.wait_for(asyncio.gather(*calls), PATIENCE_S)

    asyncio.run(main())
    assert order == list(range(30))
    threads.close()


# -- cancelling and ending ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", [None, Lane()])
def test_a_cancelled_call_is_dropped_or_counts_until_it_has_ended(lane: Lane | None) -> None:
    threads, go_on, begun, ran = Threads(1, name="one"), threading.Event(), threading.Event(), []

    def block() -> None:
        begun.set()
        go_on.wait(PATIENCE_S)
        ran.append("first")

    async def main() -> None:
        first = asyncio.ensure_future(threads.run(lane, block))
        second = asyncio.ensure_future(threads.run(lane, ran.append, "second"))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        first.cancel()
        second.cancel()
        await asyncio.wait([second], timeout=PATIENCE_S)
        assert second.cancelled()
        assert not first.done()
        go_on.set()
        await asyncio.wait([first], timeout=PATIENCE_S)
        assert first.cancelled()

    asyncio.run(main())
    assert ran == ["first"]
    threads.close()


def test_a_call_that_ends_as_it_is_cancelled_is_not_waited_for(threads: Threads) -> None:
    async def main() -> None:
        call = asyncio.ensure_future(threads.run(None, str))
        await asyncio.sleep(0)
        # Delivered, and cancelled before the task hears of it.
        work_done = threads.submit(None, str).future
        work_done.add_done_callback(lambda _: call.cancel())
        await asyncio.wait([call, work_done], timeout=PATIENCE_S)
        assert call.done()

    asyncio.run(main())


def test_closing_drops_what_has_not_begun_and_lets_the_threads_end() -> None:
    threads, go_on, begun, ran = Threads(1, name="closed"), threading.Event(), threading.Event(), []

    def block() -> threading.Thread:
        begun.set()
        go_on.wait(PATIENCE_S)
        return threading.current_thread()

    async def main() -> threading.Thread:
        first = asyncio.ensure_future(threads.run(None, block))
        second = asyncio.ensure_future(threads.run(Lane(), ran.append, "second"))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        threads.close()
        await asyncio.wait([second], timeout=PATIENCE_S)
        assert second.cancelled()
        with pytest.raises(RuntimeError, match="told to end"):
            await threads.run(None, str)
        go_on.set()
        return await first

    thread = asyncio.run(main())
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert ran == []


def test_python_ends_though_nobody_closed_the_threads() -> None:
    program = """
import asyncio
from bentoml._threads import Lane, Threads
threads = Threads(2, name="left")
async def main():
    print(await threads.run(Lane(), str, "done"))
asyncio.run(main())
"""
    environment = {"PYTHONPATH": str(Path(bentoml.__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=True
    )
    assert ended.stdout == "done\n"


# -- waiting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [True, False])
def test_any_thread_may_wait_for_a_result(early: bool) -> None:
    pending = Pending()
    setter = threading.Thread(target=pending.set_result, args=("result",))
    if early:
        pending.set_result("result")
    else:
        setter.start()
    assert pending.result() == "result"
    assert pending.done()


def test_a_result_may_be_an_error() -> None:
    pending = Pending()
    pending.set_exception(KeyError("no"))
    with pytest.raises(KeyError, match="no"):
        pending.result()


@pytest.mark.usefixtures("patient")
def test_a_future_of_another_thread_is_waited_for_without_the_turn(threads: Threads) -> None:
    future: concurrent.futures.Future[str] = concurrent.futures.Future()
    assert run(threads, lambda: wait_for(future), lambda: future.set_result("x"), lane=Lane()) == ["x", None]
    assert wait_for(future) == "x"


@pytest.mark.usefixtures("patient")
def test_who_has_the_turn_knows_whether_others_wait_for_it(threads: Threads) -> None:
    assert run(threads, has_company, has_company, lane=Lane())[0] is True
    assert run(threads, has_company, lane=Lane()) == [False]
    assert run(threads, has_company, has_company) == [False, False]
    assert has_company() is False


def test_every_one_of_many_mixed_calls_gets_its_own_answer(threads: Threads) -> None:
    lanes = [None, Lane(), Lane()]

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()

        def work(number: int) -> Any:
            for _ in range(number % 4):
                pending = Pending()
                post(loop, lambda pending=pending: pending.set_result(number))  # type: ignore[misc]  # a default
                assert pending.result() == number
            if number % 50 == 0:
                threading.Event().wait(0.005)
            return number

        calls = [threads.run(lanes[number % 3], work, number) for number in range(1000)]
        return await asyncio.wait_for(asyncio.gather(*calls), PATIENCE_S)

    assert asyncio.run(main()) == list(range(1000))


# -- lanes -------------------------------------------------------------------------------------------------------------


def test_a_lane_is_slow_when_most_of_its_goes_are_long_and_is_asked_again_later() -> None:
    lane = Lane()
    assert not any(lane.note(weight, 100.0) for _ in range(200) for weight in (1, -1, -1))
    assert [lane.note(1, 100.0) for _ in range(32)] == [False] * 31 + [True]
    assert not lane.is_quick(100.5)
    assert lane.is_quick(101.1)
    assert lane.note(LOST, 101.1), "what it was is not forgotten"


@pytest.mark.parametrize(
    ("wall_us", "cpu_us", "expected"),
    [(60, 60, -1), (400, 390, -1), (600, 590, 1), (400, 60, 1), (90, 10, -1)],
)
def test_a_go_is_long_by_itself_or_as_it_mostly_waited(wall_us: int, cpu_us: int, expected: int) -> None:
    assert weight(wall_us / 1e6, cpu_us / 1e6) == expected
