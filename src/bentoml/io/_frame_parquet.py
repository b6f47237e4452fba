"""Parquet: from a file to a DataFrame and back; its pages are counted before anything is decoded.

    bytes ── footer without extension types ── schema plain ── pages bounded ── decoded ──▶ DataFrame

The sizes in the footer may lie; those in the headers of the pages are what memory is taken by. So all pages are walked.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from bentoml._importing import require
from bentoml.exceptions import BadInput
from bentoml.io._arrow import EXTENSION_MARK, MAX_CELLS, PARSER_ERRORS, check_plain, frame_of, malformed, table_of
from bentoml.io._frame_thrift import read_struct

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_parquet", "write_parquet"]

#: All pages of a file after decompression.
MAX_DECODED_BYTES = 512 * 1024 * 1024

#: Pages of one file; writers put about a megabyte into each.
_MAX_PAGES = 20_000

_MAGIC = b"PAR1"
_WHAT = "a Parquet file"

#: An Arrow schema lies in the footer as base64: the mark as it looks there, at each place within three bytes, without
#: the characters at the ends, which depend on its neighbours.
_ENCODED_MARKS = [
    base64.b64encode(bytes(shift) + EXTENSION_MARK)[
        4 if shift else 0 : -4 if (shift + len(EXTENSION_MARK)) % 3 else None
    ]
    for shift in range(3)
]

#: Encodings of Parquet by number, but for number 7, whose values are made of others before them, without bound.
_ENCODINGS = {0, 2, 3, 4, 5, 6, 8, 9}

#: Bytes of the footer, groups in the schema that lie in each other: read by a reader of our own before pyarrow's.
_MAX_FOOTER_BYTES = 4 * 1024 * 1024
_MAX_SCHEMA_DEPTH = 8

#: Fields by number of the structs of the format, as its Thrift definition has them.
_FILE_SCHEMA, _FILE_ROW_GROUPS, _FILE_ENCRYPTION = 2, 4, 8
_ELEMENT_CHILDREN = 5
_GROUP_COLUMNS, _GROUP_ROWS = 1, 3
_CHUNK_PATH, _CHUNK_METADATA, _CHUNK_ENCRYPTION = 1, 3, 8
_COLUMN_VALUES, _COLUMN_BYTES, _COLUMN_DATA_OFFSET, _COLUMN_DICTIONARY_OFFSET = 5, 7, 9, 11
_PAGE_TYPE, _PAGE_UNCOMPRESSED_BYTES, _PAGE_BYTES = 1, 2, 3
#: Type of a page → where the header has the part for it, and there its encoding: data, dictionary, data of version 2.
_PAGE_PARTS = {0: (5, 2), 2: (7, 2), 3: (8, 4)}
_PART_VALUES = 1


def read_parquet(pa: Any, body: bytes) -> pd.DataFrame:
    """The frame in a Parquet file.

    Raises:
        BadInput: it is no such file, or one that is encrypted, has columns of other than plain types, or is too large
            when it is decoded.
    """
    footer_bytes = int.from_bytes(body[-8:-4], "little")
    if len(body) < 12 or body[:4] != _MAGIC or body[-4:] != _MAGIC or footer_bytes > len(body) - 12:
        raise BadInput("the body is no Parquet file, or not a whole one")
    footer = body[-8 - footer_bytes : -8]
    if any(mark in footer for mark in (EXTENSION_MARK, *_ENCODED_MARKS)):
        raise BadInput("the Parquet file has an extension type; send plain columns")
    try:
        _check_pages(body, footer)
        parquet = require("pyarrow.parquet")
        with parquet.ParquetFile(pa.BufferReader(body)) as file:
            metadata, schema = file.metadata, file.schema_arrow
        check_plain(pa, schema, _WHAT)
        # Text that is stored once and referred to by number is kept so until its size is known.
        types = pa.types
        text = [field.name for field in schema if types.is_string(field.type) or types.is_large_string(field.type)]
        with parquet.ParquetFile(pa.BufferReader(body), metadata=metadata, read_dictionary=text) as file:
            table = file.read(use_threads=False)
        return frame_of(pa, table, _WHAT, decoded=text)
    except (*PARSER_ERRORS, AttributeError) as error:  # the last where a number stands in place of a struct
        raise malformed(_WHAT, error) from None


def write_parquet(pa: Any, frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file, compressed with Snappy, with its index."""
    sink = pa.BufferOutputStream()
    require("pyarrow.parquet").write_table(table_of(pa, frame), sink)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _check_pages(body: bytes, footer: bytes) -> None:
    """Refuse a file whose pages would take more memory than is allowed, or whose encoding sets no bound to it.

    The footer is read here and not by pyarrow: some of what may be wrong with it ends the process there.
    """
    if len(footer) > _MAX_FOOTER_BYTES:
        raise BadInput(f"the footer of the Parquet file has more than {_MAX_FOOTER_BYTES >> 20} MiB")
    file, _ = read_struct(footer, 0)
    if _FILE_ENCRYPTION in file:
        raise BadInput("the Parquet file is encrypted")
    _check_depth(file[_FILE_SCHEMA])
    total = _Total()
    for group in file.get(_FILE_ROW_GROUPS, []):
        if _size(group[_GROUP_ROWS]) > MAX_CELLS:
            raise _too_large()
        for chunk in group[_GROUP_COLUMNS]:
            if _CHUNK_PATH in chunk or _CHUNK_ENCRYPTION in chunk:
                raise BadInput("a column of the Parquet file is encrypted, or in another file")
            column = chunk[_CHUNK_METADATA]
            total.announce(column[_COLUMN_VALUES])
            if not column[_COLUMN_VALUES]:
                continue  # no page is read, and offsets may be of nothing
            at = column[_COLUMN_DATA_OFFSET]
            if 0 < column.get(_COLUMN_DICTIONARY_OFFSET, 0) < at:
                at = column[_COLUMN_DICTIONARY_OFFSET]
            end = at + column[_COLUMN_BYTES]
            if not len(_MAGIC) <= at <= end <= len(body):
                raise ValueError("a column lies outside of the body")
            while at < end:
                header, at = read_struct(body, at)
                total.add(header)
                at += header[_PAGE_BYTES]


