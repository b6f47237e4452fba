"""Unpacking an archive of which nothing may be believed: not its names, not its sizes, not its kinds of entries.

    archive ─► entries (tar, zip or folder) ─► one gate: kind, name, count, bytes ─► new files in an empty folder

Whatever is refused is refused for the archive as a whole; the caller throws the folder away.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from bentoml.exceptions import BentoMLException
from bentoml.store.archive import Progress
from bentoml.store.digests import files_of
from bentoml.store.names import FoldedNames, safe_relative

__all__ = ["unpack"]

#: A saved model of many shards has hundreds of files, a bento with its sources thousands.
MAX_FILES = 100_000
#: No single model is larger today; what a full disk would stop anyway is stopped with a reason.
MAX_TOTAL_BYTES = 1 << 40
#: Weights shrink by a few percent, text models tenfold; more than 200 times is what a bomb does.
MAX_RATIO = 200
#: Below this no ratio matters: small files of zeros are harmless and do occur.
MAX_UNRATED_BYTES = 64 << 20
#: The largest piece that is asked for at once; a tar header that wants more (names, sparse maps) is not one of a model.
_CHUNK_BYTES = 1 << 20
_HINT = "ask for a sound archive; if you made it yourself, unpack it with tar or unzip and import the folder"


class _Entry(NamedTuple):
    name: str
    kind: str  # "file", "folder", or the name of what is refused
    size: int
    executable: bool
    open: Callable[[], IO[bytes]]


def unpack(source: Path, into: Path, *, input_format: str | None = None, progress: Progress | None = None) -> None:
    """Write the files of `source` into the empty folder `into`.

    Args:
        source: an archive or a folder; without `input_format` its content decides what it is. The compression of a tar
            is always found out.
        progress: called with the bytes read and the size of the archive (for a folder: of its files).

    Raises:
        BentoMLException: it is no archive, is damaged, or holds something that is refused; the message says what.
    """
    where = f"the archive {source}"
    try:
        if source.is_dir():
            _write_all(_folder_entries(source, progress), into, where, MAX_TOTAL_BYTES)
            return
        allowed = min(MAX_TOTAL_BYTES, max(MAX_UNRATED_BYTES, MAX_RATIO * source.stat().st_size))
        with source.open("rb") as raw:
            head = raw.read(8)
            raw.seek(0)
            is_zip = head.startswith(b"PK") if input_format is None else input_format == "zip"
            entries = _zip_entries(raw) if is_zip else _tar_entries(raw, head, where, allowed)
            _write_all(_metered(entries, raw, source.stat().st_size, progress), into, where, allowed)
    except _DAMAGED as error:
        raise BentoMLException(f"{where} cannot be read: {str(error) or type(error).__name__}", hint=_HINT) from error
    except OSError as error:
        # The decompressors report damage as an OSError without a number; a number is the file system speaking.
        if error.errno is None:
            raise BentoMLException(f"{where} cannot be read: {error}", hint=_HINT) from error
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise BentoMLException(
                f"{where} holds a file name that this file system does not take", hint=_HINT
            ) from error
        raise BentoMLException(f"cannot unpack {where[4:]}: {error.strerror}: {error.filename}", hint=_ROOM) from error


_ROOM = "check that the archive can be read, and that the store has room"
#: What the readers of the standard library raise on bytes that are no archive; RuntimeError includes recursion.
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
    struct.error,
)


def _write_all(entries: Iterator[_Entry], into: Path, where: str, allowed: int) -> None:
    names = FoldedNames(where)
    written = 0
    for number, entry in enumerate(entries, 1):
        if entry.kind not in ("file", "folder"):
            raise BentoMLException(
                f"{where} holds the {entry.kind} {entry.name!r}; only regular files are taken", hint=_HINT
            )
        path = safe_relative(entry.name, where=where)
        names.add(path, is_folder=entry.kind == "folder")
        # Folders count as well: one name of a kilobyte can ask for five hundred of them.
        if max(number, len(names)) > MAX_FILES:
            raise BentoMLException(f"{where} holds more than {MAX_FILES} files; it is refused", hint=_HINT)
        target = into / path
        if entry.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
            continue
        if not 0 <= entry.size <= allowed - written:
            raise _bomb(where, allowed)
        target.parent.mkdir(parents=True, exist_ok=True)
        written += _write_file(entry, target, where)


def _write_file(entry: _Entry, target: Path, where: str) -> int:
    """Copy one file; it has exactly the size that was announced, or the archive is refused."""
    left = entry.size
    # Of the mode only "executable" is meant for the receiver; owner, group and set-uid bits are not.
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if entry.executable else 0o666)
    with open(fd, "wb") as out, entry.open() as file:
        while chunk := file.read(min(_CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            out.write(chunk)
    if left:
        raise BentoMLException(f"{where} cannot be read: {entry.name!r} has another size than announced", hint=_HINT)
    return entry.size


def _bomb(where: str, allowed: int) -> BentoMLException:
    return BentoMLException(
        f"{where} unpacks to more than {allowed} bytes, which its own size does not justify; it is refused",
        hint=_HINT,
    )


def _metered(entries: Iterator[_Entry], raw: IO[bytes], total: int, progress: Progress | None) -> Iterator[_Entry]:
    for entry in entries:
        yield entry
        if progress is not None:
            progress(min(raw.tell(), total), total)
    if progress is not None:
        progress(total, total)


def _folder_entries(source: Path, progress: Progress | None) -> Iterator[_Entry]:
    members = sorted(files_of(source))
    total = sum(entry.stat(follow_symlinks=False).st_size for _, entry in members)
    done = 0
    for name, entry in members:
        status = entry.stat(follow_symlinks=False)
        opened = lambda path=entry.path: cast("IO[bytes]", open(path, "rb", opener=_open_no_link))  # noqa: E731, SIM115
        yield _Entry(name, _kind_of(status.st_mode), status.st_size, bool(status.st_mode & stat.S_IXUSR), opened)
        done += status.st_size
        if progress is not None:
            progress(done, total)


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def _zip_entries(raw: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(raw) as archive:
        for info in archive.infolist():
            # Zip files made on Windows or by libraries have no Unix mode.
            mode = info.external_attr >> 16
            kind = _kind_of(mode) if stat.S_IFMT(mode) else "folder" if info.orig_filename.endswith("/") else "file"
            if info.flag_bits & 1:
                kind = "encrypted file"
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                kind = "file of an unusual compression"
            # `filename` was cut at the first NUL; what is to be judged is what the archive says.
            opened = lambda info=info: archive.open(info)  # noqa: E731
            yield _Entry(info.orig_filename, kind, info.file_size, bool(mode & stat.S_IXUSR), opened)


def _tar_entries(raw: IO[bytes], head: bytes, where: str, allowed: int) -> Iterator[_Entry]:
    with contextlib.closing(_decompressing(raw, head)) as stream:
        guarded = cast("IO[bytes]", _GuardedReader(stream, where, allowed))
        with tarfile.open(fileobj=guarded, mode="r:") as tar:
            while (member := tar.next()) is not None:
                # Kept members, with headers of up to a megabyte each, are how a small archive fills the memory.
                tar.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out
                opened = lambda member=member: cast("IO[bytes]", tar.extractfile(member))  # noqa: E731
                yield _Entry(member.name, _tar_kind(member), member.size, bool(member.mode & stat.S_IXUSR), opened)


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "link"
    if member.isdir():
        return "folder"
    return "file" if member.isreg() and not member.issparse() else "special file"


def _decompressing(raw: IO[bytes], head: bytes) -> Any:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if head.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if head.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(raw)
    return raw


class _GuardedReader:
    """A decompressed stream that gives no more bytes in all, and at once, than an honest tar asks for.

    tarfile believes the sizes in headers of long names and attributes, and reads as much into memory.
    """

    def __init__(self, stream: Any, where: str, allowed: int) -> None:
        self._stream, self._where, self._allowed = stream, where, allowed
        # Headers and padding come on top of the files: 1.5 KiB per file at most in what honest writers make.
        self._left = allowed + MAX_FILES * 2048
        self._position = 0
        self._last = self._again = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK_BYTES:
            raise BentoMLException(f"{self._where} has a header of {size} bytes; it is refused", hint=_HINT)
        if size and self._again:
            again, self._again = self._again, b""
            return again
        chunk: bytes = self._stream.read(size)
        self._position += len(chunk)
        self._left -= len(chunk)
        self._last = chunk[-1:] or self._last
        if self._left < 0:
            raise _bomb(self._where, self._allowed)
        return chunk

    def seek(self, offset: int) -> None:
        """Forward, or one byte back: tarfile reads the byte before a header again, to see that the data is all there.

        A compressed stream would go back by decompressing everything from its start, as often as an archive wants.
        """
        self._again = b""
        while self._position < offset and self.read(min(_CHUNK_BYTES, offset - self._position)):
            pass
        if offset == self._position - 1:
            self._again = self._last
        elif offset < self._position:
            raise BentoMLException(f"{self._where} has headers that lead back; it is refused", hint=_HINT)

    def tell(self) -> int:
        return self._position - len(self._again)
