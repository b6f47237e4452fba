"""Running one batch: join, call, verify the lengths, split; find the guilty call when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from bentoml.exceptions import BentoMLException
from bentoml.runner.joining import join_results, joined, split_result, split_rows
from bentoml.runner.method_queue import Call, MethodPlan

__all__ = ["Failure", "Ran", "deliverable", "run_batch", "run_batch_async"]

logger = logging.getLogger("bentoml")


class Failure:
    """The outcome of a call that is to be raised instead of returned."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Ran(NamedTuple):
    """What became of a batch.

    Attributes:
        outcomes: for each call its value, or a Failure.
        clean: whether it took one call of the model, which returned; its duration is then what such a batch costs.
    """

    outcomes: list[Any]
    clean: bool


#: One call of the model: the function's arguments go out, its result (or the error it raised) comes back.
_Steps = Generator[tuple[tuple[Any, ...], dict[str, Any]], Any, list[Any]]


def deliverable(error: BaseException, method: str) -> Exception:
    """An error of user code as one that may be raised in its caller without ending an event loop or a generator."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    stand_in = BentoMLException(f"the method {method!r} raised {type(error).__name__}: {error}".removesuffix(": "))
    stand_in.__cause__ = error
    return stand_in


def run_batch(
    plan: MethodPlan,
    function: Callable[..., Any],
    calls: Sequence[Call],
    *,
    clock: Callable[[], float],
    bisect: bool = True,
) -> Ran:
    """Call the model for a batch of calls with equal keys. Never raises.

    Args:
        bisect: when the batch fails, find out which calls are to blame by running parts of it.
    """
    steps = _steps(plan, calls, clock, bisect)
    made, clean = 0, True
    try:
        args, kwargs = next(steps)
        while True:
            made += 1
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - user code: whatever it raises belongs to its callers
                clean = False
                args, kwargs = steps.throw(deliverable(error, plan.name))
            else:
                args, kwargs = steps.send(result)
    except StopIteration as stop:
        return Ran(stop.value, clean and made == 1)
    except Exception as error:  # noqa: BLE001 - the border of a batch: its callers must be answered
        return _broken(plan, calls, error)


async def run_batch_async(
    plan: MethodPlan, function: Callable[..., Awaitable[Any]], calls: Sequence[Call], *, clock: Callable[[], float]
) -> Ran:
    """The same for a coroutine function; raises if it is cancelled."""
    steps = _steps(plan, calls, clock, True)
    made, clean = 0, True
    try:
        args, kwargs = next(steps)
        while True:
            made += 1
            try:
                result = await function(*args, **kwargs)
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001 - user code: whatever it raises belongs to its callers
                clean = False
                args, kwargs = steps.throw(deliverable(error, plan.name))
            else:
                args, kwargs = steps.send(result)
    except StopIteration as stop:
        return Ran(stop.value, clean and made == 1)
    except Exception as error:  # noqa: BLE001 - the border of a batch: its callers must be answered
        return _broken(plan, calls, error)


def _broken(plan: MethodPlan, calls: Sequence[Call], error: Exception) -> Ran:
    logger.error("a batch of %r could not be joined or split", plan.name, exc_info=error)
    return Ran([Failure(error)] * len(calls), False)


def _steps(plan: MethodPlan, calls: Sequence[Call], clock: Callable[[], float], bisect: bool) -> _Steps:
    """The model calls that a batch takes, whoever makes them: yields arguments, is sent results."""
    first = calls[0]
    if plan.batching and first.rows > plan.policy.max_batch_rows:
        return [(yield from _oversized(plan, first))]
    try:
        if len(calls) == 1:
            result = yield first.args, first.kwargs
        else:
            in_axis = plan.signature.batch_dim[0]
            result = yield joined([call.args for call in calls], [call.kwargs for call in calls], in_axis)
    except Exception as error:  # noqa: BLE001 - thrown in by run_batch: the user's error
        if len(calls) == 1 or not bisect or clock() >= first.deadline:
            return [Failure(error)] * len(calls)
        # One bad row must cost one caller: halve until it stands alone.
        middle = len(calls) // 2
        before = yield from _steps(plan, calls[:middle], clock, bisect)
        after = yield from _steps(plan, calls[middle:], clock, bisect)
        return before + after
    if first.key is None:
        # It runs alone, so that nobody could be given another's rows; and its own number of rows may be unknown.
        return [_checked(plan, result) if plan.batching else result]
    return _verified(plan, result, [call.rows for call in calls])


def _verified(plan: MethodPlan, result: Any, rows: list[int]) -> list[Any]:
    """The outcome of each call, once the result is known to have a row for each of theirs."""
    try:
        parts = split_result(result, rows, plan.signature.batch_dim[1], method=plan.name)
    except BentoMLException as error:
        # Logged, as a 500 carries no text: the model breaks the contract of batching, and its author must hear of it.
        logger.error("%s", error)
        return [Failure(error)] * len(rows)
    return [_checked(plan, part) for part in parts] if type(result) in (list, tuple) else parts


def _checked(plan: MethodPlan, value: Any) -> Any:
    """A method may return an exception in the place of a row's result."""
    for part in value if type(value) is tuple else (value,):
        for item in part if type(part) is list else ():
            if isinstance(item, Exception):
                return Failure(deliverable(item, plan.name))
    return value


def _oversized(plan: MethodPlan, call: Call) -> Generator[tuple[tuple[Any, ...], dict[str, Any]], Any, Any]:
    """A call of more rows than a batch may have: run in parts, which a row-wise method cannot tell apart."""
    in_axis, out_axis = plan.signature.batch_dim
    bounds = [*range(0, call.rows, plan.policy.max_batch_rows), call.rows]
    results = []
    for arguments, (start, stop) in zip(
        split_rows(call.args, call.kwargs, bounds, in_axis), pairwise(bounds), strict=True
    ):
        if call.future.done():
            return Failure(BentoMLException("the caller went away"))
        try:
            result = yield arguments
        except Exception as error:  # noqa: BLE001 - thrown in by run_batch: the user's error
            return Failure(error)
        (outcome,) = _verified(plan, result, [stop - start])
        if type(outcome) is Failure:
            return outcome
        results.append(outcome)
    return join_results(results, out_axis)
