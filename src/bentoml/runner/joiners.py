"""How values of one type are joined along an axis and split again: one `Joiner` for each type.

A joiner is found by the type of the value, and only among libraries that the process has imported, so nothing here
loads NumPy or pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from bentoml._importing import loaded
from bentoml.exceptions import InvalidArgument

__all__ = ["Joiner", "joiner_of"]


class Joiner(NamedTuple):
    """How values of one type are joined.

    Attributes:
        rows: (value, axis) → its rows; None: it has none, being a scalar in the form of an array.
        key: (value, axis) → what two values must share to be joined; None: this value is never joined.
        join: (values, axis) → one value.
        split: (value, bounds, axis) → the parts between successive bounds; bounds begin with 0.
    """

    rows: Callable[[Any, int], int | None]
    key: Callable[[Any, int], Hashable | None]
    join: Callable[[Sequence[Any], int], Any]
    split: Callable[[Any, Sequence[int], int], list[Any]]


def _slices(bounds: Sequence[int]) -> list[slice]:
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _first_axis_only(axis: int, kind: str) -> None:
    if axis != 0:
        raise InvalidArgument(f"{kind} can only be joined along axis 0, and batch_dim is {axis}")


# -- arrays and tensors -----------------------------------------------------------------------------------------------


def _axis_length(value: Any, axis: int) -> int | None:
    shape = value.shape
    if len(shape) > axis:
        return shape[axis]  # type: ignore[no-any-return]  # of a library that is not there
    if not len(shape):
        return None
    raise InvalidArgument(f"batch_dim is {axis}, and the array has the shape {tuple(value.shape)}") from None


def _array_split(value: Any, bounds: Sequence[int], axis: int) -> list[Any]:
    if axis == 0:
        return [value[start:stop] for start, stop in pairwise(bounds)]
    before = (slice(None),) * axis
    return [value[before + (part,)] for part in _slices(bounds)]  # noqa: RUF005 - a star in an index needs 3.11


def _ndarray(numpy: Any) -> Joiner:
    plain = numpy.ndarray

    def key(value: Any, axis: int) -> Hashable | None:
        # A subclass (masked, with units) carries what concatenation would lose.
        if type(value) is not plain:
            return None
        shape = value.shape
        return (value.dtype, shape[:axis], shape[axis + 1 :])

    def join(values: Sequence[Any], axis: int) -> Any:
        # By itself it would turn a foreign byte order or a padded structure into NumPy's own.
        return numpy.concatenate(values, axis=axis, dtype=values[0].dtype)

    return Joiner(_axis_length, key, join, _array_split)


def _tensor(torch: Any) -> Joiner:
    def key(value: Any, axis: int) -> Hashable:
        shape = tuple(value.shape)
        return (type(value), value.dtype, value.device, shape[:axis], shape[axis + 1 :])

    return Joiner(_axis_length, key, lambda values, axis: torch.cat(list(values), dim=axis), _array_split)


# -- sparse matrices --------------------------------------------------------------------------------------------------


def _sparse(sparse: Any) -> Joiner:
    def rows(value: Any, axis: int) -> int:
        _first_axis_only(axis, "a sparse matrix")
        return int(value.shape[0])

    def key(value: Any, axis: int) -> Hashable | None:
        return (type(value), value.dtype, value.shape[1:]) if len(value.shape) == 2 else None

    def split(value: Any, bounds: Sequence[int], axis: int) -> list[Any]:
        rowwise = value.tocsr()
        return [rowwise[part].asformat(value.format) for part in _slices(bounds)]

    return Joiner(rows, key, lambda values, axis: sparse.vstack(values, format=values[0].format), split)


# -- DataFrames and Series --------------------------------------------------------------------------------------------


def _column_key(dtype: Any) -> Hashable:
    """A column's dtype; of a category also the order of the categories, which its codes follow."""
    categories = getattr(dtype, "categories", None)
    key: Hashable = dtype
    return key if categories is None else (key, categories.dtype, tuple(categories))


