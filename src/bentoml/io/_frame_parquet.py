"""Parquet: from a file to a DataFrame and back; its pages are counted before anything is decoded.

    bytes ── footer without extension types ── schema plain ── pages bounded ── decoded ──▶ DataFrame

The sizes in the footer may lie, those in the headers of the pages are what memory is taken by. So all pages are walked.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from bentoml._importing import require
from bentoml.exceptions import BadInput
from bentoml.io._arrow import EXTENSION_MARK, MAX_CELLS, PARSER_ERRORS, check_plain, frame_of, malformed, table_of

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

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
#: Fields of a PageHeader.
_TYPE, _UNCOMPRESSED_BYTES, _COMPRESSED_BYTES = 1, 2, 3
#: Where the header of each type of page has its own part, and there its encoding.
_PARTS = {_DATA_PAGE: (5, 2), _DICTIONARY_PAGE: (7, 2), _DATA_PAGE_V2: (8, 4)}


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
    parquet = require("pyarrow.parquet")
    try:
        with parquet.ParquetFile(pa.BufferReader(body)) as file:
            metadata, schema = file.metadata, file.schema_arrow
        check_plain(pa, schema, _WHAT)
        _check_pages(body, metadata)
        # Text that is stored once and referred to by number is kept so until its size is known.
        text = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        with parquet.ParquetFile(pa.BufferReader(body), metadata=metadata, read_dictionary=text) as file:
            table = file.read(use_threads=False)
        return frame_of(pa, table, _WHAT, decoded=text)
    except PARSER_ERRORS as error:
        raise malformed(_WHAT, error) from None


def write_parquet(pa: Any, frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file, compressed with Snappy, with its index."""
    sink = pa.BufferOutputStream()
    require("pyarrow.parquet").write_table(table_of(pa, frame), sink)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _check_pages(body: bytes, metadata: Any) -> None:
    """Refuse a file whose pages would take more memory than is allowed, or whose encoding sets no bound to it."""
    cells = decoded_bytes = pages = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            chunk = row_group.column(number)
            offsets = [chunk.data_page_offset]
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < chunk.data_page_offset:
                offsets.append(chunk.dictionary_page_offset)
            at = min(offsets)
            end = at + chunk.total_compressed_size
            if not 4 <= at <= end <= len(body) or chunk.file_path:
                raise ValueError("a column lies outside of the body")
            while at < end:
                header, at = _struct(body, at)
                cells += _values_of(header)
                decoded_bytes += header[_UNCOMPRESSED_BYTES]
                pages += 1
                if cells > MAX_CELLS or decoded_bytes > MAX_DECODED_BYTES or pages > _MAX_PAGES:
                    raise BadInput(
                        f"the Parquet file has more than {MAX_CELLS:,} cells, "
                        f"{MAX_DECODED_BYTES >> 20} MiB when decoded, or {_MAX_PAGES:,} pages"
                    )
                at += header[_COMPRESSED_BYTES]


def _values_of(header: dict[int, Any]) -> int:
    """Values in one page, none in a dictionary; the parts of the header that bound its memory are checked."""
    part_number, encoding_number = _PARTS.get(header[_TYPE], (0, 0))
    part = header.get(part_number)
    sizes = (header[_UNCOMPRESSED_BYTES], header[_COMPRESSED_BYTES])
    if not isinstance(part, dict) or not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ValueError("a page has a malformed header")
    if part[encoding_number] not in _ENCODINGS:
        raise BadInput("the Parquet file has columns of the encoding DELTA_BYTE_ARRAY, or an unknown one")
    values = part[1]
    if not isinstance(values, int) or values < 0:
        raise ValueError("a page has a malformed header")
    return values


def _struct(buffer: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The fields by number of one struct in Thrift's compact protocol, and where it ends.

    Only what occurs in the header of a page: integers, booleans, binaries (left out), and structs of them.
    """
    fields: dict[int, Any] = {}
    number = 0
    while head := buffer[at]:
        at += 1
        kind = head & 0x0F
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(buffer, at)
        value: Any = None
        if kind in (1, 2):
            value = kind == 1
        elif kind in (4, 5, 6):
            value, at = _zigzag(buffer, at)
        elif kind == 8:
            length, at = _varint(buffer, at)
            at += length
        elif kind == 12 and depth < 4:
            value, at = _struct(buffer, at, depth + 1)
        else:
            raise ValueError("a page has a malformed header")
        fields[number] = value
    return fields, at + 1


def _zigzag(buffer: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(buffer, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a page has a malformed header")
