"""Engine: calls from the event loop, from threads and from other event loops reach one model, one at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bentoml._context import ModelTiming, model_timings
from bentoml.exceptions import BentoMLException, InvalidArgument, ServiceUnavailable, StateException
from bentoml.runner.batching import Policy
from bentoml.runner.engine import Engine
from bentoml.runner.method_queue import MethodPlan
from bentoml.runner.runnable import Runnable
from bentoml.types import ModelSignature
from tests._engines import (
    HANG_S,
    Gate,
    Watcher,
    asynchronous,
    eventually,
    inline,
    make_engine,
    outcome,
    serving,
    threaded,
)


class Model(Runnable):
    """Methods of every kind; notes the rows and threads of its calls, and whether two ever overlapped."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.seen: list[int] = []
        self.threads: list[int] = []
        self.inside = 0
        self.overlapped = False
        self.reached: Callable[[], Any] | None = None

    def note(self, count: int) -> None:
        self.inside += 1
        self.overlapped = self.overlapped or self.inside > 1
        self.seen.append(count)
        self.threads.append(threading.get_ident())
        self.inside -= 1

    @Runnable.method(batchable=True)
    def predict(self, x: Any) -> Any:
        self.note(len(x))
        if len(x) and x[0] == "fail":
            raise ValueError("failed")
        return [f"{item}!" for item in x]

    @Runnable.method
    def plain(self, x: Any) -> Any:
        self.note(1)
        return x

    @Runnable.method
    def fail(self) -> None:
        raise ValueError("failed")

    @Runnable.method
    def gated(self) -> str:
        self.gate.pass_through()
        return "through"

    @Runnable.method(batchable=True)
    def short(self, x: Any) -> Any:
        return x[1:]

    @Runnable.method
    def reenter(self) -> Any:
        assert self.reached is not None
        return self.reached()

    @Runnable.method
    async def coroutine(self, x: Any) -> Any:
        await asyncio.sleep(0)
        return x

    @Runnable.method(batchable=True)
    async def coroutine_batch(self, x: Any) -> Any:
        self.seen.append(len(x))
        while self.gate.waiting == 0:
            await asyncio.sleep(0.001)
        return x


def model(engine: Engine) -> Model:
    assert isinstance(engine._instance, Model)
    return engine._instance


