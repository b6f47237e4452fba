"""Pump: batches leave one at a time, in order, and every caller gets its own result, whatever the model does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import random
import threading
import time
from typing import Any

import numpy as np
import pytest
import uvloop

from bentoml._context import ModelTiming, model_timings
from bentoml.exceptions import BentoMLException, InvalidArgument, ServiceUnavailable
from bentoml.runner.engine import Engine
from bentoml.runner.runnable import Runnable
from tests._engines import Gate, Watcher, asynchronous, eventually, inline, make_engine, outcome, serving, threaded


class Doubler(Runnable):
    """Doubles rows; a row of 13 is bad. Remembers the rows and the thread of every call."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.threads: set[int] = set()

    @Runnable.method(batchable=True)
    def predict(self, x: Any, scale: int = 2) -> Any:
        self.seen.append(len(x))
        self.threads.add(threading.get_ident())
        if isinstance(x, list):
            if 13 in x:
                raise ValueError("a bad row")
            return [item * scale for item in x]
        if (x == 13).any():
            raise ValueError("a bad row")
        return x * scale

    @Runnable.method(batchable=True)
    def other(self, x: Any) -> Any:
        self.seen.append(-len(x))
        return x

    @Runnable.method
    def plain(self, value: Any) -> Any:
        self.threads.add(threading.get_ident())
        return value


def model(engine: Engine) -> Any:
    return engine._instance


def row(value: float, *, columns: int = 1) -> np.ndarray:
    return np.full((1, columns), value)


def submit(engine: Engine, *args: Any, method: str = "predict", **kwargs: Any) -> asyncio.Future[Any]:
    return engine.submit(method, args, kwargs)


@pytest.fixture(params=[inline, threaded])
def place(request: pytest.FixtureRequest) -> Any:
    """Where batches run: on the event loop or in the engine's thread."""
    return request.param


# -- batches ----------------------------------------------------------------------------------------------------------


@asynchronous
async def test_the_calls_of_one_turn_of_the_event_loop_are_one_batch(place: Any) -> None:
    watcher = Watcher()
    async with serving(make_engine(Doubler, observer=watcher)) as engine:
        place(engine)
        answers = await asyncio.gather(*(submit(engine, row(number)) for number in range(10)))
        assert [answer.item() for answer in answers] == [2 * number for number in range(10)]
        assert all(answer.shape == (1, 1) for answer in answers)
        assert model(engine).seen == [10]
        assert (model(engine).threads == {threading.get_ident()}) == (place is inline)
        assert watcher.batches == [("predict", 10, 10, "idle")]


@asynchronous
async def test_a_batch_never_has_more_rows_than_the_limit_and_calls_leave_in_order(place: Any) -> None:
    watcher = Watcher()
    async with serving(make_engine(Doubler, observer=watcher, max_batch_size=4)) as engine:
        place(engine)
        counts = [1, 2, 2, 4, 1, 1, 1, 3]
        answers = await asyncio.gather(*(submit(engine, np.full((count, 1), count)) for count in counts))
        assert [len(answer) for answer in answers] == counts
        assert [int(answer[0, 0]) for answer in answers] == [2 * count for count in counts]
        assert model(engine).seen == [3, 2, 4, 3, 3]
        assert [reason for *_, reason in watcher.batches] == ["full", "full", "full", "full", "idle"]


@asynchronous
async def test_a_call_of_exactly_the_limit_runs_at_once_and_a_larger_one_in_parts(place: Any) -> None:
    async with serving(make_engine(Doubler, max_batch_size=4, patience_ms=60_000)) as engine:
        place(engine)
        assert (await submit(engine, np.ones((4, 1)))).tolist() == [[2.0]] * 4
        assert (await submit(engine, np.arange(10.0).reshape(10, 1))).ravel().tolist() == [2.0 * i for i in range(10)]
        assert model(engine).seen == [4, 4, 4, 2]


