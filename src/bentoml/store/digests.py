"""SHA256SUMS: the digests of an item's files, in the format of `sha256sum`: written at the save, checked at the load.

    seal(folder)      write the digests, or check those that came along; make every byte durable
    verify(folder)    every file is there, none is new, each has its digest

`sha256sum -c SHA256SUMS` in an item's folder checks the same thing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from bentoml.exceptions import CorruptedItem
from bentoml.store.names import safe_relative

__all__ = ["SUMS_FILE", "files_of", "seal", "sync_folder", "verify"]

SUMS_FILE = "SHA256SUMS"
#: Large enough that the hash, not the system calls, is what takes the time.
_CHUNK_BYTES = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def seal(folder: Path) -> None:
    """Give `folder` its digests, or verify those that an archive brought along, and make the whole tree durable.

    Raises:
        CorruptedItem: the digests that were there already do not fit the files.
        BentoMLException: the folder holds a link, a device or a name that is unsafe elsewhere.
    """
    sums = folder / SUMS_FILE
    if os.path.lexists(sums):
        verify(folder)
    else:
        lines = [f"{_digest(folder / name)}  {name}\n" for name in _safe_names(folder)]
        sums.write_text("".join(lines), encoding="utf-8")
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(os.path.join(parent, name))
        sync_folder(Path(parent))


def verify(folder: Path) -> None:
    """Compare every file with the digests that were saved with it. A folder without digests passes: BentoML wrote it.

    Raises:
        CorruptedItem: a file is changed, missing, unexpected or a link; the message names it.
    """
    sums = folder / SUMS_FILE
    if not os.path.lexists(sums):
        return
    expected = _parse(sums)
    hint = "restore the folder, or delete this item and save or import it again"
    present = set(_names(folder))
    for name in sorted(present ^ expected.keys()):
        if name in present:
            raise CorruptedItem(
                f"{folder} holds the file {name!r}, which was not saved with it", hint=f"remove it, or {hint}"
            )
        raise CorruptedItem(f"{folder} lacks the file {name!r}, which was saved with it", hint=hint)
    for name, digest in expected.items():
        if _digest(folder / name) != digest:
            raise CorruptedItem(
                f"the file {name!r} in {folder} is not the one that was saved: its content changed", hint=hint
            )


def files_of(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file below `folder`, links and devices included: its path inside with `/`, and its entry; in no order."""
    pending = [(str(folder), "")]
    while pending:
        path, prefix = pending.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, f"{prefix}{entry.name}/"))
                else:
                    yield prefix + entry.name, entry


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    try:
        _sync(str(folder))
    except OSError as error:
        # Some network file systems have no fsync for a folder; its names are durable there without it.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _names(folder: Path) -> Iterator[str]:
    for name, entry in files_of(folder):
        if not entry.is_file(follow_symlinks=False):
            kind = "link" if entry.is_symlink() else "special file"
            raise CorruptedItem(
                f"{folder} holds the {kind} {name!r}; an item holds regular files only",
                hint="put the file itself in its place",
            )
        if name != SUMS_FILE:
            yield name


def _safe_names(folder: Path) -> list[str]:
    """The names to be saved: what is saved here must be importable everywhere."""
    names = sorted(_names(folder))
    for name in names:
        safe_relative(name, where=str(folder))
    return names


def _digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()


def _parse(sums: Path) -> dict[str, str]:
    try:
        lines = sums.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptedItem(f"{sums} cannot be read: {error}") from error
    digests: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise CorruptedItem(f"line {number} of {sums} is not a digest and a file name")
        digests[match[2]] = match[1]
    return digests
