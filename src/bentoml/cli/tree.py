"""A folder as a tree with sizes, for people: long lists of files are summed up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bentoml.cli import output

__all__ = ["tree_lines"]

#: A folder with more entries than this shows the first ones and a sum.
MAX_ENTRIES = 12
#: Deeper folders are one line with what they hold together.
MAX_DEPTH = 6


class _Line(NamedTuple):
    text: str
    size_bytes: int


def tree_lines(folder: Path, *, title: str, max_entries: int = MAX_ENTRIES, max_depth: int = MAX_DEPTH) -> list[str]:
    """The lines of the tree; each file and folder with its size, the sizes below one another."""
    lines = [_Line(title, _size(folder)), *_below(folder, "", max_entries, max_depth)]
    width = max(len(line.text) for line in lines)
    sizes = [output.size_text(line.size_bytes) for line in lines]
    longest = max(map(len, sizes))
    return [
        f"{line.text.ljust(width)}  {size.rjust(longest)}".rstrip() for line, size in zip(lines, sizes, strict=True)
    ]


def _below(folder: Path, indent: str, max_entries: int, depth: int) -> Iterator[_Line]:
    entries = sorted(folder.iterdir())
    # One line for the rest is worth it only if it stands for several.
    shown = entries if len(entries) <= max_entries + 1 else entries[:max_entries]
    rest = entries[len(shown) :]
    for number, entry in enumerate(shown, 1):
        is_last = number == len(shown) and not rest
        name = entry.name + ("/" if entry.is_dir() else "")
        yield _Line(f"{indent}{'└── ' if is_last else '├── '}{name}", _size(entry))
        if entry.is_dir() and depth > 1:
            yield from _below(entry, indent + ("    " if is_last else "│   "), max_entries, depth - 1)
    if rest:
        yield _Line(f"{indent}└── … {len(rest)} more", sum(map(_size, rest)))


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(os.stat(os.path.join(at, name)).st_size for at, _, names in os.walk(path) for name in names)