@asynchronous
async def test_what_cannot_be_joined_is_never_in_one_batch_and_the_oldest_leaves_first(place: Any) -> None:
    async with serving(make_engine(Doubler)) as engine:
        place(engine)
        engine.pump.hold()
        calls = [
            submit(engine, row(1)),
            submit(engine, row(1, columns=2)),
            submit(engine, [1, 2, 3]),
            submit(engine, row(1)),
            submit(engine, row(1), scale=3),
            submit(engine, row(1), scale=3),
            submit(engine, np.zeros((0, 1))),
        ]
        engine.pump.release()
        answers = await asyncio.gather(*calls)
        assert model(engine).seen == [2, 1, 3, 2, 0]
        assert [np.shape(answer) for answer in answers] == [(1, 1), (1, 2), (3,), (1, 1), (1, 1), (1, 1), (0, 1)]
        assert answers[4].item() == 3


@asynchronous
async def test_while_a_batch_runs_the_next_one_forms() -> None:
    gate = Gate()

    class Slow(Runnable):
        @Runnable.method(batchable=True)
        def predict(self, x: Any) -> Any:
            if not len(seen):
                gate.pass_through()
            seen.append(len(x))
            return x

    seen: list[int] = []
    async with serving(make_engine(Slow)) as engine:
        first = submit(engine, row(1))
        await eventually(lambda: gate.waiting)
        others = []
        for number in range(5):
            others.append(submit(engine, row(number)))
            await asyncio.sleep(0)
        gate.open()
        assert [answer.item() for answer in await asyncio.gather(first, *others)] == [1, 0, 1, 2, 3, 4]
        assert seen == [1, 5]


@asynchronous
async def test_the_methods_of_a_model_take_turns_by_the_age_of_their_calls(place: Any) -> None:
    ticks = iter(range(10_000))
    async with serving(make_engine(Doubler, clock=lambda: next(ticks) / 1000, max_batch_size=2)) as engine:
        place(engine)
        engine.pump.hold()
        calls = [submit(engine, row(1), method=name) for name in ["predict"] * 3 + ["other"] * 3 + ["predict"] * 3]
        engine.pump.release()
        await asyncio.gather(*calls)
        assert model(engine).seen == [2, 2, -2, -1, 2]


@asynchronous
async def test_methods_that_are_not_batchable_are_called_one_by_one(place: Any) -> None:
    watcher = Watcher()
    async with serving(make_engine(Doubler, observer=watcher)) as engine:
        place(engine)
        values = ["a", None, [1, 2], row(1)]
        assert await asyncio.gather(*(submit(engine, value, method="plain") for value in values)) == values
        assert watcher.batches == [("plain", 1, 1, "full")] * 4


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_each_of_ten_thousand_mixed_calls_gets_its_own_answer(run: Any) -> None:
    """Arrays of several widths and dtypes, lists, parameters, bad rows, callers that go away, empty and large calls."""
    choose = random.Random(7)

    async def one(engine: Engine, number: int) -> None:
        kind = choose.randrange(8)
        count = choose.choice([0, 1, 1, 1, 2, 5, 30])
        scale = choose.choice([2, 3])
        await asyncio.sleep(choose.random() / 20)
        if kind == 0:
            assert await submit(engine, [number] * count, scale=scale) == [number * scale] * count
        elif kind == 1 and choose.random() < 0.2:
            failed = await outcome(submit(engine, np.full((max(1, count), 1), 13.0), scale=scale))
            assert isinstance(failed, ValueError)
            assert str(failed) == "a bad row"
        elif kind == 2 and choose.random() < 0.3:
            gone = submit(engine, np.full((count, 1), number))
            if choose.random() < 0.5:
                await asyncio.sleep(0)
            gone.cancel()
        elif kind == 3:
            assert await submit(engine, number, method="plain") == number
        else:
            x = np.full((count, 1 + number % 3), number + 100, choose.choice(["f4", "f8", "i8"]))
            answer = await submit(engine, x, scale=scale)
            assert answer.dtype == x.dtype
            np.testing.assert_array_equal(answer, x * scale)

    async def main() -> None:
        async with serving(make_engine(Doubler, max_batch_size=16, max_queue_rows=10**6)) as engine:
            await asyncio.wait_for(asyncio.gather(*(one(engine, number) for number in range(10_000))), 60)
            assert max(model(engine).seen) <= 16
            assert len(model(engine).seen) < 9_000, "nothing was joined"
            for queue in engine.queues.values():
                assert (len(queue), queue.rows) == (0, 0)

    run(main())