def _pandas(pandas: Any, key: Callable[[Any], Hashable]) -> Joiner:
    """Rows numbered from 0 are numbered anew in a batch and in its parts; a caller's own index is never touched."""

    def numbered(value: Any) -> bool:
        index = value.index
        return type(index) is pandas.RangeIndex and index.start == 0 and index.step == 1 and index.name is None

    def rows(value: Any, axis: int) -> int:
        _first_axis_only(axis, "a DataFrame or Series")
        return len(value)

    def join(values: Sequence[Any], axis: int) -> Any:
        return pandas.concat(values, ignore_index=all(map(numbered, values)))

    def split(value: Any, bounds: Sequence[int], axis: int) -> list[Any]:
        parts = [value.iloc[part] for part in _slices(bounds)]
        return [part.reset_index(drop=True) for part in parts] if numbered(value) else parts

    # A model may look at the index, and joined rows could only be given another one.
    return Joiner(rows, lambda value, axis: key(value) if numbered(value) else None, join, split)


def _frame(pandas: Any) -> Joiner:
    def key(value: Any) -> Hashable:
        if type(value) is not pandas.DataFrame:
            return None
        columns = value.columns
        labels = tuple(columns)
        # 1, 1.0 and True are equal labels and different ones.
        named = (columns.dtype, labels, tuple(map(type, labels)), tuple(columns.names))
        return ("DataFrame", named, tuple(map(_column_key, value.dtypes)))

    return _pandas(pandas, key)


def _series(pandas: Any) -> Joiner:
    def key(value: Any) -> Hashable | None:
        if type(value) is not pandas.Series:
            return None
        return ("Series", _column_key(value.dtype), type(value.name), value.name)

    return _pandas(pandas, key)


# -- lists ------------------------------------------------------------------------------------------------------------


def _list_rows(value: Any, axis: int) -> int:
    _first_axis_only(axis, "a list")
    return len(value)


_SCALARS = frozenset({bool, bytes, float, int, str, type(None)})
#: How deep the kind of a list's items is looked into; below it any two values are alike.
_KIND_DEPTH = 4


def _kind(item: Any, depth: int = _KIND_DEPTH) -> Hashable:
    """What a list's item is made of, as code that makes an array or a table of the rows gives all of them one dtype."""
    kind: Any = type(item)
    if kind in _SCALARS:
        return (kind,)
    if kind is dict:
        inner = item.values()
    elif kind is list or kind is tuple:
        inner = item
    else:
        joiner = joiner_of(item)
        return (kind, None if joiner is None or depth == 0 or not item.shape else joiner.key(item, 0))
    kinds: tuple[Hashable, ...] = tuple(map(type, inner))
    if depth and not _SCALARS.issuperset(kinds):
        kinds = tuple([_kind(part, depth - 1) for part in inner])
    return (dict, tuple(item), kinds) if kind is dict else (kind, kinds)


_LIST = Joiner(
    _list_rows,
    lambda value, axis: (list, frozenset(map(_kind, value))),
    lambda values, axis: [item for value in values for item in value],
    lambda value, bounds, axis: [value[part] for part in _slices(bounds)],
)

# -- finding them -----------------------------------------------------------------------------------------------------

#: module → (attribute that holds the type, how its joiner is made).
_FACTORIES: tuple[tuple[str, str, Callable[[Any], Joiner]], ...] = (
    ("numpy", "ndarray", _ndarray),
    ("pandas", "DataFrame", _frame),
    ("pandas", "Series", _series),
    ("scipy.sparse", "spmatrix", _sparse),
    ("scipy.sparse", "sparray", _sparse),
    ("torch", "Tensor", _tensor),
)

_joiner_by_type: dict[type, Joiner | None] = {list: _LIST}


def joiner_of(value: Any) -> Joiner | None:
    """How values like this one are joined; None when they have no rows."""
    kind = type(value)
    try:
        return _joiner_by_type[kind]
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
        # Any other type may be one of many that are made as the process runs; remembering them would keep them alive.
        _joiner_by_type[kind] = found
    return found
