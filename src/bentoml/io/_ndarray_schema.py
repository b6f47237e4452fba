"""The JSON Schema of arrays: what of dtype and shape it can say. That rows have one length it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ELEMENT_KINDS", "array_schema", "nested_schemas"]

#: The JSON Schema of one element by `np.dtype.kind`: what JSON can carry. Among floats null stands for NaN.
_ELEMENTS: dict[str, dict[str, Any]] = {
    "b": {"type": "boolean"},
    "i": {"type": "integer"},
    "u": {"type": "integer"},
    "f": {"type": ["number", "null"]},
    "c": {"type": "number"},
    "U": {"type": "string"},
}
ELEMENT_KINDS = frozenset(_ELEMENTS)
_ANY: dict[str, Any] = {"type": ["number", "boolean", "string"]}
#: Of arrays with any number of axes, by kind: a schema that refers to itself gives tools nothing to go by.
_EXAMPLES: dict[str, list[Any]] = {"b": [True, False], "i": [1, 2], "u": [1, 2], "U": ["one", "two"]}


def array_schema(dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None, limits: Any) -> dict[str, Any]:
    """One array level for each axis; without a shape a reference to one of `nested_schemas`.

    Args:
        limits: `np.iinfo` where the integers are held to their range; else None.
    """
    if shape is None:
        return {"$ref": f"#/components/schemas/{_name(dtype, limits)}"}
    schema = _element(dtype, limits)
    for size in reversed(shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def nested_schemas(dtype: np.dtype[Any] | None, limits: Any) -> dict[str, Any]:
    """The component for arrays of any number of axes, by its name."""
    name = _name(dtype, limits)
    nested = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    example = [1.5, 2.5] if dtype is None else _EXAMPLES.get(dtype.kind, [1.5, 2.5])
    return {name: {"title": name, "anyOf": [nested, _element(dtype, limits)], "examples": [example]}}


def _element(dtype: np.dtype[Any] | None, limits: Any) -> dict[str, Any]:
    if dtype is None:
        return dict(_ANY)
    bounds = {} if limits is None else {"minimum": int(limits.min), "maximum": int(limits.max)}
    return _ELEMENTS[dtype.kind] | bounds


def _name(dtype: np.dtype[Any] | None, limits: Any) -> str:
    names = {"b": "Booleans", "i": "Integers", "u": "Integers", "f": "Numbers", "c": "Numbers", "U": "Texts"}
    if dtype is None:
        return "Array"
    return f"ArrayOf{names[dtype.kind]}" + ("" if limits is None else f"_{dtype.name}")