# -- errors -----------------------------------------------------------------------------------------------------------


@asynchronous
async def test_one_bad_row_costs_one_caller_and_its_search_keeps_off_the_event_loop(place: Any) -> None:
    async with serving(make_engine(Doubler)) as engine:
        place(engine)
        answers = await asyncio.gather(*(outcome(submit(engine, row(number))) for number in range(10, 16)))
        assert [answer.item() for answer in answers if isinstance(answer, np.ndarray)] == [20, 22, 24, 28, 30]
        assert isinstance(answers[3], ValueError)
        assert threading.get_ident() not in model(engine).threads or model(engine).seen[:2] == [6, 6]


class Breaker(Runnable):
    """Raises whatever it is told to."""

    @Runnable.method(batchable=True)
    def predict(self, x: Any, error: Any = None) -> Any:
        if error is not None:
            raise error("from the model")
        return x

    @Runnable.method
    def plain(self, error: Any = None) -> Any:
        if error is not None:
            raise error("from the model")

    @Runnable.method(batchable=True)
    async def coroutine(self, x: Any, error: Any = None) -> Any:
        await asyncio.sleep(0)
        return self.predict(x, error)

    @Runnable.method
    async def plain_coroutine(self, error: Any = None) -> Any:
        await asyncio.sleep(0)
        return self.plain(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration])
@pytest.mark.parametrize("method", ["predict", "plain"])
@asynchronous
async def test_no_error_of_the_model_ends_the_event_loop_or_leaves_a_caller_waiting(
    place: Any, method: str, error: type[BaseException]
) -> None:
    arguments = (row(1),) if method == "predict" else ()
    async with serving(make_engine(Breaker)) as engine:
        place(engine)
        calls = [submit(engine, *arguments, method=method, error=error) for _ in range(3)]
        for failed in await asyncio.gather(*map(outcome, calls)):
            assert isinstance(failed, BentoMLException)
            assert str(failed) == f"the method {method!r} raised {error.__name__}: from the model"
        assert isinstance(await outcome(submit(engine, *arguments, method=method, error=KeyError)), KeyError)
        assert (await outcome(submit(engine, *arguments, method=method))) == (row(1) if arguments else None)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("method", ["coroutine", "plain_coroutine"])
@asynchronous
async def test_nor_does_an_error_of_a_coroutine(method: str, error: type[BaseException]) -> None:
    arguments = (row(1),) if method == "coroutine" else ()
    async with serving(make_engine(Breaker)) as engine:
        failed = await outcome(submit(engine, *arguments, method=method, error=error))
        assert isinstance(failed, BentoMLException)
        assert str(failed) == f"the method {method!r} raised {error.__name__}: from the model"
        assert (await outcome(submit(engine, *arguments, method=method))) == (row(1) if arguments else None)


@asynchronous
async def test_a_batch_of_coroutines_that_cancels_itself_fails_its_callers_and_frees_the_model() -> None:
    async with serving(make_engine(Breaker)) as engine:
        calls = [submit(engine, row(1), method="coroutine", error=asyncio.CancelledError) for _ in range(2)]
        for failed in await asyncio.gather(*map(outcome, calls)):
            assert isinstance(failed, ServiceUnavailable)
            assert str(failed) == "the call of model.coroutine was cancelled"
        assert (await submit(engine, row(1), method="coroutine")).item() == 1


