"""Joining the arguments of several calls into one, and splitting the result into one for each call.

What may be joined is decided before queueing: `measure` makes a key of everything in which two calls could differ other
than in the values of their rows, and only calls with equal keys ever share a batch. Axes are the `batch_dim` of the
method's signature.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import accumulate
from typing import Any

from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.runner.joiners import joiner_of

__all__ = ["count_rows", "join_results", "joined", "measure", "split_result", "split_rows"]

#: Types whose equal values are the same value; of floats that holds for their representations.
_BY_VALUE = frozenset({bool, bytes, int, str, type(None)})


def _same(value: Any) -> Hashable | None:
    """A key that two values share only if nobody can tell them apart; None if that cannot be known."""
    kind: Any = type(value)
    if kind in _BY_VALUE:
        return (kind, value)
    if kind is float or kind is complex:
        return (kind, repr(value))
    if kind is tuple:
        parts = tuple(map(_same, value))
        return None if None in parts else (tuple, parts)
    # Types without an equality of their own compare by identity: functions, classes, members of an Enum.
    return value if kind.__eq__ is object.__eq__ and kind.__hash__ is not None else None


def measure(args: tuple[Any, ...], kwargs: dict[str, Any], axis: int) -> tuple[int, Hashable | None]:
    """A call's rows, and its key: calls with equal keys may be joined; None: it must run alone.

    Arrays, tables, sparse matrices and lists are joined; they have the same number of rows. Anything else is the same
    for all calls of a batch and part of the key. A call without rows runs alone.

    Raises:
        InvalidArgument: the arguments have different numbers of rows, or none along `axis`.
    """
    if len(args) == 1 and not kwargs:
        value = args[0]
        joiner = joiner_of(value)
        rows = None if joiner is None else joiner.rows(value, axis)
        if joiner is None or rows is None:
            return 1, None
        # An empty call has no neighbour to learn a result's shape from.
        return rows, joiner.key(value, axis) if rows else None
    found: int | None = None
    keys: list[Hashable] = []
    for name, value in [*enumerate(args), *sorted(kwargs.items())]:
        joiner = joiner_of(value)
        rows = None if joiner is None else joiner.rows(value, axis)
        if joiner is None or rows is None:
            keys.append(_same(value))
            continue
        if found is not None and rows != found:
            raise InvalidArgument(
                "All batchable arguments must have the same batch size: "
                f"argument {name!r} has {rows} rows, the ones before it {found}"
            )
        found = rows
        keys.append(joiner.key(value, axis))
    if not found or None in keys:
        return (1 if found is None else found), None
    return found, (len(args), tuple(sorted(kwargs)), tuple(keys))


def count_rows(args: tuple[Any, ...], kwargs: dict[str, Any], axis: int) -> int:
    """A call's rows, by its first argument that has any; whether the others agree is for `measure`.

    Raises:
        InvalidArgument: that argument has none along `axis`.
    """
    for value in (*args, *kwargs.values()) if kwargs else args:
        joiner = joiner_of(value)
        rows = None if joiner is None else joiner.rows(value, axis)
        if rows is not None:
            return rows
    return 1


def joined(
    args: Sequence[tuple[Any, ...]], kwargs: Sequence[dict[str, Any]], axis: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of calls with equal keys as the arguments of one call."""
    return (
        tuple([_join(values, axis) for values in zip(*args, strict=True)]),
        {name: _join([each[name] for each in kwargs], axis) for name in kwargs[0]},
    )


def _join(values: Sequence[Any], axis: int) -> Any:
    joiner = joiner_of(values[0])
    return values[0] if joiner is None else joiner.join(values, axis)


def split_rows(
    args: tuple[Any, ...], kwargs: dict[str, Any], bounds: Sequence[int], axis: int
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """One call's arguments as several calls, each with the rows between two successive bounds."""

    def parts(value: Any) -> list[Any]:
        joiner = joiner_of(value)
        if joiner is None or joiner.rows(value, axis) is None:
            return [value] * (len(bounds) - 1)
        return joiner.split(value, bounds, axis)

    split_args = [parts(value) for value in args]
    split_kwargs = {name: parts(value) for name, value in kwargs.items()}
    return [
        (tuple(part[index] for part in split_args), {name: part[index] for name, part in split_kwargs.items()})
        for index in range(len(bounds) - 1)
    ]


def split_result(result: Any, rows: Sequence[int], axis: int, *, method: str) -> list[Any]:
    """The result of a batch as one result for each of its calls; `rows` holds the rows of each.

    Raises:
        BentoMLException: the result does not have exactly as many rows as the batch; names the method.
    """
    if isinstance(result, tuple) and result:
        columns = [split_result(part, rows, axis, method=method) for part in result]
        return [result] if len(rows) == 1 else [_like(result, parts) for parts in zip(*columns, strict=True)]
    joiner = joiner_of(result)
    try:
        returned = None if joiner is None else joiner.rows(result, axis)
    except InvalidArgument as error:
        # The caller gave nothing wrong: it is the method that breaks its signature.
        raise BentoMLException(f"the result of the batchable method {method!r} cannot be split: {error}") from None
    if joiner is None or returned is None:
        raise BentoMLException(
            f"the batchable method {method!r} returned a {type(result).__name__}, which has no rows to hand back",
            hint="return an array, a DataFrame, a list or a tuple of these, or declare the method batchable=False",
        )
    total = sum(rows)
    if returned != total:
        raise BentoMLException(
            f"the batchable method {method!r} was given {total} rows and returned {returned}",
            hint="one result for each row, in the same order; or declare the method batchable=False",
        )
    if len(rows) == 1:
        return [result]
    return joiner.split(result, [0, *accumulate(rows)], axis)


def join_results(results: list[Any], axis: int) -> Any:
    """The results of the parts of one call, as one result."""
    first = results[0]
    if isinstance(first, tuple):
        return _like(first, [join_results(list(column), axis) for column in zip(*results, strict=True)])
    return _join(results, axis)


def _like(model: tuple[Any, ...], parts: Iterable[Any]) -> tuple[Any, ...]:
    """A tuple of the parts; a named one if `model` is."""
    make: Callable[[Iterable[Any]], tuple[Any, ...]] = getattr(model, "_make", tuple)
    return make(parts)
