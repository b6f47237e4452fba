"""The formats of a frame: their content types, and which function reads and which writes each of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from bentoml._importing import is_installed
from bentoml.exceptions import UnsupportedMediaType
from bentoml.io._arrow import pyarrow, read_stream, write_stream
from bentoml.io._frame_csv import read_csv
from bentoml.io._frame_json import read_json
from bentoml.io._frame_output import dump, dump_csv
from bentoml.io._frame_parquet import read_parquet, write_parquet
from bentoml.io._json_body import parse

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ARROW_FORMATS",
    "CONTENT_TYPES",
    "FORMATS",
    "WRITE_ERRORS",
    "available",
    "read_frame",
    "unreadable",
    "write_frame",
]

#: The content type of each format in an answer.
CONTENT_TYPES = {
    "json": b"application/json",
    "csv": b"text/csv",
    "parquet": b"application/octet-stream",
    "arrow": b"application/vnd.apache.arrow.stream",
}

#: The format of each content type in a request, and in `Accept`.
FORMATS = {
    **{content_type: name for name, content_type in CONTENT_TYPES.items()},
    b"application/vnd.apache.parquet": "parquet",
}

#: Formats that need pyarrow.
ARROW_FORMATS = ("parquet", "arrow")

#: What pandas, pyarrow and msgspec raise over a frame that a format cannot carry.
WRITE_ERRORS = (ValueError, TypeError, KeyError, OverflowError, NotImplementedError, RecursionError)


def available(formats: Collection[str]) -> list[str]:
    """Those of the formats that this process can read and write."""
    return [name for name in formats if name not in ARROW_FORMATS or is_installed("pyarrow")]


def unreadable(what: str, given: str) -> UnsupportedMediaType:
    """The refusal of a format whose library is not there."""
    return UnsupportedMediaType(
        f"{what}: this server does not read {given}",
        hint="send another format, or have pip install 'makunouchi[arrow]' run on the server",
    )


def read_frame(pd: Any, np: Any, body: bytes, given: str, orient: str, *, text: Collection[str] | None) -> pd.DataFrame:
    """The frame in the body.

    Args:
        given: the name of its format.
        text: columns of a CSV that are text whatever they look like, None for all.

    Raises:
        BadInput: the body is not of that format.
    """
    if given == "json":
        return read_json(pd, np, parse(body), orient)
    if given == "csv":
        return read_csv(pd, body, text=text)
    return read_parquet(pyarrow(given), body) if given == "parquet" else read_stream(pyarrow(given), body)


def write_frame(pd: Any, np: Any, frame: pd.DataFrame, given: str, orient: str) -> bytes:
    """The frame in a format.

    Raises:
        one of WRITE_ERRORS: the format cannot carry it.
    """
    if given == "json":
        return dump(pd, np, frame, orient)
    if given == "csv":
        return dump_csv(pd, np, frame)
    return write_parquet(pyarrow(given), frame) if given == "parquet" else write_stream(pyarrow(given), frame)
