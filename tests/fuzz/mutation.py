"""Bodies that are nearly right: seeds of every format, and what chance makes of them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["CONTENT_TYPES", "mutated", "seeds"]

BOUNDARY = b"fuzz"
CONTENT_TYPES = [
    b"application/json",
    b"application/json; charset=utf-16",
    b"text/plain",
    b"text/csv",
    b"text/event-stream",
    b"application/octet-stream",
    b"application/vnd.apache.parquet",
    b"application/vnd.apache.arrow.stream",
    b"application/x-npy",
    b"image/png",
    b"image/jpeg",
    b"image/gif",
    b"application/pdf",
    b"multipart/form-data; boundary=fuzz",
    b"multipart/form-data",
    b'multipart/form-data; boundary="',
    b"multipart/mixed; boundary=fuzz",
    b"application/x-www-form-urlencoded",
    b"application/vnd.bentoml+pickle",
    b"*/*",
    b"",
]

#: Values at which code breaks.
_SCALARS: list[Any] = [
    None, True, False, 0, -1, 1, 255, 256, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.1, -0.0,
    1e308, 5e-324, "", "a", "1", "NaN", "\0", "\ud800", "\N{PILE OF POO}", "é" * 50, "x" * 5000, "2020-02-30", [], {},
    [[]], [{}], {"": None}, {"a": [1, 2]}, [[1, 2], [3]], {"a": {"0": 1}, "b": {"1": 2}},
]  # fmt: skip
_LITERALS = [
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-", b"9" * 5000, b'{"a":1,"a":2}', b"\xef\xbb\xbf", b"\xff\xfe[\x001\x00]\x00",
    b"[" * 3000, b'{"a":' * 3000, b"[" * 40 + b"1" + b"]" * 40, b"\x00", b"\r\n", b"\x80\x04\x95", b"--fuzz--",
]  # fmt: skip


def seeds() -> list[bytes]:
    """Valid bodies of each format; of those whose library is installed."""
    documents: list[Any] = [
        {"owner": "a", "positions": [{"symbol": "ABC", "amount": 3, "price": 1.5}], "tags": {"a": "b"}, "level": "low"},
        {"owner": "a", "parent": {"owner": "b", "parent": None}, "kind": "hedge"},
        [{"sensor": "s", "celsius": 1.5, "flags": [True]}],
        [[1, 2, 3], [4, 5, 6]],
        [1, 2, 3, 4],
        [True, False],
        ["a", "bc"],
        3.5,
        "text",
        [{"a": 1, "b": 0.5, "c": "x", "d": True}, {"a": 2, "b": None, "c": "y", "d": False}],
        {"a": {"0": 1, "1": 2}, "b": {"0": 0.5, "1": 1.5}},
        {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]},
    ]
    found = [json.dumps(document).encode() for document in documents]
    found += [
        b"plain text",
        "grüße €".encode(),
        b"a,b,c\n1,2.5,x\n3,4.5,y\n",
        b'"a","b"\n"1,2",\n',
        b"a=1&b=2",
        b"%PDF-1.4\n%%EOF",
    ]
    for array in (
        np.arange(6.0).reshape(2, 3),
        np.array([True, False]),
        np.array(["a", "b"]),
        np.zeros((0, 3), "int8"),
    ):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        found.append(file.getvalue())
    for make in (_images, _tables):
        try:
            found += make()
        except ImportError:
            continue
    kinds = {b"text": b"", b"json": b"application/json", b"array": b"", b"frame": b"application/json"}
    bodies = [b"hi", found[0], found[3], found[9]]
    parts = [(name, kind, body) for (name, kind), body in zip(kinds.items(), bodies, strict=True)]
    parts.append((b"file", b"application/pdf", b"%PDF-1.4"))
    parts += [(b"image", b"image/png", body) for body in found if body.startswith(b"\x89PNG")][:1]
    return [*found, _multipart(parts)]


def _images() -> list[bytes]:
    from PIL import Image

    found = []
    for format, mode in (("PNG", "RGB"), ("PNG", "P"), ("JPEG", "RGB"), ("GIF", "L"), ("BMP", "RGB"), ("TIFF", "I;16")):
        file = io.BytesIO()
        Image.new(mode, (5, 3)).save(file, format)
        found.append(file.getvalue())
    return found


def _tables() -> list[bytes]:
    import pyarrow as pa
    from pyarrow import ipc, parquet

    table = pa.table({"a": [1, 2], "b": [0.5, None], "c": ["x", "y"], "d": [True, False]})
    sink, stream = io.BytesIO(), io.BytesIO()
    parquet.write_table(table, sink)
    with ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return [sink.getvalue(), stream.getvalue()]


def _multipart(parts: list[tuple[bytes, bytes, bytes]]) -> bytes:
    lines = []
    for name, content_type, body in parts:
        head = b'--%b\r\ncontent-disposition: form-data; name="%b"; filename="f"\r\n' % (BOUNDARY, name)
        lines.append(
            head + (b"content-type: %b\r\n" % content_type if content_type else b"") + b"\r\n" + body + b"\r\n"
        )
    return b"".join(lines) + b"--%b--\r\n" % BOUNDARY


def mutated(chance: random.Random, seeds: list[bytes], pool: list[bytes]) -> bytes:
    """One of the seeds after a few accidents, in which parts of others of the pool may be involved."""
    body = chance.choice(seeds)
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        body = chance.choice(_ACCIDENTS)(chance, body, pool)
    if chance.random() < 0.1:
        fields = [b"text", b"json", b"array", b"frame", b"image", b"file", b"", b"\xff"]
        kinds = [kind for kind in CONTENT_TYPES if not kind.startswith(b"multipart")]
        parts = [
            (chance.choice(fields), chance.choice(kinds), chance.choice([body, *pool]))
            for _ in range(chance.randrange(8))
        ]
        body = _multipart(parts)
    return body[:200_000]


def _at(chance: random.Random, body: bytes) -> int:
    return chance.randrange(len(body) + 1)


def _flip(chance: random.Random, body: bytes, pool: list[bytes]) -> bytes:
    changed = bytearray(body)
    for _ in range(chance.choice((1, 1, 2, 8)) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwrite(chance: random.Random, body: bytes, pool: list[bytes]) -> bytes:
    """Numbers in headers of binary formats: lengths, counts, offsets."""
    value = chance.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80"))
    place = _at(chance, body)
    return body[:place] + value + body[place + len(value) :]


def _cut(chance: random.Random, body: bytes, pool: list[bytes]) -> bytes:
    return body[: _at(chance, body)]


def _drop(chance: random.Random, body: bytes, pool: list[bytes]) -> bytes:
    start, end = sorted((_at(chance, body), _at(chance, body)))
    return body[:start] + body[end:]


def _double(chance: random.Random, body: bytes, pool: list[bytes]) -> bytes:
    start, end = sorted((_at(chance, body), _at(chance, body)))
    return body[:end] + body[start:end] * chance.choice((1, 2, 50)) + body[end:]


def _splice(chance: random.Random, body: bytes, pool: list[bytes]) -> bytes:
    other = chance.choice(pool)
    return body[: _at(chance, body)] + other[_at(chance, other) :]


def _insert(chance: random.Random, body: bytes, pool: list[bytes]) -> bytes:
    place = _at(chance, body)
    return body[:place] + chance.choice([*_LITERALS, chance.randbytes(chance.randrange(1, 20))]) + body[place:]


def _restructure(chance: random.Random, body: bytes, pool: list[bytes]) -> bytes:
    """Another value at some place of a JSON document."""
    try:
        document = json.loads(body)
        return json.dumps(_replaced(chance, document), ensure_ascii=chance.random() < 0.7).encode(
            "utf-8", "surrogatepass"
        )
    except (ValueError, RecursionError):
        return body


def _replaced(chance: random.Random, value: Any) -> Any:
    if not value or not isinstance(value, (dict, list)) or chance.random() < 0.3:
        return chance.choice([*_SCALARS, [value], {"a": value}, [value] * 3])
    if isinstance(value, dict):
        name = chance.choice(list(value))
        if chance.random() < 0.2:
            return {(str(chance.choice(_SCALARS))[:9] if key == name else key): each for key, each in value.items()}
        if chance.random() < 0.2:
            return {key: each for key, each in value.items() if key != name}
        return {**value, name: _replaced(chance, value[name])}
    place = chance.randrange(len(value))
    return [*value[:place], _replaced(chance, value[place]), *value[place + 1 :]]


_ACCIDENTS: list[Callable[[random.Random, bytes, list[bytes]], bytes]] = [
    _flip, _overwrite, _cut, _drop, _double, _splice, _insert, _restructure, _restructure, _restructure,
]  # fmt: skip
