"""run_batch: one outcome for each call, whatever the model does."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml.exceptions import BentoMLException
from bentoml.runner.batching import Policy
from bentoml.runner.execution import Failure, Ran, deliverable, run_batch, run_batch_async
from bentoml.runner.joining import measure
from bentoml.runner.method_queue import Call, MethodPlan
from bentoml.types import ModelSignature

PLAN = MethodPlan("predict", ModelSignature(batchable=True), True, Policy(8))
ALONE = MethodPlan("predict", ModelSignature(), False, Policy(1))


def call(*args: Any, plan: MethodPlan = PLAN, deadline: float = math.inf, **kwargs: Any) -> Call:
    rows, key = measure(args, kwargs, 0) if plan.batching else (1, None)
    return Call(args, kwargs, rows, key, 0.0, deadline, Future[Any](), None)


class Model:
    """Doubles its rows; rows of `bad` values raise. Remembers the rows of each call."""

    def __init__(self, *bad: float, error: type[BaseException] = ValueError) -> None:
        self.bad, self.error = set(bad), error
        self.seen: list[int] = []

    def __call__(self, x: Any, **_: Any) -> Any:
        self.seen.append(len(x))
        if self.bad & set(np.ravel(x).tolist()):
            raise self.error("a bad row")
        return x * 2


@pytest.fixture(params=["plain", "coroutine"])
def run(request: pytest.FixtureRequest) -> Any:
    """run_batch and run_batch_async, called alike."""

    def plainly(plan: MethodPlan, function: Any, calls: list[Call], now: float = 0.0) -> Ran:
        return run_batch(plan, function, calls, clock=lambda: now)

    def awaited(plan: MethodPlan, function: Any, calls: list[Call], now: float = 0.0) -> Ran:
        async def method(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return function(*args, **kwargs)

        return asyncio.run(run_batch_async(plan, method, calls, clock=lambda: now))

    return plainly if request.param == "plain" else awaited


def values(ran: Ran) -> list[Any]:
    return [
        f"{type(outcome.error).__name__}: {outcome.error}" if type(outcome) is Failure else np.ravel(outcome).tolist()
        for outcome in ran.outcomes
    ]


def test_a_batch_is_one_call_of_the_model_and_each_caller_gets_its_rows(run: Any) -> None:
    model = Model()
    ran = run(PLAN, model, [call(np.array([1.0])), call(np.array([2.0, 3.0]))])
    assert (values(ran), model.seen, ran.clean) == ([[2.0], [4.0, 6.0]], [3], True)


@pytest.mark.parametrize("bad", range(5))
def test_one_bad_row_costs_one_caller(run: Any, bad: int) -> None:
    model = Model(bad)
    ran = run(PLAN, model, [call(np.array([float(number)])) for number in range(5)])
    expected: list[Any] = [[2.0 * number] for number in range(5)]
    expected[bad] = "ValueError: a bad row"
    assert values(ran) == expected
    assert not ran.clean
    assert len(model.seen) <= 2 * 3 + 1


@settings(max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=16))
def test_exactly_the_guilty_calls_fail(guilty: list[bool]) -> None:
    model = Model(1.0)
    ran = run_batch(PLAN, model, [call(np.array([float(bad)])) for bad in guilty], clock=lambda: 0.0)
    assert [type(outcome) is Failure for outcome in ran.outcomes] == guilty
    assert len(model.seen) <= 2 * len(guilty) - 1


def test_the_search_for_the_guilty_ends_at_the_deadline(run: Any) -> None:
    model = Model(0)
    ran = run(PLAN, model, [call(np.array([float(number)]), deadline=5.0) for number in range(4)], now=5.0)
    assert values(ran) == ["ValueError: a bad row"] * 4
    assert model.seen == [4]


def test_on_request_nobody_is_searched_for() -> None:
    model = Model(0)
    calls = [call(np.array([float(number)])) for number in range(4)]
    ran = run_batch(PLAN, model, calls, clock=lambda: 0.0, bisect=False)
    assert (values(ran), model.seen, ran.clean) == (["ValueError: a bad row"] * 4, [4], False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_error_that_would_end_an_event_loop_becomes_one_that_can_be_raised_in_the_caller(
    run: Any, error: type[BaseException]
) -> None:
    ran = run(PLAN, Model(1.0, error=error), [call(np.array([0.0])), call(np.array([1.0]))])
    assert values(ran) == [[0.0], f"BentoMLException: the method 'predict' raised {error.__name__}: a bad row"]
    assert isinstance(ran.outcomes[1].error.__cause__, error)


@pytest.mark.parametrize("error", [StopIteration, GeneratorExit, asyncio.CancelledError])
def test_an_error_that_ends_a_generator_or_a_task_becomes_one_that_can_be_raised_in_the_caller(
    error: type[BaseException],
) -> None:
    ran = run_batch(PLAN, Model(1.0, error=error), [call(np.array([0.0])), call(np.array([1.0]))], clock=lambda: 0.0)
    assert values(ran) == [[0.0], f"BentoMLException: the method 'predict' raised {error.__name__}: a bad row"]


def test_a_coroutine_that_is_cancelled_is_not_searched_for_the_guilty() -> None:
    async def method(x: Any) -> Any:
        raise asyncio.CancelledError

    async def scenario() -> None:
        with pytest.raises(asyncio.CancelledError):
            await run_batch_async(PLAN, method, [call(np.zeros(1)), call(np.zeros(1))], clock=lambda: 0.0)

    asyncio.run(scenario())


@pytest.mark.parametrize("result", [np.zeros(1), np.zeros((9, 1)), [], None, 0.5, (np.zeros(2), np.zeros(1))])
def test_a_wrong_number_of_rows_fails_every_caller_with_the_name_of_the_method(
    run: Any, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ran = run(PLAN, lambda x: result, [call(np.zeros(1)), call(np.zeros(1))])
    assert all("the batchable method 'predict' " in text for text in values(ran))
    assert len(values(ran)) == 2
    assert "the batchable method 'predict' " in caplog.text


def test_a_lone_call_with_a_wrong_number_of_rows_fails_as_well(run: Any) -> None:
    (text,) = values(run(PLAN, lambda x: np.zeros(5), [call(np.zeros(2))]))
    assert "was given 2 rows and returned 5" in text


@pytest.mark.parametrize(
    ("argument", "result"),
    [("a text", "an answer"), ({"a": 1}, 0.5), (np.zeros((0, 3)), "nothing"), (object(), None), (np.array(1.0), 2.0)],
)
def test_the_result_of_a_call_without_countable_rows_is_handed_back_as_it_is(
    run: Any, argument: Any, result: Any
) -> None:
    assert run(PLAN, lambda x: result, [call(argument)]).outcomes == [result]


@pytest.mark.parametrize("result", [[1, 2, 3], np.zeros(7), None, ValueError("returned")])
def test_without_batching_any_result_is_handed_back_as_it_is(run: Any, result: Any) -> None:
    (outcome,) = run(ALONE, lambda x: result, [call(np.zeros(2), plan=ALONE)]).outcomes
    assert outcome is result


def test_an_exception_in_the_place_of_a_row_is_raised_in_its_caller_alone(run: Any) -> None:
    def method(x: Any) -> list[Any]:
        return [ValueError(f"row {row:g}") if row % 2 else row for row in x]

    ran = run(PLAN, method, [call(np.array([0.0])), call(np.array([1.0])), call(np.array([2.0, 3.0]))])
    assert values(ran) == [[0.0], "ValueError: row 1", "ValueError: row 3"]
    assert ran.clean, "the model was called once, and its duration is worth learning from"


def test_an_exception_in_a_tuple_of_lists_is_found_and_made_fit_to_be_raised(run: Any) -> None:
    ran = run(PLAN, lambda x: ([1, StopIteration("end")], ["a", "b"]), [call(np.zeros(1)), call(np.zeros(1))])
    assert ran.outcomes[0] == ([1], ["a"])
    assert values(ran)[1] == "BentoMLException: the method 'predict' raised StopIteration: end"


# -- oversized --------------------------------------------------------------------------------------------------------


def test_a_call_above_the_limit_runs_in_parts_that_are_put_together(run: Any) -> None:
    model = Model()
    ran = run(PLAN, model, [call(np.arange(20.0))])
    assert (values(ran), model.seen, ran.clean) == ([[2.0 * number for number in range(20)]], [8, 8, 4], False)


def test_a_call_of_exactly_the_limit_runs_whole(run: Any) -> None:
    model = Model()
    assert values(run(PLAN, model, [call(np.arange(8.0))])) == [[2.0 * number for number in range(8)]]
    assert model.seen == [8]


def test_parameters_of_a_call_above_the_limit_are_passed_with_every_part(run: Any) -> None:
    def method(x: Any, scale: Any, *, names: list[str], options: dict[str, int]) -> Any:
        assert len(names) == len(x) <= 8
        return x * scale * options["factor"]

    arguments = (np.ones(10), np.array(3.0))
    ran = run(PLAN, method, [call(*arguments, names=list("abcdefghij"), options={"factor": 2})])
    assert values(ran) == [[6.0] * 10]


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (Model(9.0), "ValueError: a bad row"),
        (lambda x: x[1:], "was given 8 rows and returned 7"),
        (lambda x: [KeyError("a row")] * len(x), "KeyError: 'a row'"),
    ],
)
def test_a_part_that_fails_fails_the_call(run: Any, method: Any, text: str) -> None:
    (found,) = values(run(PLAN, method, [call(np.arange(20.0))]))
    assert text in found


def test_parts_that_do_not_fit_together_fail_the_call_and_are_logged(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ran = run(PLAN, lambda x: np.zeros((len(x), len(x))), [call(np.arange(20.0))])
    assert type(ran.outcomes[0]) is Failure
    assert isinstance(ran.outcomes[0].error, ValueError)
    assert "a batch of 'predict' could not be joined or split" in caplog.text


def test_no_further_part_runs_once_the_caller_went_away(run: Any) -> None:
    model = Model()
    gone = call(np.arange(20.0))

    def method(x: Any) -> Any:
        gone.future.cancel()
        return model(x)

    run(PLAN, method, [gone])
    assert model.seen == [8]


# -- deliverable ------------------------------------------------------------------------------------------------------


def test_ordinary_errors_are_delivered_as_they_are() -> None:
    error = KeyError("a")
    assert deliverable(error, "predict") is error


def test_an_error_without_a_text_is_named() -> None:
    found = deliverable(SystemExit(), "predict")
    assert isinstance(found, BentoMLException)
    assert str(found) == "the method 'predict' raised SystemExit"