@asynchronous
async def test_a_wrong_number_of_rows_fails_every_caller_with_the_name_of_the_method(place: Any) -> None:
    class Forgetful(Runnable):
        @Runnable.method(batchable=True)
        def predict(self, x: Any) -> Any:
            return x[1:]

    async with serving(make_engine(Forgetful)) as engine:
        place(engine)
        for failed in await asyncio.gather(*(outcome(submit(engine, row(1))) for _ in range(3))):
            assert isinstance(failed, BentoMLException)
            assert failed.error_code == 500
            assert "the batchable method 'predict' was given 3 rows and returned 2" in str(failed)


@asynchronous
async def test_arguments_with_different_numbers_of_rows_are_refused_on_arrival() -> None:
    async with serving(make_engine(Doubler)) as engine:
        with pytest.raises(InvalidArgument, match="All batchable arguments must have the same batch size"):
            submit(engine, row(1), [1, 2])


@asynchronous
async def test_without_a_thread_to_run_in_the_callers_hear_of_it_and_the_next_batch_runs() -> None:
    async with serving(make_engine(Doubler)) as engine:
        engine.pump._executor.shutdown()
        for _ in range(2):
            failed = await outcome(submit(engine, row(1)))
            assert isinstance(failed, RuntimeError)
        inline(engine)
        assert (await submit(engine, row(1))).item() == 2