class _Total:
    """What a file would take when it is decoded, as far as its pages have been walked."""

    def __init__(self) -> None:
        self.announced = self.cells = self.decoded_bytes = self.pages = 0

    def announce(self, cells: int) -> None:
        """Cells of one column by the footer: memory is reserved for them before they are seen."""
        self.announced += _size(cells)
        if self.announced > MAX_CELLS:
            raise _too_large()

    def add(self, header: dict[int, Any]) -> None:
        """One page, by its header."""
        part_number, encoding_number = _PAGE_PARTS[header[_PAGE_TYPE]]
        part = header[part_number]
        if part[encoding_number] not in _ENCODINGS:
            raise BadInput("the Parquet file has pages of the encoding DELTA_BYTE_ARRAY, or of an unknown one")
        self.cells += _size(part[_PART_VALUES])
        self.decoded_bytes += _size(header[_PAGE_UNCOMPRESSED_BYTES])
        self.pages += 1
        _size(header[_PAGE_BYTES])
        if self.cells > MAX_CELLS or self.decoded_bytes > MAX_DECODED_BYTES or self.pages > _MAX_PAGES:
            raise _too_large()


def _too_large() -> BadInput:
    return BadInput(
        f"the Parquet file has more than {MAX_CELLS:,} cells, {MAX_DECODED_BYTES >> 20} MiB when decoded, "
        f"or {_MAX_PAGES:,} pages"
    )


def _size(given: Any) -> int:
    if type(given) is not int or given < 0:
        raise ValueError("a size is negative, or no number")
    return given


def _check_depth(schema: list[dict[int, Any]]) -> None:
    """Refuse groups in groups without end: the elements of a schema stand in one list, each before its children."""
    open_groups = [1]
    for element in schema:
        while open_groups and open_groups[-1] == 0:
            open_groups.pop()
        if not open_groups:
            raise ValueError("the schema has more elements than groups have room for")
        open_groups[-1] -= 1
        open_groups.append(_size(element.get(_ELEMENT_CHILDREN, 0)))
        if len(open_groups) > _MAX_SCHEMA_DEPTH:
            raise BadInput(f"the schema of the Parquet file is more than {_MAX_SCHEMA_DEPTH} levels deep")
