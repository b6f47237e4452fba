"""NumpyNdarray: one array as nested JSON lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml._importing import require
from bentoml.exceptions import (
    BadInput,
    BentoMLException,
    InternalServerError,
    InvalidArgument,
    UnprocessableEntity,
)
from bentoml.io._json_body import parse
from bentoml.io._ndarray import as_dtype, read_array
from bentoml.io._ndarray_schema import ELEMENT_KINDS, array_schema, nested_schemas
from bentoml.io.descriptor import IODescriptor

if TYPE_CHECKING:
    import numpy as np

    from bentoml.io._ndarray import Array

__all__ = ["NumpyNdarray"]

_encode = msgspec.json.Encoder().encode


class NumpyNdarray(IODescriptor["Array"], descriptor_id="bentoml.io.NumpyNdarray"):
    """A NumPy array of numbers, booleans or text.

    Args:
        dtype: of the array; None takes what NumPy infers. Elements that it can hold exactly are converted
            (floats may be rounded); text is never read as a number.
        enforce_dtype: whether elements that the dtype cannot hold are an error; the array stays as it came
            otherwise.
        shape: sizes of the axes, -1 for any.
        enforce_shape: whether another shape is an error; otherwise the array is reshaped if its size allows
            it.

    Raises:
        UnprocessableEntity: NumPy knows no such dtype, or JSON cannot carry it.
        InvalidArgument: a rule is enforced that is not given, or the shape is none.
        MissingDependencyException: NumPy is not installed.
    """

    mime_type = "application/json"

    def __init__(
        self,
        dtype: str | np.dtype[Any] | type | None = None,
        enforce_dtype: bool = False,
        shape: Sequence[int] | None = None,
        enforce_shape: bool = False,
    ) -> None:
        self._np = require("numpy", what="bentoml.io.NumpyNdarray")
        self.dtype: np.dtype[Any] | None = None if dtype is None else _dtype(self._np, dtype)
        self.shape = None if shape is None else _shape(shape)
        for name, enforced, rule in (
            ("dtype", enforce_dtype, self.dtype),
            ("shape", enforce_shape, self.shape),
        ):
            if enforced and rule is None:
                raise InvalidArgument(f"NumpyNdarray: enforce_{name}=True needs a {name}", hint=f"give {name}=…")
        self.enforce_dtype = enforce_dtype
        self.enforce_shape = enforce_shape

    def from_http_request(self, request: Request) -> Array:
        """The array in the body.

        Raises:
            BadInput: no JSON; no rectangular array of numbers, booleans or text; or an enforced rule is
                broken.
        """
        body = request.body
        array = read_array(self._np, parse(body), body, "" if self.dtype is None else self.dtype.kind)
        return self._with_shape(self._with_dtype(array, None, BadInput), BadInput)

    def to_http_response(self, value: Array, context: Context | None) -> Response:
        """The array as nested lists; NaN and infinities become the literals `NaN` and `Infinity`.

        Raises:
            InternalServerError: the value is no array, breaks an enforced rule, or has elements without JSON
                form.
        """
        if not isinstance(value, self._np.ndarray):
            raise InternalServerError(
                f"NumpyNdarray: the API function returned {type(value).__name__}, not a numpy.ndarray",
                hint="return numpy.asarray(…), or use the output descriptor JSON",
            )
        array = self._with_shape(self._with_dtype(value, "same_kind", InternalServerError), InternalServerError)
        return self.respond(_dump(array), b"application/json", context)

    def _with_dtype(self, array: Array, casting: Any, error: type[BentoMLException]) -> Array:
        if self.dtype is None or array.dtype == self.dtype:
            return array
        if casting is None or self._np.can_cast(array.dtype, self.dtype, casting):
            converted = as_dtype(self._np, array, self.dtype)
            if converted is not None:
                return converted
        if self.enforce_dtype:
            raise error(f'NumpyNdarray: Expecting ndarray of dtype "{self.dtype}", but "{array.dtype}" was received.')
        return array

    def _with_shape(self, array: Array, error: type[BentoMLException]) -> Array:
        expected = self.shape
        if expected is None or (
            len(expected) == array.ndim and all(e in (-1, n) for e, n in zip(expected, array.shape, strict=True))
        ):
            return array
        if self.enforce_shape:
            raise error(f'NumpyNdarray: Expecting ndarray of shape "{expected}", but "{array.shape}" was received.')
        try:
            return array.reshape(expected)
        except ValueError:
            return array

    def input_type(self) -> Any:
        """`numpy.ndarray`."""
        return self._np.ndarray

    def openapi_schema(self) -> dict[str, Any]:
        """One array level per axis of the shape; without a shape, any number of them, none included."""
        shape = self.shape
        if shape is not None and not self.enforce_shape:
            shape = (-1,) * len(shape)
        return array_schema(self.dtype, shape, self._limits())

    def openapi_components(self) -> dict[str, Any]:
        """The schema of arrays with any number of axes, where there is no shape."""
        return nested_schemas(self.dtype, self._limits()) if self.shape is None else {}

    def _limits(self) -> Any:
        bounded = self.enforce_dtype and self.dtype is not None and self.dtype.kind in "iu"
        return self._np.iinfo(self.dtype) if bounded else None

    def openapi_example(self) -> Any:
        """The sample as nested lists."""
        return None if self.sample is None else msgspec.json.decode(_encode(self.sample.tolist()))

    def to_spec(self) -> dict[str, Any]:
        """The four arguments."""
        arguments = {
            "dtype": None if self.dtype is None else _dtype_name(self._np, self.dtype),
            "shape": None if self.shape is None else list(self.shape),
            "enforce_dtype": self.enforce_dtype,
            "enforce_shape": self.enforce_shape,
        }
        return {"id": self.descriptor_id, "args": arguments}

    @classmethod
    def from_sample(cls, sample: Any, **arguments: Any) -> NumpyNdarray:
        """A descriptor with the dtype and the shape of the sample, neither of them enforced unless asked for.

        Args:
            sample: an array, or nested lists of numbers.

        Raises:
            BadInput: a NumPy scalar, or anything else.
        """
        np = require("numpy", what="bentoml.io.NumpyNdarray")
        if not isinstance(sample, (np.ndarray, list, tuple)):
            raise BadInput(
                f"NumpyNdarray: a sample must be a numpy.ndarray or nested lists, not {type(sample).__name__}"
            )
        try:
            array = np.asarray(sample)
        except ValueError as error:
            raise BadInput(f"NumpyNdarray: the sample is no array: {error}") from error
        # The width of the longest text in a sample says nothing about that of other arrays.
        inferred = {"dtype": "str" if array.dtype.kind == "U" else array.dtype, "shape": array.shape}
        return super().from_sample(array, **{**inferred, **arguments})


def _dtype(numpy: Any, given: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = numpy.dtype(given)
    except (TypeError, ValueError) as error:
        raise UnprocessableEntity(f"NumpyNdarray: {given!r} is no dtype: {error}") from error
    if dtype.kind not in ELEMENT_KINDS:
        raise UnprocessableEntity(
            f"NumpyNdarray: arrays of dtype {str(dtype)!r} cannot travel as JSON",
            hint="use booleans, integers, floats or text (dtype='str')",
        )
    return dtype


def _dtype_name(np: Any, dtype: np.dtype[Any]) -> str:
    """The plain name where it stands for this dtype, else the form with byte order and width."""
    try:
        is_plain = np.dtype(dtype.name) == dtype
    except TypeError:
        is_plain = False
    return str(dtype.name if is_plain else dtype.str)


def _shape(given: Sequence[int]) -> tuple[int, ...]:
    sizes = (given,) if isinstance(given, int) else tuple(given)
    if any(isinstance(size, bool) or not hasattr(size, "__index__") or size < -1 for size in sizes):
        raise InvalidArgument(f"NumpyNdarray: a shape is a tuple of sizes, -1 for any, not {given!r}")
    return tuple(int(size) for size in sizes)


def _dump(array: Array) -> bytes:
    """The text that `json.dumps` would write, blanks after commas included, but many times faster."""
    nested = array.tolist()
    try:
        body = _encode(nested)
        # msgspec writes NaN as null; the literal is what clients of this descriptor are used to.
        if b"null" in body:
            return json.dumps(nested, ensure_ascii=False).encode()
        # Only numbers have no commas of their own.
        return body.replace(b",", b", ") if array.dtype.kind in "biuf" else msgspec.json.format(body, indent=0)
    except (TypeError, ValueError, RecursionError) as error:
        raise InternalServerError(
            f"NumpyNdarray: an array of dtype {array.dtype} cannot be sent: {error}",
            hint="return an array of numbers, booleans or text",
        ) from error