@asynchronous
async def test_an_observer_that_fails_harms_no_call(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def batch(self, method: str, **_: Any) -> None:
            raise KeyError("a metric")

        def refused(self, method: str, reason: str) -> None:
            raise KeyError("a metric")

    async with serving(make_engine(Doubler, observer=Broken(), max_queue_rows=1)) as engine:
        place(engine)
        assert (await submit(engine, row(1))).item() == 2
        engine.pump.hold()
        waiting = submit(engine, row(1))
        with pytest.raises(ServiceUnavailable):
            submit(engine, row(1))
        engine.pump.release()
        assert (await waiting).item() == 2
        assert caplog.text.count("the observer of 'predict' failed") == 3


# -- callers that go away ---------------------------------------------------------------------------------------------


@asynchronous
async def test_a_call_that_is_withdrawn_before_its_batch_is_sealed_costs_nothing(place: Any) -> None:
    async with serving(make_engine(Doubler)) as engine:
        place(engine)
        calls = [submit(engine, row(number)) for number in range(4)]
        for number in (0, 2):
            calls[number].cancel()
        assert (await calls[1]).item() == 2
        assert (await calls[3]).item() == 6
        assert model(engine).seen == [2]
        alone = submit(engine, row(1))
        alone.cancel()
        assert (await submit(engine, row(5, columns=2))).tolist() == [[10, 10]]
        assert model(engine).seen == [2, 1]
        assert engine.queues["predict"].rows == 0


@asynchronous
async def test_a_call_that_is_withdrawn_while_it_runs_harms_nobody() -> None:
    gate = Gate()

    class Slow(Runnable):
        @Runnable.method(batchable=True)
        def predict(self, x: Any) -> Any:
            gate.pass_through()
            return x

    async with serving(make_engine(Slow)) as engine:
        calls = [submit(engine, row(number)) for number in range(3)]
        await eventually(lambda: gate.waiting)
        calls[1].cancel()
        gate.open()
        assert (await calls[0]).item() == 0
        assert (await calls[2]).item() == 2


# -- deadlines and limits ---------------------------------------------------------------------------------------------


class Gated(Runnable):
    """Waits in the gate that its class was given."""

    gate = Gate()

    @Runnable.method(batchable=True)
    def predict(self, x: Any) -> Any:
        type(self).gate.pass_through()
        return x

    @Runnable.method
    def plain(self) -> None:
        type(self).gate.pass_through()


@pytest.fixture
def gated() -> Any:
    """A model of its own gate."""
    return type("GatedHere", (Gated,), {"gate": Gate()})


@asynchronous
async def test_a_call_past_its_deadline_is_failed_while_another_still_runs(gated: Any) -> None:
    watcher = Watcher()
    async with serving(make_engine(gated, observer=watcher, max_latency_ms=30)) as engine:
        running = submit(engine, row(1))
        await eventually(lambda: gated.gate.waiting)
        late = await outcome(submit(engine, row(2)))
        assert isinstance(late, ServiceUnavailable)
        assert str(late) == "model.predict did not get to this call within 30 ms"
        assert late.retry_after_s >= 1.0
        assert not running.done(), "what runs is never given up"
        gated.gate.open()
        assert (await running).item() == 1
        assert watcher.refusals == [("predict", "deadline")]


@asynchronous
async def test_a_call_past_its_deadline_is_failed_while_the_pump_is_held() -> None:
    async with serving(make_engine(Doubler, max_latency_ms=20)) as engine:
        engine.pump.hold()
        assert isinstance(await outcome(submit(engine, row(1))), ServiceUnavailable)
        engine.pump.release()
        assert (await submit(engine, row(1))).item() == 2


@asynchronous
async def test_a_call_that_could_still_be_answered_is_never_dropped_for_its_deadline(gated: Any) -> None:
    async with serving(make_engine(gated, max_latency_ms=20)) as engine:
        running = submit(engine, row(1))
        await eventually(lambda: gated.gate.waiting)
        await outcome(submit(engine, row(2)))  # its deadline is over, and so is that of the one that runs
        gated.gate.open()
        assert (await running).item() == 1


@asynchronous
async def test_a_full_queue_refuses_on_arrival_with_a_time_to_come_back(gated: Any) -> None:
    watcher = Watcher()
    async with serving(make_engine(gated, observer=watcher, max_queue_rows=3)) as engine:
        running = submit(engine, row(1))
        await eventually(lambda: gated.gate.waiting)
        waiting = [submit(engine, row(number)) for number in range(3)]
        with pytest.raises(ServiceUnavailable) as caught:
            submit(engine, row(9))
        assert str(caught.value) == "the queue of 'predict' is full: 3 rows wait, 3 may"
        assert caught.value.retry_after_s >= 1.0
        assert watcher.refusals == [("predict", "queue")]
        waiting[1].cancel()
        while waiting[1].cancelled():
            with contextlib.suppress(ServiceUnavailable):
                waiting[1] = submit(engine, row(5))
        gated.gate.open()
        assert [answer.item() for answer in await asyncio.gather(running, *waiting)] == [1, 0, 5, 2]


@asynchronous
async def test_a_call_that_would_be_late_is_refused_and_a_lone_one_is_tried(gated: Any) -> None:
    async with serving(make_engine(gated, max_latency_ms=100)) as engine:
        for _ in range(50):
            engine.queues["predict"].cost.observe(1, 5.0)
        running = submit(engine, row(1))
        await eventually(lambda: gated.gate.waiting)
        with pytest.raises(ServiceUnavailable) as caught:
            submit(engine, row(2))
        assert str(caught.value) == "the queue of 'predict' is too long to answer within 100 ms"
        assert 5.0 < caught.value.retry_after_s < 15.0
        gated.gate.open()
        assert (await running).item() == 1
        assert (await submit(engine, row(2))).item() == 2


@asynchronous
async def test_the_work_of_the_other_methods_counts_as_well() -> None:
    async with serving(make_engine(Doubler, max_latency_ms=1000)) as engine:
        threaded(engine)
        for queue in engine.queues.values():
            for _ in range(50):
                queue.cost.observe(1, 0.4)
        engine.pump.hold()
        before = [submit(engine, row(1), method="other"), submit(engine, row(1, columns=2), method="other")]
        with pytest.raises(ServiceUnavailable, match="too long to answer within 1000 ms"):
            submit(engine, row(1))
        engine.pump.release()
        await asyncio.gather(*before)


# -- patience ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"patience_ms": 5}, "patience"), ({"patience_ms": 60_000, "max_latency_ms": 30}, "deadline")],
)
@asynchronous
async def test_a_call_waits_for_others_until_patience_or_its_deadline_runs_out(
    limits: dict[str, Any], reason: str
) -> None:
    watcher = Watcher()
    async with serving(make_engine(Doubler, observer=watcher, **limits)) as engine:
        for _ in range(50):
            engine.queues["predict"].cost.observe(1, 0.01)
        assert (await submit(engine, row(1))).item() == 2
        assert watcher.batches == [("predict", 1, 1, reason)]


