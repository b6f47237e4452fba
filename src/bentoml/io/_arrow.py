"""Arrow: from a stream of record batches to a DataFrame and back; what both this and Parquet refuse.

    bytes ── messages checked ── schema plain ── buffers validated ── sizes bounded ──▶ DataFrame

An extension type names a class whose code runs when a schema is read, so a schema that holds one is never handed to
pyarrow. Nor does the metadata that pandas leaves in a schema decide on anything but the index.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bentoml._importing import require
from bentoml.exceptions import BadInput
from bentoml.io._json_body import parse, shortened

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EXTENSION_MARK",
    "MAX_CELLS",
    "PARSER_ERRORS",
    "check_plain",
    "frame_of",
    "malformed",
    "pyarrow",
    "read_stream",
    "table_of",
    "write_stream",
]

#: Begins the keys under which a field of a schema names its extension type.
EXTENSION_MARK = b"ARROW:extension"

#: Rows times columns of one frame: 400 MB as float64. A body of a few bytes could ask for any number.
MAX_CELLS = 50_000_000

#: Text of one frame after decoding, where a body holds it once and refers to it many times.
MAX_TEXT_BYTES = 256 * 1024 * 1024

#: Messages in one stream; each is looked at before pyarrow reads it.
_MAX_MESSAGES = 10_000

#: What pyarrow and pandas raise over bytes that are not what they claim to be; Arrow's own errors derive from these.
PARSER_ERRORS = (ValueError, TypeError, KeyError, IndexError, OverflowError, NotImplementedError, OSError, MemoryError)

_CONTINUATION = b"\xff\xff\xff\xff"
_END = _CONTINUATION + bytes(4)
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3
_TIME_ZONE = re.compile(r"[A-Za-z0-9_+:-]{1,32}(/[A-Za-z0-9_+:-]{1,32}){0,2}")


def pyarrow(what: str) -> Any:
    """The library.

    Raises:
        MissingDependencyException: it is not installed.
    """
    return require("pyarrow", install="'makunouchi[arrow]'", what=what)


def read_stream(pa: Any, body: bytes) -> pd.DataFrame:
    """The frame in an Arrow IPC stream; columns of numbers without nulls may share memory with the body.

    Raises:
        BadInput: it is no such stream, or one that is compressed, has columns of other than plain types, or is too
            large when it is decoded.
    """
    _check_messages(body)
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            check_plain(pa, reader.schema, "an Arrow stream")
            table = reader.read_all()
        return frame_of(pa, table, "an Arrow stream")
    except PARSER_ERRORS as error:
        raise malformed("an Arrow stream", error) from None


def write_stream(pa: Any, frame: pd.DataFrame) -> bytes:
    """The frame as an Arrow IPC stream, with its index."""
    table = table_of(pa, frame)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def table_of(pa: Any, frame: pd.DataFrame) -> Any:
    """The frame as a table, by one thread: the others belong to other requests."""
    return pa.Table.from_pandas(frame, nthreads=1)


def check_plain(pa: Any, schema: Any, what: str) -> None:
    """Refuse columns that are not of plain types, and names that occur twice."""
    for field in schema:
        if not _is_plain(pa.types, field.type):
            raise BadInput(
                f"the column {shortened(field.name)!r} of {what} has the type "
                f"{shortened(str(field.type))}; columns may hold numbers, booleans, text, times, categories, and lists "
                "of numbers"
            )
    if len(set(schema.names)) != len(schema.names):
        raise BadInput(f"a column name occurs twice in {what}")


def frame_of(pa: Any, table: Any, what: str, *, decoded: Sequence[str] = ()) -> pd.DataFrame:
    """The frame that a table of plain columns stands for, once its buffers have proved to be what they claim.

    Args:
        decoded: columns of text that are held as categories, and are none.
    """
    if table.num_rows * max(1, table.num_columns) > MAX_CELLS:
        raise BadInput(f"{what} has more than {MAX_CELLS:,} cells (rows times columns)")
    # Offsets and lengths in the buffers come from outside: read as they stand they would reach beyond them.
    table.validate(full=True)
    if _text_bytes(pa, table) > MAX_TEXT_BYTES:
        raise BadInput(f"the text in {what} takes more than {MAX_TEXT_BYTES >> 20} MiB when decoded")
    for name in decoded:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table.column(at).cast(pa.large_string()))
    metadata = table.schema.metadata
    plain = table.replace_schema_metadata(None)
    frame = plain.to_pandas(ignore_metadata=True, date_as_object=False, use_threads=False)
    return _with_index(frame, metadata)


def malformed(what: str, error: Exception) -> BadInput:
    """The refusal of what a library could not read."""
    return BadInput(f"the body is not {what} that can be read: {shortened(str(error))}")


def _check_messages(body: bytes) -> None:
    """Refuse extension types and compressed buffers, which pyarrow would unpack unasked, whatever their size."""
    at, seen = 0, 0
    try:
        while body[at : at + 4] == _CONTINUATION and (length := _integer("<i", body, at + 4)):
            metadata = body[at + 8 : at + 8 + length]
            header_type, header, body_length = _message(metadata)
            if (header_type == _SCHEMA) != (seen == 0) or length < 0 or body_length < 0 or seen >= _MAX_MESSAGES:
                raise BadInput(f"no Arrow stream of one schema and at most {_MAX_MESSAGES:,} batches")
            if header_type == _SCHEMA and EXTENSION_MARK in metadata:
                raise BadInput("the Arrow stream has an extension type; send plain columns")
            if header_type == _DICTIONARY_BATCH:
                header = _target(metadata, _field(metadata, header, 1))
            if header_type in (_DICTIONARY_BATCH, _RECORD_BATCH) and _field(metadata, header, 3):
                raise BadInput("the Arrow stream has compressed buffers; send it uncompressed")
            at, seen = at + 8 + length + body_length, seen + 1
    except struct.error:
        raise BadInput("the Arrow stream has a message that is cut off or malformed") from None
    # Whatever else follows pyarrow may take for a message in the form of versions before 0.15.
    if not seen or (at != len(body) and body[at : at + 8] != _END and body[at : at + 4] != _END[4:]):
        raise BadInput("the body is no Arrow stream (of format version 0.15 or later), or not a whole one")


def _message(metadata: bytes) -> tuple[int, int, int]:
    """(type of the header, where its table is, bytes of the body) of one message, which is a FlatBuffer."""
    table = _target(metadata, 0)
    type_at, header_at, length_at = (_field(metadata, table, number) for number in (1, 2, 3))
    header_type = _integer("<B", metadata, type_at) if type_at else 0
    body_length = _integer("<q", metadata, length_at) if length_at else 0
    return header_type, _target(metadata, header_at) if header_at else 0, body_length


def _field(buffer: bytes, table: int, number: int) -> int:
    """Where a field of a FlatBuffer table is, 0 where it is absent."""
    layout = table - _integer("<i", buffer, table)
    if 4 + 2 * number >= _integer("<H", buffer, layout):
        return 0
    offset = _integer("<H", buffer, layout + 4 + 2 * number)
    return table + offset if offset else 0


def _target(buffer: bytes, at: int) -> int:
    return at + _integer("<I", buffer, at)


def _integer(form: str, buffer: bytes, at: int) -> int:
    if at < 0:  # which Python would count from the end
        raise struct.error
    value: int = struct.unpack_from(form, buffer, at)[0]
    return value


def _is_plain(types: Any, given: Any, *, in_list: bool = False) -> bool:
    if types.is_integer(given) or types.is_floating(given):
        return True
    if types.is_list(given) or types.is_large_list(given) or types.is_fixed_size_list(given):
        return not in_list and _is_plain(types, given.value_type, in_list=True)
    if in_list:
        return False
    if types.is_dictionary(given):
        value_type = given.value_type
        return bool(types.is_integer(value_type) or types.is_floating(value_type) or _is_text(types, value_type))
    if types.is_timestamp(given) and given.tz is not None:
        return _TIME_ZONE.fullmatch(given.tz) is not None
    tests = (types.is_boolean, types.is_timestamp, types.is_date, types.is_duration, types.is_null)
    return _is_text(types, given) or any(test(given) for test in tests)


def _is_text(types: Any, given: Any) -> bool:
    return bool(types.is_string(given) or types.is_large_string(given))


def _text_bytes(pa: Any, table: Any) -> int:
    """Bytes of the text that columns refer to by number, were each cell to have its own."""
    total = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type) and _is_text(pa.types, column.type.value_type):
            compute = require("pyarrow.compute")
            for chunk in column.chunks:
                lengths = compute.binary_length(chunk.dictionary).cast("int64")
                total += compute.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def _with_index(frame: pd.DataFrame, metadata: dict[bytes, bytes] | None) -> pd.DataFrame:
    """The frame with the columns as index that were the index of the sender's frame."""
    try:
        said = parse((metadata or {}).get(b"pandas", b"{}"))
    except BadInput:
        return frame
    names = said.get("index_columns") if isinstance(said, dict) else None
    # An index of plain row numbers is told as an object, not as a name.
    if not names or not isinstance(names, list) or not all(isinstance(n, str) and n in frame.columns for n in names):
        return frame
    indexed = frame.set_index(names)
    indexed.index.names = [None if re.fullmatch(r"__index_level_\d+__", name) else name for name in names]
    return indexed
