"""PandasSeries: one column as JSON or as an Arrow stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml._importing import require
from bentoml.exceptions import BadInput, InternalServerError, InvalidArgument
from bentoml.io._arrow import pyarrow, read_stream, write_stream
from bentoml.io._formats import BINARY_SCHEMA, essence, negotiated
from bentoml.io._frame_formats import WRITE_ERRORS, available, unreadable
from bentoml.io._frame_json import read_series
from bentoml.io._frame_output import dump_series
from bentoml.io._frame_rules import check_shape, checked_shape, column_with_dtype, dtype_name, dtype_of
from bentoml.io._frame_schema import series_schema
from bentoml.io._json_body import parse
from bentoml.io.descriptor import IODescriptor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PandasSeries"]

_NAME = "PandasSeries"
_ARROW = b"application/vnd.apache.arrow.stream"
_FORMATS = {b"application/json": "json", _ARROW: "arrow"}
_ORIENTS = ("records", "values", "index", "split")


class PandasSeries(IODescriptor["pd.Series"], descriptor_id="bentoml.io.PandasSeries"):
    """A pandas Series, as JSON or as an Arrow stream of one column.

    A request whose `Content-Type` is `application/vnd.apache.arrow.stream` carries such a stream; any other is read as
    JSON. The answer is JSON, or an Arrow stream where `Accept` asks for one. What is said of cells at
    `PandasDataFrame` holds here too.

    Args:
        orient: the form of JSON: `"records"` or `"values"`, an array of cells; `"index"`, an object of cells by index
            label; `"split"`, an object of `name`, `index` and `data`.
        dtype: of the cells; those that it can hold exactly are converted (floats may be rounded). Text becomes a time,
            but never a number. None, True and False leave what was read.
        enforce_dtype: whether cells that the dtype cannot hold are an error; the series stays as it is otherwise.
        shape: `(rows,)`, -1 for any; not looked at unless enforced.
        enforce_shape: whether another shape is an error.

    Raises:
        InvalidArgument: the orient or the shape is none, or a rule is enforced that is not given.
        UnprocessableEntity: pandas knows no such dtype, or its cells cannot travel.
        MissingDependencyException: pandas is not installed.
    """

    mime_type = "application/json"
    negotiates = True

    def __init__(
        self,
        orient: str = "records",
        dtype: Any = None,
        enforce_dtype: bool = False,
        shape: Sequence[int] | None = None,
        enforce_shape: bool = False,
    ) -> None:
        self._pd = require("pandas", install="'makunouchi[pandas]'", what=f"bentoml.io.{_NAME}")
        self._np = require("numpy", what=f"bentoml.io.{_NAME}")
        if orient not in _ORIENTS:
            raise InvalidArgument(f"{_NAME}: orient must be one of {', '.join(_ORIENTS)}, not {orient!r}")
        self.orient = orient
        self.dtype = dtype if dtype is None or isinstance(dtype, bool) else dtype_of(self._pd, dtype, _NAME)
        self.shape = checked_shape(shape, _NAME, axes=1)
        for name, enforced, rule in (("dtype", enforce_dtype, self.dtype), ("shape", enforce_shape, self.shape)):
            if enforced and rule is None:
                raise InvalidArgument(f"{_NAME}: enforce_{name}=True needs a {name}", hint=f"give {name}=…")
        self.enforce_dtype = enforce_dtype
        self.enforce_shape = enforce_shape
        self._available = available(("json", "arrow"))

    def from_http_request(self, request: Request) -> pd.Series:
        """The series in the body.

        Raises:
            BadInput: the body is malformed, or an enforced rule is broken; the message names the row.
            UnsupportedMediaType: the body is an Arrow stream, and pyarrow is not installed.
        """
        given = _FORMATS.get(essence(request.header(b"content-type")), "json")
        if given not in self._available:
            raise unreadable(_NAME, given)
        try:
            if given == "json":
                series = read_series(self._pd, self._np, parse(request.body), self.orient)
            else:
                series = _only_column(read_stream(pyarrow(_NAME), request.body))
            if self.orient == "index" and not series.index.is_unique:
                raise BadInput("an index label occurs twice")
            return self._ruled(series)
        except BadInput as error:
            raise BadInput(f"{_NAME}: {error.message}", hint=error.hint) from None

    def _ruled(self, series: pd.Series) -> pd.Series:
        if self.dtype is not None and not isinstance(self.dtype, bool):
            enforced = self.enforce_dtype
            series = column_with_dtype(self._pd, self._np, series, self.dtype, enforced=enforced, name="")
        if self.enforce_shape and self.shape is not None:
            check_shape(series.shape, self.shape)
        return series

    def to_http_response(self, value: pd.Series, context: Context | None, *, accept: bytes = b"") -> Response:
        """The series as JSON, or as an Arrow stream where `accept` asks for one.

        Raises:
            InternalServerError: the value is no Series, breaks an enforced rule, or has cells, or index labels that
                occur twice, which JSON cannot carry.
        """
        if not isinstance(value, self._pd.Series):
            raise InternalServerError(
                f"{_NAME}: the API function returned {type(value).__name__}, not a pandas.Series",
                hint="return pandas.Series(…), or use another output descriptor",
            )
        try:
            series = self._ruled(value)
        except BadInput as error:
            raise InternalServerError(f"{_NAME}: the answer of the API function: {error.message}") from None
        if negotiated(accept, _FORMATS, "json", self._available) == "arrow":
            try:
                frame = series.to_frame("" if series.name is None else series.name)
                return self.respond(write_stream(pyarrow(_NAME), frame), _ARROW, context)
            except WRITE_ERRORS:
                pass  # a wish that this series does not allow, for instance because it is of mixed types
        try:
            body = dump_series(self._pd, self._np, series, self.orient)
        except WRITE_ERRORS as error:
            raise InternalServerError(
                f"{_NAME}: the series cannot be sent as JSON: {error}",
                hint="return a series whose cells are numbers, text or times",
            ) from error
        return self.respond(body, b"application/json", context)

    def input_type(self) -> Any:
        """`pandas.Series`."""
        return self._pd.Series

    def openapi_schema(self) -> dict[str, Any]:
        """The schema of the JSON form."""
        return series_schema(self.orient, None if isinstance(self.dtype, bool) else self.dtype)

    def openapi_example(self) -> Any:
        """The sample in the JSON form."""
        return None if self.sample is None else json.loads(dump_series(self._pd, self._np, self.sample, self.orient))

    def _openapi_content(self) -> dict[str, Any]:
        content = super()._openapi_content()
        return {**content, _ARROW.decode(): {"schema": dict(BINARY_SCHEMA)}} if "arrow" in self._available else content

    def to_spec(self) -> dict[str, Any]:
        """The five arguments; the dtype by its name."""
        dtype = self.dtype
        arguments = {
            "orient": self.orient,
            "dtype": dtype if dtype is None or isinstance(dtype, bool) else dtype_name(dtype),
            "enforce_dtype": self.enforce_dtype,
            "shape": None if self.shape is None else list(self.shape),
            "enforce_shape": self.enforce_shape,
        }
        return {"id": self.descriptor_id, "args": arguments}

    @classmethod
    def from_sample(cls, sample: Any, **arguments: Any) -> PandasSeries:
        """A descriptor with the dtype of the sample, not enforced unless asked for.

        Args:
            sample: a Series, a list of cells, or JSON text in the orient.

        Raises:
            BadInput: it is none of these.
        """
        plain = {name: arguments[name] for name in ("orient",) if name in arguments}
        series = cls(**plain)._from_sample(sample)
        return super().from_sample(series, **{"dtype": str(series.dtype), "shape": (-1,), **arguments})

    def _from_sample(self, sample: Any) -> pd.Series:
        if isinstance(sample, self._pd.Series):
            return sample
        if isinstance(sample, (str, bytes)):
            body = sample.encode("utf-8", "replace") if isinstance(sample, str) else sample
            return self.from_http_request(Request(body=body))
        if isinstance(sample, (list, tuple)):
            return self._pd.Series(list(sample))
        raise BadInput(f"{_NAME}: {type(sample).__name__} is no sample", hint="give a Series, a list, or JSON text")


def _only_column(frame: pd.DataFrame) -> pd.Series:
    if frame.shape[1] != 1:
        raise BadInput(f"expected one column, and {frame.shape[1]} were received")
    series = frame.iloc[:, 0]
    return series.rename(None) if series.name == "" else series