@asynchronous
async def test_a_full_batch_ends_the_wait(place: Any) -> None:
    watcher = Watcher()
    async with serving(make_engine(Doubler, observer=watcher, patience_ms=60_000, max_batch_size=3)) as engine:
        place(engine)
        calls = []
        for number in range(3):
            calls.append(submit(engine, row(number)))
            await asyncio.sleep(0.005)
        await asyncio.gather(*calls)
        assert watcher.batches == [("predict", 3, 3, "full")]


@asynchronous
async def test_a_full_lane_leaves_before_an_older_one_that_still_waits() -> None:
    async with serving(make_engine(Doubler, patience_ms=60_000, max_batch_size=2)) as engine:
        older = submit(engine, row(1, columns=2))
        await asyncio.sleep(0)
        await asyncio.gather(submit(engine, row(2)), submit(engine, row(3)))
        assert not older.done()
        await asyncio.gather(older, submit(engine, row(4, columns=2)))
        assert model(engine).seen == [2, 2]


@asynchronous
async def test_what_nothing_can_join_does_not_wait_for_others() -> None:
    async with serving(make_engine(Doubler, patience_ms=60_000)) as engine:
        assert (await submit(engine, np.ma.masked_array([1.0], [False]))).tolist() == [2.0]


@asynchronous
async def test_patience_is_kept_though_a_later_timer_is_set_already(gated: Any) -> None:
    async with serving(make_engine(gated, patience_ms=5)) as engine:
        held = asyncio.create_task(asyncio.to_thread(engine.call, "plain", (), {}))
        await eventually(lambda: gated.gate.waiting)
        waiting = submit(engine, row(1))  # the model is taken: the timer is set to the deadline, a minute away
        await asyncio.sleep(0.001)
        gated.gate.open()
        await held
        assert (await waiting).item() == 1
        assert (await submit(engine, row(2))).item() == 2


# -- inline or not ----------------------------------------------------------------------------------------------------


@asynchronous
async def test_a_fast_model_comes_to_run_on_the_event_loop_by_itself() -> None:
    async with serving(make_engine(Doubler)) as engine:
        here = threading.get_ident()
        for _ in range(2000):
            await submit(engine, row(1))
            if here in model(engine).threads:
                return
        pytest.fail("it never did")


@asynchronous
async def test_a_model_that_stalls_the_event_loop_is_kept_off_it() -> None:
    class Moody(Runnable):
        @Runnable.method(batchable=True)
        def predict(self, x: Any) -> Any:
            threads.append(threading.get_ident())
            if x[0, 0] == 1:
                time.sleep(0.01)
            return x

    threads: list[int] = []
    async with serving(make_engine(Moody)) as engine:
        inline(engine)
        for value in (0, 1, 0, 0):
            await submit(engine, row(value))
        here = threading.get_ident()
        assert [thread == here for thread in threads] == [True, True, False, False]


@asynchronous
async def test_a_batch_much_larger_than_any_before_does_not_run_on_the_event_loop() -> None:
    async with serving(make_engine(Doubler)) as engine:
        for _ in range(100):
            engine.queues["predict"].cost.observe(1, 1e-4)
        await asyncio.gather(*(submit(engine, row(-number)) for number in range(50)))
        assert threading.get_ident() not in model(engine).threads


# -- context ----------------------------------------------------------------------------------------------------------


@asynchronous
async def test_a_batch_sees_the_context_of_none_of_its_callers(place: Any) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    class Spy(Runnable):
        @Runnable.method(batchable=True)
        def predict(self, x: Any) -> Any:
            return [user.get() for _ in x]

        @Runnable.method(batchable=True)
        async def coroutine(self, x: Any) -> Any:
            return [user.get() for _ in x]

    async def caller(name: str, method: str) -> Any:
        user.set(name)
        return await submit(engine, [name], method=method)

    async with serving(make_engine(Spy)) as engine:
        place(engine)
        for method in ("predict", "coroutine"):
            calls = (asyncio.create_task(caller(name, method)) for name in ("ann", "bob"))
            assert await asyncio.gather(*calls) == [["nobody"], ["nobody"]]


