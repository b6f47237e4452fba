"""Running one batch: join, call, verify the lengths, split; find the guilty call when it fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from bentoml.exceptions import BentoMLException
from bentoml.runner.joining import join_results, joined, split_result, split_rows
from bentoml.runner.method_queue import Call, MethodPlan

__all__ = ["Outcome", "run_batch", "run_batch_async"]

logger = logging.getLogger("bentoml")


class Outcome(NamedTuple):
    """What became of one call: a value, or the error to raise in its place."""

    value: Any
    error: BaseException | None = None


#: One call of the model: the function's arguments go out, its result (or the error it raised) comes back.
_Step = Generator[tuple[tuple[Any, ...], dict[str, Any]], Any, list[Outcome]]


def run_batch(
    plan: MethodPlan, function: Callable[..., Any], calls: Sequence[Call], *, clock: Callable[[], float]
) -> list[Outcome]:
    """Call the model for a batch of calls with equal keys; one outcome for each, in order. Never raises."""
    steps = _steps(plan, calls, clock)
    try:
        args, kwargs = next(steps)
        while True:
            try:
                result = function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - user code: whatever it raises belongs to its callers
                args, kwargs = steps.throw(error)
            else:
                args, kwargs = steps.send(result)
    except StopIteration as stop:
        outcomes: list[Outcome] = stop.value
        return outcomes


async def run_batch_async(
    plan: MethodPlan, function: Callable[..., Awaitable[Any]], calls: Sequence[Call], *, clock: Callable[[], float]
) -> list[Outcome]:
    """The same for a coroutine function."""
    steps = _steps(plan, calls, clock)
    try:
        args, kwargs = next(steps)
        while True:
            try:
                result = await function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - user code: whatever it raises belongs to its callers
                args, kwargs = steps.throw(error)
            else:
                args, kwargs = steps.send(result)
    except StopIteration as stop:
        outcomes: list[Outcome] = stop.value
        return outcomes


def _steps(plan: MethodPlan, calls: Sequence[Call], clock: Callable[[], float]) -> _Step:
    """The model calls that a batch takes, whoever makes them: yields arguments, is sent results."""
    in_axis, out_axis = plan.signature.batch_dim
    if not plan.batching:
        (call,) = calls
        try:
            return [Outcome((yield call.args, call.kwargs))]
        except Exception as error:  # noqa: BLE001 - thrown in by run_batch: the user's error
            return [Outcome(None, error)]
    if len(calls) == 1 and calls[0].rows > plan.policy.max_batch_rows:
        return (yield from _oversized(plan, calls[0]))
    try:
        if len(calls) == 1:
            result = yield calls[0].args, calls[0].kwargs
        else:
            result = yield joined([(call.args, call.kwargs) for call in calls], in_axis)
    except Exception as error:  # noqa: BLE001 - thrown in by run_batch: the user's error
        if len(calls) == 1:
            return [Outcome(None, error)]
        if clock() >= calls[0].deadline:
            return [Outcome(None, error)] * len(calls)
        # One bad row must cost one caller: halve until it stands alone.
        middle = len(calls) // 2
        first = yield from _steps(plan, calls[:middle], clock)
        second = yield from _steps(plan, calls[middle:], clock)
        return first + second
    return _verified(plan, result, [call.rows for call in calls], out_axis)


def _verified(plan: MethodPlan, result: Any, rows: list[int], axis: int) -> list[Outcome]:
    try:
        return [_checked(value) for value in split_result(result, rows, axis, method=plan.name)]
    except BentoMLException as error:
        # Logged, as a 500 carries no text: the model breaks the contract of batching, and its author must hear of it.
        logger.error("%s", error)
        return [Outcome(None, error)] * len(rows)


def _checked(value: Any) -> Outcome:
    """A method may return an exception in the place of a row's result."""
    if type(value) is list:
        for item in value:
            if isinstance(item, Exception):
                return Outcome(None, item)
    return Outcome(value)


def _oversized(plan: MethodPlan, call: Call) -> _Step:
    """A call of more rows than a batch may have: run in parts, which a row-wise method cannot tell apart."""
    in_axis, out_axis = plan.signature.batch_dim
    step = plan.policy.max_batch_rows
    bounds = [*range(0, call.rows, step), call.rows]
    results = []
    for (args, kwargs), (start, stop) in zip(
        split_rows(call.args, call.kwargs, bounds, in_axis), pairwise(bounds), strict=True
    ):
        try:
            result = yield args, kwargs
        except Exception as error:  # noqa: BLE001 - thrown in by run_batch: the user's error
            return [Outcome(None, error)]
        (outcome,) = _verified(plan, result, [stop - start], out_axis)
        if outcome.error is not None:
            return [outcome]
        results.append(outcome.value)
    return [Outcome(join_results(results, out_axis))]
