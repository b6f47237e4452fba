"""Runner: the handle in user code; names, limits, methods, notebooks."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bentoml.config import Batching, RunnerConfig
from bentoml.exceptions import InvalidArgument, StateException
from bentoml.runner.placements.in_process import InProcess
from bentoml.runner.runnable import Runnable
from bentoml.runner.runner import Runner
from tests._engines import asynchronous


class Model(Runnable):
    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    @Runnable.method(batchable=True)
    def predict(self, x: Any) -> Any:
        return [item * self.factor for item in x]

    @Runnable.method
    def describe(self, *, short: bool = False) -> str:
        return "m" if short else "model"

    @Runnable.method
    async def stream(self) -> AsyncIterator[int]:
        for number in range(3):
            yield number


class OneMethod(Runnable):
    @Runnable.method
    def predict(self, x: Any) -> Any:
        return x


class Callable(Runnable):
    @Runnable.method
    def __call__(self, x: Any) -> Any:
        return x

    @Runnable.method
    def other(self, x: Any) -> Any:
        return -x


# -- construction -----------------------------------------------------------------------------------------------------


def test_the_name_is_that_of_the_class_in_lower_case_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert Runner(Model).name == "model"
    assert "converting the name of a runner Model to lowercase: model" in caplog.text
    caplog.clear()
    assert Runner(Model, name="credit-risk").name == "credit-risk"
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["", "a" * 64, "a b", "a!", "_a", "a_", "../a"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a runner"):
        Runner(Model, name=name)


def test_a_class_without_methods_is_refused() -> None:
    class Nothing(Runnable):
        pass

    with pytest.raises(
        ValueError, match=r"Nothing offers no method: mark at least one with @bentoml\.Runnable\.method"
    ):
        Runner(Nothing, name="nothing")


@pytest.mark.parametrize("name", ["name", "models", "init_local", "placement"])
def test_a_method_with_the_name_of_a_member_is_refused(name: str) -> None:
    class Named(Runnable):
        pass

    Named.add_method(lambda self, value: value, name)
    with pytest.raises(ValueError, match=f"Named offers a method '{name}', and every Runner has something of that"):
        Runner(Named)


@pytest.mark.parametrize("what", [object, "Model", Model()])
def test_something_else_than_a_runnable_class_is_refused(what: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"a Runner takes a subclass of bentoml\.Runnable, not "):
        Runner(what)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_batch_size": 0}, "model: max_batch_size must be a positive number, not 0"),
        ({"max_batch_size": 1.5}, "model: max_batch_size must be a positive number, not 1.5"),
        ({"max_batch_size": True}, "model: max_batch_size must be a positive number, not True"),
        ({"max_latency_ms": -1}, "model: max_latency_ms must be a positive number, not -1"),
        ({"max_latency_ms": math.nan}, "model: max_latency_ms must be a positive number, not nan"),
        (
            {"method_configs": {"predict": {"max_batch_size": "8"}}},
            "model.predict: max_batch_size must be a positive number, not '8'",
        ),
        (
            {"method_configs": {"predict": {"batch_size": 8}}},
            "model.predict: 'batch_size' is no limit of a method; limits are max_batch_size, max_latency_ms",
        ),
        (
            {"method_configs": {"guess": {}}},
            "method_configs of the runner 'model' names 'guess'; its methods are predict, describe, stream",
        ),
    ],
)
def test_a_wrong_limit_is_refused_with_its_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Runner(Model, name="model", **arguments)
    assert str(caught.value) == message


# -- limits -----------------------------------------------------------------------------------------------------------


def test_a_limit_is_that_of_the_method_else_of_the_runner_else_of_the_configuration() -> None:
    class Two(Runnable):
        @Runnable.method(batchable=True)
        def first(self, x: Any) -> Any:
            return x

        @Runnable.method(batchable=True)
        def second(self, x: Any) -> Any:
            return x

    runner = Runner(Two, name="two", max_batch_size=20, method_configs={"first": {"max_latency_ms": 50}})
    config = RunnerConfig(batching=Batching(max_batch_size=10, max_latency_ms=500, patience_ms=2, max_queue_rows=7))
    first, second = runner.plans(config)
    assert (first.name, first.batching, first.policy.max_batch_rows, first.max_latency_s) == ("first", True, 20, 0.05)
    assert (second.policy.max_batch_rows, second.max_latency_s) == (20, 0.5)
    assert (second.policy.patience_s, second.max_queue_rows) == (0.002, 7)
    (plan, _) = Runner(Two, name="two").plans(config)
    assert plan.policy.max_batch_rows == 10


def test_a_method_that_is_not_batched_has_neither_deadline_nor_patience() -> None:
    config = RunnerConfig(batching=Batching(patience_ms=5, max_latency_ms=10))
    plans = {plan.name: plan for plan in Runner(Model, name="model", max_latency_ms=1).plans(config)}
    assert plans["predict"].batching
    describe = plans["describe"]
    assert (describe.batching, describe.policy, describe.max_latency_s) == (False, (1, 0.0), math.inf)


def test_batching_can_be_turned_off() -> None:
    for plan in Runner(Model, name="model").plans(RunnerConfig(batching=Batching(enabled=False))):
        assert (plan.batching, plan.max_latency_s) == (False, math.inf)


# -- handles ----------------------------------------------------------------------------------------------------------


def test_each_method_has_a_handle() -> None:
    runner = Runner(Model, name="model")
    assert [handle.name for handle in runner.runner_methods] == ["predict", "describe", "stream"]
    assert repr(runner.predict) == "RunnerMethod(model.predict)"
    assert repr(runner) == "Runner(name='model', methods=[predict, describe, stream])"
    assert not hasattr(runner, "run")


def test_a_runner_with_one_method_or_a_call_can_be_run_itself() -> None:
    one, callable_ = Runner(OneMethod, name="one"), Runner(Callable, name="callable")
    one.init_local(quiet=True)
    callable_.init_local(quiet=True)
    assert one.run(3) == 3
    assert callable_.run(3) == 3
    assert callable_.other.run(3) == -3
    assert asyncio.run(one.async_run(4)) == 4


def test_arguments_of_the_class_are_passed_on() -> None:
    runner = Runner(Model, name="model", runnable_init_params={"factor": 5})
    runner.init_local(quiet=True)
    assert runner.predict.run([1, 2]) == [5, 10]


# -- notebooks --------------------------------------------------------------------------------------------------------


def test_a_runner_that_was_not_initialised_says_how() -> None:
    runner = Runner(Model, name="model")
    with pytest.raises(StateException) as caught:
        runner.predict.run([1])
    assert str(caught.value) == (
        "the runner 'model' is not initialised: `bentoml serve` does that for a service's runners; "
        "in a script or a notebook call `model.init_local()` first"
    )
    with pytest.raises(StateException):
        asyncio.run(runner.predict.async_run([1]))


def test_init_local_loads_the_model_here_once_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    runner = Runner(Model, name="model")
    with caplog.at_level(logging.WARNING, "bentoml"):
        runner.init_local()
    assert "init_local() is for development and tests: model runs in this process, unbatched" in caplog.text
    with pytest.raises(StateException, match=r"is initialised already; call destroy\(\) first"):
        runner.init_local()
    runner.destroy()
    with pytest.raises(StateException, match="is not initialised"):
        runner.predict.run([1])
    caplog.clear()
    runner.init_local(quiet=True)
    assert caplog.text == ""


def test_a_model_that_cannot_be_loaded_leaves_the_runner_as_it_was() -> None:
    class Broken(Model):
        def __init__(self) -> None:
            raise OSError("no such file")

    runner = Runner(Broken, name="broken")
    for _ in range(2):
        with pytest.raises(OSError, match="no such file"):
            runner.init_local(quiet=True)


@asynchronous
async def test_a_local_runner_can_be_called_in_every_way() -> None:
    runner = Runner(Model, name="model")
    runner.init_local(quiet=True)
    assert runner.predict.run([1]) == [2]
    assert await runner.predict.async_run([1]) == [2]
    assert await runner.describe.async_run(short=True) == "m"
    assert [item async for item in runner.stream.async_stream()] == [0, 1, 2]
    assert await runner.stream.async_run() == [0, 1, 2]
    assert await asyncio.gather(*(runner.predict.async_run([number]) for number in range(9))) == [
        [2 * number] for number in range(9)
    ]


@asynchronous
async def test_a_served_runner_is_reached_through_its_placement() -> None:
    runner = Runner(Model, name="model")
    placement = InProcess(runner.engine(RunnerConfig()))
    await placement.start()
    runner.attach(placement)
    assert await runner.predict.async_run([1, 2]) == [2, 4]
    runner.attach(None)
    with pytest.raises(StateException):
        await runner.predict.async_run([1])
    await placement.close()