async def in_thread(engine: Engine, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call from a thread of its own; unlike those of a pool there are as many as one likes."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def call() -> None:
        try:
            result = engine.call(method, args, kwargs)
        except Exception as error:  # noqa: BLE001 - for the test to look at
            loop.call_soon_threadsafe(future.set_exception, error)
        else:
            loop.call_soon_threadsafe(future.set_result, result)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        return await future
    finally:
        await asyncio.to_thread(thread.join, HANG_S)


# -- its life ---------------------------------------------------------------------------------------------------------


def test_a_planned_method_that_the_instance_lacks_is_named() -> None:
    plan = MethodPlan("guess", ModelSignature(), False, Policy(1))
    engine = Engine("model", Model, [plan])
    with pytest.raises(BentoMLException) as caught:
        engine.load()
    assert str(caught.value) == "the runner 'model' has no method 'guess'"
    assert not engine.is_loaded


def test_an_engine_whose_model_is_not_loaded_says_so() -> None:
    plan = MethodPlan("plain", ModelSignature(), False, Policy(1))
    engine = Engine("model", Model, [plan])
    with pytest.raises(StateException, match="the model of the runner 'model' is not loaded"):
        engine.call("plain", (1,), {})


@asynchronous
async def test_an_engine_that_does_not_serve_says_so() -> None:
    engine = make_engine(Model)
    with pytest.raises(StateException, match="the runner 'model' is not running"):
        engine.submit("plain", (1,), {})
    async with serving(engine):
        assert await engine.submit("plain", (1,), {}) == 1
    with pytest.raises(StateException, match="the runner 'model' is not running"):
        engine.submit("plain", (1,), {})
    with pytest.raises(StateException, match="the runner 'model' is closed"):
        engine.call("plain", (1,), {})


@asynchronous
async def test_an_engine_can_serve_again_after_it_was_closed() -> None:
    engine = make_engine(Model)
    for _ in range(2):
        async with serving(engine):
            assert await engine.submit("predict", (["a"],), {}) == ["a!"]
            assert await in_thread(engine, "plain", 2) == 2


def test_before_it_serves_calls_run_one_by_one_in_the_calling_thread() -> None:
    engine = make_engine(Model, max_batch_size=2)
    assert engine.call("predict", (["a", "b", "c"],), {}) == ["a!", "b!", "c!"]
    assert engine.call("coroutine", (1,), {}) == 1
    assert model(engine).seen == [3]
    assert model(engine).threads == [threading.get_ident()]
    with pytest.raises(InvalidArgument, match="All batchable arguments must have the same batch size"):
        engine.call("predict", (["a"], ["b", "c"]), {})


# -- from threads -----------------------------------------------------------------------------------------------------


@asynchronous
async def test_a_lone_call_from_a_thread_runs_in_that_thread() -> None:
    async with serving(make_engine(Model)) as engine:
        assert await in_thread(engine, "predict", ["a"]) == ["a!"]
        assert await in_thread(engine, "plain", 1) == 1
        assert threading.get_ident() not in model(engine).threads
        assert not any(thread.name.startswith("model-model") for thread in threading.enumerate())


@asynchronous
async def test_calls_from_threads_and_from_the_event_loop_are_joined() -> None:
    async with serving(make_engine(Model)) as engine:
        held = asyncio.create_task(in_thread(engine, "gated"))
        await eventually(lambda: model(engine).gate.waiting)
        threads = [asyncio.create_task(in_thread(engine, "predict", [f"t{number}"])) for number in range(8)]
        here = [engine.submit("predict", ([f"a{number}"],), {}) for number in range(8)]
        await eventually(lambda: engine.queues["predict"].rows == 16)
        model(engine).gate.open()
        assert await asyncio.gather(*threads) == [[f"t{number}!"] for number in range(8)]
        assert await asyncio.gather(*here) == [[f"a{number}!"] for number in range(8)]
        assert await held == "through"
        assert model(engine).seen == [16]


@asynchronous
async def test_a_thread_gets_the_errors_of_its_own_call() -> None:
    async with serving(make_engine(Model)) as engine:
        for _ in range(2):
            for found in await asyncio.gather(
                *(outcome(in_thread(engine, "predict", [each])) for each in ("fail", "a", "fail"))
            ):
                assert found == ["a!"] or str(found) == "failed"
        assert str(await outcome(in_thread(engine, "fail"))) == "failed"
        assert "was given 2 rows and returned 1" in str(await outcome(in_thread(engine, "short", [1, 2])))
        assert isinstance(await outcome(in_thread(engine, "predict", ["a"], ["b", "c"])), TypeError | InvalidArgument)


@asynchronous
async def test_a_thread_is_refused_like_any_caller() -> None:
    watcher = Watcher()
    async with serving(make_engine(Model, observer=watcher, max_queue_rows=1)) as engine:
        engine.pump.hold()
        waiting = engine.submit("predict", (["a"],), {})
        refused = await outcome(in_thread(engine, "predict", ["b"]))
        assert isinstance(refused, ServiceUnavailable)
        assert str(refused) == "the queue of 'predict' is full: 1 rows wait, 1 may"
        assert watcher.refusals == [("predict", "queue")]
        engine.pump.release()
        assert await waiting == ["a!"]


@asynchronous
async def test_a_large_call_from_a_thread_is_split() -> None:
    async with serving(make_engine(Model, max_batch_size=2)) as engine:
        assert await in_thread(engine, "predict", list("abcde")) == ["a!", "b!", "c!", "d!", "e!"]
        assert model(engine).seen == [2, 2, 1]


@asynchronous
async def test_threads_that_wait_when_the_engine_is_closed_are_told() -> None:
    engine = make_engine(Model)
    engine.start()
    held = asyncio.create_task(in_thread(engine, "gated"))
    await eventually(lambda: model(engine).gate.waiting)
    waiting = asyncio.create_task(outcome(in_thread(engine, "predict", ["a"])))
    await eventually(lambda: engine.queues["predict"].rows)
    await engine.close()
    assert str(await waiting) == "the runner 'model' is shutting down"
    model(engine).gate.open()
    assert await held == "through"


@asynchronous
async def test_all_kinds_of_callers_at_once_get_their_own_answers_and_never_call_the_model_together() -> None:
    async with serving(make_engine(Model, max_batch_size=8)) as engine:
        stop = threading.Event()
        wrong: list[Any] = []

        def worker(name: str) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                if engine.call("predict", ([f"{name}{number}"],), {}) != [f"{name}{number}!"]:
                    wrong.append(name)
                if engine.call("plain", (number,), {}) != number:
                    wrong.append(name)
                if number % 10 == 0 and engine.call("coroutine", (number,), {}) != number:
                    wrong.append(name)

        def own_loop() -> None:
            async def main() -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    futures = [engine.submit_from_thread("predict", ([f"l{number}-{i}"],), {}) for i in range(3)]
                    found = await asyncio.gather(*map(asyncio.wrap_future, futures))
                    if found != [[f"l{number}-{i}!"] for i in range(3)]:
                        wrong.append("loop")

            asyncio.run(main())

        threads = [threading.Thread(target=worker, args=(name,)) for name in "xyz"]
        threads.append(threading.Thread(target=own_loop))
        for thread in threads:
            thread.start()
        try:
            for turn in range(100):
                calls = [engine.submit("predict", ([f"a{turn}-{i}"],), {}) for i in range(5)]
                assert await asyncio.gather(*calls) == [[f"a{turn}-{i}!"] for i in range(5)]
        finally:
            stop.set()
            while any(thread.is_alive() for thread in threads):
                await asyncio.sleep(0.001)
        assert wrong == []
        assert not model(engine).overlapped


# -- blocking calls on the event loop ---------------------------------------------------------------------------------


@asynchronous
async def test_a_blocking_call_on_the_event_loop_is_done_there() -> None:
    async with serving(make_engine(Model)) as engine:
        assert engine.call("plain", (1,), {}) == 1
        assert engine.call("predict", (["a"],), {}) == ["a!"]
        assert model(engine).threads == [threading.get_ident()] * 2


@asynchronous
async def test_a_blocking_call_on_the_event_loop_waits_for_the_batch_that_runs_in_the_thread() -> None:
    async with serving(make_engine(Model)) as engine:
        threaded(engine)
        running = engine.submit("gated", (), {})
        await eventually(lambda: model(engine).gate.waiting)
        queued = engine.submit("predict", (["a"],), {})
        await asyncio.sleep(0)
        threading.Timer(0.01, model(engine).gate.open).start()
        assert engine.call("plain", (1,), {}) == 1
        assert await running == "through"
        assert await queued == ["a!"]


@asynchronous
async def test_a_blocking_call_that_would_wait_for_its_own_event_loop_is_refused() -> None:
    async with serving(make_engine(Model)) as engine:
        running = engine.submit("coroutine_batch", ([1],), {})
        await eventually(lambda: model(engine).seen)
        with pytest.raises(StateException) as caught:
            engine.call("plain", (1,), {})
        assert str(caught.value) == (
            "model.plain.run() would block the event loop for ever: the model is at work on it. "
            "Use `await model.plain.async_run(...)`"
        )
        model(engine).gate.waiting = 1
        assert await running == [1]
        assert engine.call("plain", (1,), {}) == 1


@asynchronous
async def test_a_model_that_calls_its_own_runner_on_the_event_loop_is_refused_and_not_stuck() -> None:
    async with serving(make_engine(Model)) as engine:
        inline(engine)
        model(engine).reached = lambda: engine.call("plain", (1,), {})
        found = await outcome(engine.submit("reenter", (), {}))
        assert isinstance(found, StateException)
        assert await engine.submit("plain", (1,), {}) == 1


@asynchronous
async def test_a_blocking_call_of_a_coroutine_on_the_event_loop_is_refused() -> None:
    engine = make_engine(Model)
    for _ in range(2):
        with pytest.raises(StateException) as caught:
            engine.call("coroutine", (1,), {})
        assert str(caught.value) == (
            "model.coroutine.run() would block the event loop for ever: the method is asynchronous. "
            "Use `await model.coroutine.async_run(...)`"
        )
        engine.start()
    await engine.close()


# -- coroutines -------------------------------------------------------------------------------------------------------


@asynchronous
async def test_coroutines_that_are_not_batched_run_together() -> None:
    class Meeting(Runnable):
        @Runnable.method
        async def meet(self) -> int:
            nonlocal present
            present += 1
            while present < 5:
                await asyncio.sleep(0.001)
            return present

    present = 0
    async with serving(make_engine(Meeting)) as engine:
        assert await asyncio.gather(*(engine.submit("meet", (), {}) for _ in range(5))) == [5] * 5


@asynchronous
async def test_coroutines_can_be_batched() -> None:
    async with serving(make_engine(Model)) as engine:
        model(engine).gate.waiting = 1
        calls = [engine.submit("coroutine_batch", ([number],), {}) for number in range(5)]
        assert await asyncio.gather(*calls) == [[number] for number in range(5)]
        assert model(engine).seen == [5]
        assert await in_thread(engine, "coroutine_batch", [7]) == [7]


@asynchronous
async def test_a_coroutine_is_cancelled_with_its_caller() -> None:
    class Sleeper(Runnable):
        @Runnable.method
        async def sleep(self) -> None:
            try:
                await asyncio.sleep(HANG_S)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

    ended: list[str] = []
    async with serving(make_engine(Sleeper)) as engine:
        call = engine.submit("sleep", (), {})
        await asyncio.sleep(0.001)
        call.cancel()
        await asyncio.wait([call])
        assert ended == ["cancelled"]


@asynchronous
async def test_the_number_of_coroutines_is_bounded() -> None:
    watcher = Watcher()
    async with serving(make_engine(Model, observer=watcher, max_queue_rows=2)) as engine:
        calls = [engine.submit("coroutine", (number,), {}) for number in range(2)]
        with pytest.raises(ServiceUnavailable, match="2 calls of 'model' are running, no more may"):
            engine.submit("coroutine", (3,), {})
        assert watcher.refusals == [("coroutine", "queue")]
        assert await asyncio.gather(*calls) == [0, 1]
        assert await engine.submit("coroutine", (3,), {}) == 3


@asynchronous
async def test_coroutines_that_were_accepted_end_though_the_engine_is_closed_before_they_begin() -> None:
    engine = make_engine(Model)
    engine.start()
    call = engine.submit("coroutine", (1,), {})
    await engine.close()
    assert await call == 1


@asynchronous
async def test_a_thread_that_calls_when_the_event_loop_has_ended_is_told() -> None:
    engine = make_engine(Model)

    async def serve_and_forget() -> None:
        engine.start()
        engine.pump.hold()
        engine.submit("predict", (["a"],), {})

    await asyncio.to_thread(asyncio.run, serve_and_forget())
    found = await outcome(in_thread(engine, "predict", ["b"]))
    assert isinstance(found, StateException)
    assert str(found) == "the event loop that served the runner 'model' has ended"


@asynchronous
async def test_a_coroutine_sees_the_context_of_its_caller() -> None:
    class Timed(Runnable):
        @Runnable.method
        async def asked(self) -> bool:
            return model_timings.get() is not None

    async with serving(make_engine(Timed)) as engine:
        assert await engine.submit("asked", (), {}) is False
        model_timings.set([])
        assert await engine.submit("asked", (), {}) is True


# -- what is told of calls that run alone -----------------------------------------------------------------------------


@asynchronous
async def test_the_observer_and_the_caller_hear_of_calls_that_no_batch_carried() -> None:
    watcher = Watcher()
    engine = make_engine(Model, observer=watcher)
    timings: list[ModelTiming] = []
    model_timings.set(timings)
    async with serving(engine):
        engine.call("plain", (1,), {})
        await asyncio.to_thread(engine.call, "predict", (["a", "b"],), {})
        await engine.submit("coroutine", (1,), {})
        assert await outcome(asyncio.to_thread(engine.call, "fail", (), {}))
        await eventually(lambda: len(watcher.batches) == 4)
    assert watcher.batches == [
        ("plain", 1, 1, "idle"),
        ("predict", 1, 2, "idle"),
        ("coroutine", 1, 1, "idle"),
        ("fail", 1, 1, "idle"),
    ]
    assert [(timing.runner, timing.method, timing.rows) for timing in timings] == [
        ("model", "plain", 1),
        ("model", "predict", 2),
        ("model", "coroutine", 1),
        ("model", "fail", 1),
    ]


def test_an_array_stays_the_callers_own_when_nothing_was_joined() -> None:
    engine = make_engine(Model)
    x = np.zeros((2, 2))
    assert engine.call("plain", (x,), {}) is x