@asynchronous
async def test_each_caller_that_asked_is_told_how_its_model_call_spent_its_time(place: Any) -> None:
    async def caller(asks: bool) -> list[ModelTiming] | None:
        timings: list[ModelTiming] | None = [] if asks else None
        model_timings.set(timings)
        await submit(engine, row(1))
        return timings

    async with serving(make_engine(Doubler)) as engine:
        place(engine)
        found = await asyncio.gather(*(asyncio.create_task(caller(asks)) for asks in (True, False, True)))
        assert found[1] is None
        for timings in (found[0], found[2]):
            assert timings is not None
            (timing,) = timings
            assert (timing.runner, timing.method, timing.rows) == ("model", "predict", 3)
            assert timing.queue_s >= 0.0
            assert timing.compute_s > 0.0


# -- threads ----------------------------------------------------------------------------------------------------------


@asynchronous
async def test_threads_that_never_stop_calling_do_not_starve_the_event_loop(place: Any) -> None:
    async with serving(make_engine(Doubler)) as engine:
        place(engine)
        stop = threading.Event()

        def hammer() -> None:
            while not stop.is_set():
                engine.call("plain", (1,), {})

        hammers = [threading.Thread(target=hammer) for _ in range(4)]
        for each in hammers:
            each.start()
        try:
            for number in range(50):
                assert (await submit(engine, row(-number))).item() == -2 * number
        finally:
            stop.set()
            for each in hammers:
                each.join()


@asynchronous
async def test_an_event_loop_that_never_stops_calling_does_not_starve_a_thread(place: Any) -> None:
    async with serving(make_engine(Doubler)) as engine:
        place(engine)

        def calls() -> int:
            return sum(engine.call("plain", (1,), {}) for _ in range(50))

        counted = asyncio.create_task(asyncio.to_thread(calls))
        while not counted.done():
            await asyncio.gather(*(submit(engine, row(1)) for _ in range(20)))
        assert await counted == 50


# -- closing ----------------------------------------------------------------------------------------------------------


@asynchronous
async def test_closing_fails_what_waits_and_lets_the_running_batch_end(gated: Any) -> None:
    engine = make_engine(gated)
    engine.start()
    running = submit(engine, row(1))
    await eventually(lambda: gated.gate.waiting)
    waiting = submit(engine, row(2))
    closing = asyncio.create_task(engine.close())
    failed = await outcome(waiting)
    assert isinstance(failed, ServiceUnavailable)
    assert str(failed) == "the runner 'model' is shutting down"
    assert not closing.done()
    gated.gate.open()
    await closing
    assert running.done()
    assert running.result().item() == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("model-model")]


@asynchronous
async def test_closing_waits_for_coroutines() -> None:
    release = asyncio.Event()

    class Waiter(Runnable):
        @Runnable.method(batchable=True)
        async def batched(self, x: Any) -> Any:
            await release.wait()
            return x

        @Runnable.method
        async def alone(self, x: Any) -> Any:
            await release.wait()
            return x

    engine = make_engine(Waiter)
    engine.start()
    calls = [submit(engine, [1], method="batched"), submit(engine, [2], method="alone")]
    await asyncio.sleep(0.005)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0.005)
    assert not closing.done()
    release.set()
    await closing
    assert [call.result() for call in calls] == [[1], [2]]


@asynchronous
async def test_memory_does_not_grow_with_the_number_of_calls() -> None:
    async with serving(make_engine(Doubler)) as engine:

        async def some(count: int) -> int:
            for start in range(0, count, 100):
                await asyncio.gather(*(outcome(submit(engine, row(start % 20))) for _ in range(100)))
            gc.collect()
            return len(gc.get_objects())

        await some(1000)
        before = await some(1000)
        assert await some(5000) - before < 500
