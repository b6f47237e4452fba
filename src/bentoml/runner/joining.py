"""Joining the arguments of several calls into one, and splitting the result: one `Joiner` for each type of value.

A joiner is found by the type of the value, and only among libraries that the process has imported, so nothing here
loads NumPy or pandas. Axes are the `batch_dim` of the method's signature.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from bentoml._importing import loaded
from bentoml.exceptions import BentoMLException, InvalidArgument

__all__ = ["Batchable", "join_results", "joined", "measure", "split_result", "split_rows"]


class Joiner(NamedTuple):
    """How values of one type are joined.

    Attributes:
        rows: (value, axis) → its rows.
        key: (value, axis) → what two values must share to be joined.
        join: (values, axis) → one value.
        split: (value, bounds, axis) → the parts between successive bounds; bounds begin with 0.
    """

    rows: Callable[[Any, int], int]
    key: Callable[[Any, int], Hashable]
    join: Callable[[Sequence[Any], int], Any]
    split: Callable[[Any, Sequence[int], int], list[Any]]


def _slices(bounds: Sequence[int]) -> list[slice]:
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _array_split(value: Any, bounds: Sequence[int], axis: int) -> list[Any]:
    before = (slice(None),) * axis
    return [value[before + (part,)] for part in _slices(bounds)]  # noqa: RUF005 - a star in an index needs 3.11


def _first_axis_only(axis: int, kind: str) -> None:
    if axis != 0:
        raise InvalidArgument(f"{kind} can only be joined along axis 0, and batch_dim is {axis}")


def _axis_length(value: Any, axis: int) -> int:
    if axis >= len(value.shape):
        raise InvalidArgument(f"batch_dim is {axis}, and the array has the shape {tuple(value.shape)}")
    return int(value.shape[axis])


def _ndarray(numpy: Any) -> Joiner:
    def key(value: Any, axis: int) -> Hashable:
        shape = value.shape
        return ("ndarray", value.dtype, shape[:axis], shape[axis + 1 :])

    return Joiner(_axis_length, key, lambda values, axis: numpy.concatenate(values, axis=axis), _array_split)


def _tensor(torch: Any) -> Joiner:
    def key(value: Any, axis: int) -> Hashable:
        return ("tensor", value.dtype, value.device, tuple(value.shape[:axis]), tuple(value.shape[axis + 1 :]))

    return Joiner(_axis_length, key, lambda values, axis: torch.cat(list(values), dim=axis), _array_split)


def _sparse(sparse: Any) -> Joiner:
    def rows(value: Any, axis: int) -> int:
        _first_axis_only(axis, "a sparse matrix")
        return int(value.shape[0])

    def split(value: Any, bounds: Sequence[int], axis: int) -> list[Any]:
        rowwise = value.tocsr()
        return [rowwise[part].asformat(value.format) for part in _slices(bounds)]

    return Joiner(
        rows,
        lambda value, axis: ("sparse", value.format, value.dtype, value.shape[1:]),
        lambda values, axis: sparse.vstack(values, format=values[0].format),
        split,
    )


def _frame(pandas: Any) -> Joiner:
    def rows(value: Any, axis: int) -> int:
        _first_axis_only(axis, "a DataFrame")
        return len(value)

    def split(value: Any, bounds: Sequence[int], axis: int) -> list[Any]:
        return [value.iloc[part].reset_index(drop=True) for part in _slices(bounds)]

    return Joiner(
        rows,
        lambda value, axis: ("frame", tuple(value.columns), tuple(value.dtypes)),
        lambda values, axis: pandas.concat(values, ignore_index=True),
        split,
    )


def _series(pandas: Any) -> Joiner:
    frame = _frame(pandas)
    return Joiner(frame.rows, lambda value, axis: ("series", value.dtype, value.name), frame.join, frame.split)


def _list_rows(value: Any, axis: int) -> int:
    _first_axis_only(axis, "a list")
    return len(value)


_LIST = Joiner(
    _list_rows,
    lambda value, axis: "list",
    lambda values, axis: [item for value in values for item in value],
    lambda value, bounds, axis: [value[part] for part in _slices(bounds)],
)

#: module → (attribute that holds the type, how its joiner is made).
_FACTORIES: tuple[tuple[str, str, Callable[[Any], Joiner]], ...] = (
    ("numpy", "ndarray", _ndarray),
    ("pandas", "DataFrame", _frame),
    ("pandas", "Series", _series),
    ("scipy.sparse", "spmatrix", _sparse),
    ("scipy.sparse", "sparray", _sparse),
    ("torch", "Tensor", _tensor),
)

_by_type: dict[type, Joiner | None] = {list: _LIST}


def _joiner_of(value: Any) -> Joiner | None:
    kind = type(value)
    try:
        return _by_type[kind]
    except KeyError:
        pass
    found = None
    for module_name, attribute, make in _FACTORIES:
        module = loaded(module_name)
        base = getattr(module, attribute, None)
        if base is not None and issubclass(kind, base):
            found = make(module)
            break
    if found is not None or kind.__module__ == "builtins":
        # Any other type may belong to a library whose joiner becomes known only when it is imported whole.
        _by_type[kind] = found
    return found


class Batchable(NamedTuple):
    """The measured arguments of one call.

    Attributes:
        rows: rows along the batch axis, the same for every joined argument.
        key: calls with equal keys may be joined; None: this call must run alone.
    """

    rows: int
    key: Hashable | None


def measure(args: tuple[Any, ...], kwargs: dict[str, Any], axis: int) -> Batchable:
    """Rows and compatibility of a call's arguments.

    Raises:
        InvalidArgument: the arguments have different numbers of rows, or none along `axis`.
    """
    if len(args) == 1 and not kwargs:
        joiner = _joiner_of(args[0])
        if joiner is None:
            return Batchable(1, None)
        return Batchable(joiner.rows(args[0], axis), joiner.key(args[0], axis))
    rows: int | None = None
    keys: list[Hashable] = []
    for name, value in [*enumerate(args), *sorted(kwargs.items())]:
        joiner = _joiner_of(value)
        if joiner is None:
            # What cannot be joined must be the same for all, so it becomes part of the key.
            if not isinstance(value, Hashable):
                return Batchable(rows or 1, None)
            keys.append((name, "same", type(value), value))
            continue
        here = joiner.rows(value, axis)
        if rows is not None and here != rows:
            raise InvalidArgument(
                "All batchable arguments must have the same batch size: "
                f"argument {name!r} has {here} rows, the ones before it {rows}"
            )
        rows = here
        keys.append((name, joiner.key(value, axis)))
    if rows is None:
        return Batchable(1, None)
    return Batchable(rows, tuple(keys))


def joined(
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]], axis: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of calls with equal keys as the arguments of one call."""
    first_args, first_kwargs = calls[0]
    args = tuple(_join([call[0][index] for call in calls], axis) for index in range(len(first_args)))
    kwargs = {name: _join([call[1][name] for call in calls], axis) for name in first_kwargs}
    return args, kwargs


def _join(values: list[Any], axis: int) -> Any:
    joiner = _joiner_of(values[0])
    return values[0] if joiner is None else joiner.join(values, axis)


def split_rows(
    args: tuple[Any, ...], kwargs: dict[str, Any], bounds: Sequence[int], axis: int
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """One call's arguments as several calls, each with the rows between two successive bounds."""

    def parts(value: Any) -> list[Any]:
        joiner = _joiner_of(value)
        return [value] * (len(bounds) - 1) if joiner is None else joiner.split(value, bounds, axis)

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
    total = sum(rows)
    if isinstance(result, tuple):
        columns = [split_result(part, rows, axis, method=method) for part in result]
        return [tuple(column[index] for column in columns) for index in range(len(rows))]
    joiner = _joiner_of(result)
    if joiner is None:
        raise BentoMLException(
            f"the batchable method {method!r} returned a {type(result).__name__}, which has no rows to hand back",
            hint="return an array, a DataFrame, a list or a tuple of these, or declare the method batchable=False",
        )
    returned = joiner.rows(result, axis)
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
    if isinstance(results[0], tuple):
        return tuple(join_results(list(column), axis) for column in zip(*results, strict=True))
    return _join(results, axis)
