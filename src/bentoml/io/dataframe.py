"""PandasDataFrame: a table as JSON in any orient, CSV, Parquet or an Arrow stream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml._importing import require
from bentoml.exceptions import BadInput, InternalServerError, InvalidArgument
from bentoml.io._arrow import pyarrow
from bentoml.io._formats import BINARY_SCHEMA, essence, negotiated
from bentoml.io._frame_formats import (
    ARROW_FORMATS,
    CONTENT_TYPES,
    FORMATS,
    WRITE_ERRORS,
    available,
    read_frame,
    unreadable,
    write_frame,
)
from bentoml.io._frame_json import ORIENTS
from bentoml.io._frame_rules import check_shape, checked_shape, dtype_name, dtype_of, with_columns, with_dtypes
from bentoml.io._frame_schema import frame_schema
from bentoml.io.descriptor import IODescriptor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PandasDataFrame"]

_NAME = "PandasDataFrame"

#: From here on a body is read in a thread: below, the way there takes longer than the reading.
_LARGE_BODY_BYTES = 64 * 1024
#: The same for cells that are written.
_LARGE_FRAME_CELLS = 10_000


class PandasDataFrame(IODescriptor["pd.DataFrame"], descriptor_id="bentoml.io.PandasDataFrame"):
    """A pandas DataFrame, as JSON, CSV, Parquet or a stream of Arrow record batches.

    The `Content-Type` of a request says what it carries, in any case and with any parameters:

        application/json                      JSON in the orient
        text/csv                              CSV in UTF-8; a first column without a name is the index
        application/octet-stream              Parquet
        application/vnd.apache.parquet        Parquet
        application/vnd.apache.arrow.stream   an Arrow IPC stream
        anything else, or none                the default format

    The answer has the default format, or one of these where `Accept` asks for it by name and it can carry the frame.

    Nothing is guessed: text stays text, also where it looks like a date or a number, and in CSV only an empty cell and
    `NaN` are missing. Where integers are missing among others, the column is float64. Floats are read and written
    exactly. Times are written in ISO 8601; missing cells are null in JSON, and so are NaN and infinities.

    Parquet and Arrow need pyarrow. Files with extension types are refused, as are frames of more than 50 million cells
    (rows times columns).

    Args:
        orient: the form of JSON as pandas names it: `"records"`, `"columns"`, `"index"`, `"split"`, `"values"` or
            `"table"`.
        columns: names of the columns; shown in the schema.
        apply_column_names: whether the frame gets these names: it is put in their order where it has exactly them,
            else renamed by position; another number of columns is an error.
        dtype: of all columns, or of some by name; cells that it can hold exactly are converted (floats may be
            rounded). Text becomes a time, but never a number. None, True and False leave what was read.
        enforce_dtype: whether cells that the dtype cannot hold, and columns that are missing, are an error; they stay
            as they are otherwise.
        shape: `(rows, columns)`, -1 for any; not looked at unless enforced.
        enforce_shape: whether another shape is an error.
        default_format: `"json"`, `"csv"`, `"parquet"` or `"arrow"`.

    Raises:
        InvalidArgument: the orient, the format or the shape is none, or a rule is to be applied that is not given.
        UnprocessableEntity: pandas knows no such dtype, or its cells cannot travel.
        MissingDependencyException: pandas is not installed, or pyarrow is not and the default format needs it.
    """

    offloads = True
    negotiates = True

    def __init__(
        self,
        orient: str = "records",
        columns: Sequence[str] | None = None,
        apply_column_names: bool = False,
        dtype: Any = None,
        enforce_dtype: bool = False,
        shape: Sequence[int] | None = None,
        enforce_shape: bool = False,
        default_format: str = "json",
    ) -> None:
        self._pd = require("pandas", install="'makunouchi[pandas]'", what=f"bentoml.io.{_NAME}")
        self._np = require("numpy", what=f"bentoml.io.{_NAME}")
        _check_choice("orient", orient, ORIENTS)
        _check_choice("default_format", default_format, CONTENT_TYPES)
        if default_format in ARROW_FORMATS:
            pyarrow(f"bentoml.io.{_NAME}(default_format={default_format!r})")
        self.orient = orient
        self.default_format = default_format
        self.mime_type = CONTENT_TYPES[default_format].decode()
        self.columns = None if columns is None else list(columns)
        self.apply_column_names = apply_column_names
        self.dtype = self._dtypes(dtype)
        self.shape = checked_shape(shape, _NAME, axes=2)
        for option, enforced, needed, rule in (
            ("apply_column_names", apply_column_names, "columns", self.columns),
            ("enforce_dtype", enforce_dtype, "dtype", self.dtype),
            ("enforce_shape", enforce_shape, "shape", self.shape),
        ):
            if enforced and rule is None:
                raise InvalidArgument(f"{_NAME}: {option}=True needs {needed}", hint=f"give {needed}=…")
        self.enforce_dtype = enforce_dtype
        self.enforce_shape = enforce_shape
        #: The formats that this process can read and write, the default one first.
        self._available = sorted(available(CONTENT_TYPES), key=default_format.__ne__)

    def _dtypes(self, given: Any) -> Any:
        """None, a bool, one dtype, or dtypes by column."""
        if given is None or isinstance(given, bool):
            return given
        if isinstance(given, Mapping):
            return {name: dtype_of(self._pd, each, _NAME) for name, each in given.items()}
        return dtype_of(self._pd, given, _NAME)

    # -- in --------------------------------------------------------------------------------------------------------

    def from_http_request(self, request: Request) -> pd.DataFrame:
        """The frame in the body.

        Raises:
            BadInput: the body is malformed, or an enforced rule is broken; the message names the row or the column.
            UnsupportedMediaType: the body is Parquet or Arrow, and pyarrow is not installed.
        """
        given = FORMATS.get(essence(request.header(b"content-type")), self.default_format)
        if given not in self._available:
            raise unreadable(_NAME, given)
        try:
            frame = read_frame(self._pd, self._np, request.body, given, self.orient, text=self._text_columns())
            if self.orient in ("columns", "index") and not frame.index.is_unique:
                raise BadInput("an index label occurs twice")
            return self._ruled(frame)
        except BadInput as error:
            raise BadInput(f"{_NAME}: {error.message}", hint=error.hint) from None

    def is_slow_to_read(self, request: Request) -> bool:
        """Whether the body is so large that a thread should read it."""
        return len(request.body) > _LARGE_BODY_BYTES

    def _text_columns(self) -> Sequence[str] | None:
        """The columns that are text whatever their cells look like; None: all."""
        if isinstance(self.dtype, Mapping):
            return [name for name, dtype in self.dtype.items() if dtype.kind in "OU"]
        return None if self.dtype is not None and getattr(self.dtype, "kind", "") in ("O", "U") else ()

    def _ruled(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.apply_column_names and self.columns is not None:
            frame = with_columns(frame, self.columns)
        if self.dtype is not None and not isinstance(self.dtype, bool):
            frame = with_dtypes(self._pd, self._np, frame, self.dtype, enforced=self.enforce_dtype)
        if self.enforce_shape and self.shape is not None:
            check_shape(frame.shape, self.shape)
        return frame

    # -- out -------------------------------------------------------------------------------------------------------

    def to_http_response(self, value: pd.DataFrame, context: Context | None, *, accept: bytes = b"") -> Response:
        """The frame in the default format, or in the one that `accept` asks for by name.

        Raises:
            InternalServerError: the value is no DataFrame, breaks an enforced rule, or has cells, or names that occur
                twice, which the default format cannot carry.
        """
        if not isinstance(value, self._pd.DataFrame):
            raise InternalServerError(
                f"{_NAME}: the API function returned {type(value).__name__}, not a pandas.DataFrame",
                hint="return pandas.DataFrame(…), or use the output descriptor JSON",
            )
        try:
            frame = self._ruled(value)
        except BadInput as error:
            raise InternalServerError(f"{_NAME}: the answer of the API function: {error.message}") from None
        wanted = negotiated(accept, FORMATS, self.default_format, self._available)
        if wanted != self.default_format:
            try:
                return self.respond(self._write(frame, wanted), CONTENT_TYPES[wanted], context)
            except WRITE_ERRORS:
                pass  # a wish that this frame does not allow, for instance because a column is of mixed types
        try:
            body = self._write(frame, self.default_format)
        except WRITE_ERRORS as error:
            raise InternalServerError(
                f"{_NAME}: the frame cannot be sent as {self.default_format}: {error}",
                hint="return a frame whose columns have names of their own, and cells that are numbers, text or times",
            ) from error
        return self.respond(body, CONTENT_TYPES[self.default_format], context)

    def is_slow_to_write(self, value: Any) -> bool:
        """Whether the frame is so large that a thread should write it."""
        return getattr(value, "size", 0) > _LARGE_FRAME_CELLS

    def _write(self, frame: pd.DataFrame, wanted: str) -> bytes:
        return write_frame(self._pd, self._np, frame, wanted, self.orient)

    # -- what it says about itself -----------------------------------------------------------------------------------

    def input_type(self) -> Any:
        """`pandas.DataFrame`."""
        return self._pd.DataFrame

    def openapi_schema(self) -> dict[str, Any]:
        """The schema of the JSON form, whatever the default format."""
        return frame_schema(self.orient, self.columns, self.dtype, required=self.enforce_dtype)

    def openapi_example(self) -> Any:
        """The sample in the JSON form."""
        return None if self.sample is None else json.loads(self._write(self.sample, "json"))

    def _openapi_content(self) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for name in sorted(self._available, key=("parquet", "arrow").__contains__):  # first what a person can type
            media: dict[str, Any] = {"schema": {"type": "string"} if name == "csv" else dict(BINARY_SCHEMA)}
            if name == "json":
                media = {"schema": self.openapi_schema()}
            if self.sample is not None and name in ("json", "csv"):
                media["example"] = self.openapi_example() if name == "json" else self._write(self.sample, name).decode()
            content[CONTENT_TYPES[name].decode()] = media
        return content

    def openapi_request_body(self) -> dict[str, Any]:
        """Like that of the base, with both names of Parquet."""
        body = super().openapi_request_body()
        if "parquet" in self._available:
            body["content"]["application/vnd.apache.parquet"] = {"schema": dict(BINARY_SCHEMA)}
        return body

    def to_spec(self) -> dict[str, Any]:
        """The eight arguments; dtypes by their names."""
        dtype = self.dtype
        if isinstance(dtype, Mapping):
            dtype = {name: dtype_name(each) for name, each in dtype.items()}
        elif dtype is not None and not isinstance(dtype, bool):
            dtype = dtype_name(dtype)
        arguments = {
            "orient": self.orient,
            "columns": self.columns,
            "apply_column_names": self.apply_column_names,
            "dtype": dtype,
            "enforce_dtype": self.enforce_dtype,
            "shape": None if self.shape is None else list(self.shape),
            "enforce_shape": self.enforce_shape,
            "default_format": self.default_format,
        }
        return {"id": self.descriptor_id, "args": arguments}

    @classmethod
    def from_sample(cls, sample: Any, **arguments: Any) -> PandasDataFrame:
        """A descriptor with the columns and dtypes of the sample, not enforced unless asked for.

        Args:
            sample: a DataFrame; what `pandas.DataFrame` takes (a dict of columns, a list of records); or text, JSON in
                the orient or CSV, as the default format says.

        Raises:
            BadInput: it is none of these.
        """
        plain = {name: arguments[name] for name in ("orient", "default_format") if name in arguments}
        frame = cls(**plain)._from_sample(sample)
        names = [str(name) for name in frame.columns]
        dtypes = {name: str(dtype) for name, dtype in zip(names, frame.dtypes, strict=True)}
        inferred: dict[str, Any] = {"columns": names, "dtype": dtypes, "shape": (-1, len(names))}
        if arguments.get("orient") == "values":  # which has no names of its own
            inferred["apply_column_names"] = True
        return super().from_sample(frame, **{**inferred, **arguments})

    def _from_sample(self, sample: Any) -> pd.DataFrame:
        if isinstance(sample, self._pd.DataFrame):
            return sample
        if isinstance(sample, (str, bytes)):
            body = sample.encode("utf-8", "replace") if isinstance(sample, str) else sample
            return self.from_http_request(Request(body=body))
        if isinstance(sample, (dict, list)):
            try:
                return self._pd.DataFrame(sample)
            except (ValueError, TypeError) as error:
                raise BadInput(f"{_NAME}: the sample is no table: {error}") from error
        raise BadInput(
            f"{_NAME}: {type(sample).__name__} is no sample",
            hint="give a DataFrame, a dict, a list of records, or text",
        )


def _check_choice(option: str, given: Any, known: Any) -> None:
    if given not in known:
        raise InvalidArgument(f"{_NAME}: {option} must be one of {', '.join(known)}, not {given!r}")
