"""Archives: an item as one file, or as a folder outside the store.

    native      tar compressed with xz, whatever its extension (.bentomodel, .bento)
    tar gz bz2 xz zip folder

Writing goes to a temporary name beside the target, and is renamed: an archive that is there is whole. Reading, where
nothing may be believed, is in `unpacking`.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias, cast
from urllib.parse import unquote

from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.store.digests import files_of, sync_folder

__all__ = ["FORMATS", "Progress", "export_folder", "local_path", "source_of"]

#: Called with the bytes done so far and the bytes in all.
Progress: TypeAlias = Callable[[int, int], None]

FORMATS = ("tar", "gz", "bz2", "xz", "zip", "folder")
#: Trees come out a tenth larger than at the default levels, floats no larger, in a fifth of the time.
_XZ_PRESET = 0
_GZIP_LEVEL = 3
_CHUNK_BYTES = 1 << 20
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_OURS = ("file", "osfs")


def local_path(path: str | os.PathLike[str], remote: Mapping[str, Any]) -> str:
    """The path on this machine that a caller means by `path` and the keywords that stand for parts of a URL.

    Raises:
        ValueError: a URL and such a keyword are mixed.
        InvalidArgument: the path is elsewhere.
    """
    text = os.fspath(path)
    named = [key for key, value in remote.items() if value is not None]
    url = _URL.match(text)
    if url and named:
        raise ValueError(f"{text!r} is a URL already: the argument {named[0]!r} cannot be given with it")
    protocol = url[1].lower() if url else remote.get("protocol") or "osfs"
    others = [key for key in named if key != "protocol"]
    if protocol not in _OURS or others:
        raise InvalidArgument(
            f"{text!r} is not on this machine ({f'{others[0]}=' if others else protocol + '://'}); "
            "archives are written to and read from local paths only",
            hint="mount the remote folder, or copy the file, and name the local path",
        )
    if url is None:
        return text
    return unquote(url[2]) if protocol == "file" else os.path.expanduser(url[2])


def source_of(path: str, native: str, input_format: str | None) -> Path:
    """The existing archive or folder at `path`.

    Raises:
        ValueError: `input_format` is not a format.
        BentoMLException: there is no such file, or it is no folder where one is expected.
    """
    _require_format(input_format, native)
    source = Path(path)
    if not source.exists():
        raise InvalidArgument(
            f"there is no archive {path!r}", hint="check the path; it is relative to the current folder"
        )
    if input_format == "folder" and not source.is_dir():
        raise InvalidArgument(f"{path!r} is not a folder, which input_format='folder' expects")
    if input_format not in (None, "folder") and source.is_dir():
        raise InvalidArgument(f"{path!r} is a folder; leave input_format out, or say 'folder'")
    return source


def export_folder(
    folder: Path,
    path: str,
    *,
    stem: str,
    native: str,
    output_format: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Write `folder` as one archive (or folder) at `path`, replacing a file that is there.

    Args:
        path: a file; or an existing folder, which takes a file named `stem` plus the extension of the format. Empty is
            the current folder.
        native: extension of the native format, without a dot.
        output_format: one of `FORMATS` or `native`; by default the extension of `path` decides, and else it is native.

    Returns:
        the absolute path of what was written.

    Raises:
        ValueError: an unknown format, or a missing folder named with a trailing slash.
        BentoMLException: the target cannot be written, or a folder of that name is there already.
    """
    chosen, target = _target(path, stem, native, output_format)
    if not target.parent.is_dir():
        raise InvalidArgument(
            f"the folder {str(target.parent)!r} does not exist", hint="create it first, or export elsewhere"
        )
    if target.is_dir():
        raise InvalidArgument(
            f"{str(target)!r} is a folder already", hint="remove it first, or export under another name"
        )
    partial = target.with_name(f".{target.name}.{os.urandom(4).hex()}.partial")
    members = sorted(files_of(folder))
    links = [name for name, entry in members if not entry.is_file(follow_symlinks=False)]
    if links:
        raise BentoMLException(f"{folder} cannot be exported: {links[0]!r} is not a regular file")
    meter = _Meter(sum(entry.stat().st_size for _, entry in members), progress)
    try:
        _WRITERS.get(chosen, _write_tar)(folder, [name for name, _ in members], partial, chosen, meter)
        os.replace(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        raise BentoMLException(
            f"cannot export to {target}: {error.strerror or error}",
            hint="check the folder's permissions and free space",
        ) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
    return str(target)


def _target(path: str, stem: str, native: str, output_format: str | None) -> tuple[str, Path]:
    """Format and full path."""
    _require_format(output_format, native)
    if path.endswith(("/", os.sep)) and not os.path.isdir(path):
        raise ValueError(f"{path!r} ends with a slash, and there is no such folder")
    into_folder = not path or os.path.isdir(path)
    extension = "" if into_folder else os.path.splitext(path)[1][1:]
    chosen = output_format or (extension if extension in FORMATS else native)
    target = Path(path).absolute()
    if into_folder:
        target = target / (stem if chosen in (native, "folder") else f"{stem}.{chosen}")
    if chosen == native and not target.name.endswith(f".{native}"):
        target = target.with_name(f"{target.name}.{native}")
    return chosen, target


def _require_format(given: str | None, native: str) -> None:
    if given is not None and given not in (*FORMATS, native):
        raise ValueError(f"{given!r} is not a format of archives; known are {', '.join((native, *FORMATS))}")


class _Meter:
    """Opens files and tells how many of their bytes have been read."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._done = total, progress, 0

    @contextlib.contextmanager
    def reading(self, path: Path) -> Iterator[IO[bytes]]:
        with path.open("rb", buffering=0) as file:
            yield cast("IO[bytes]", _Metered(file, self))

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


class _Metered:
    """The reading half of a file."""

    def __init__(self, file: IO[bytes], meter: _Meter) -> None:
        self._file, self._meter = file, meter

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._meter.add(len(chunk))
        return chunk


def _write_tar(folder: Path, names: list[str], partial: Path, chosen: str, meter: _Meter) -> None:
    with partial.open("xb") as raw:
        # Dereferenced, a file with two names is stored twice; as a link no import would take it.
        with (
            _compressing(raw, chosen) as stream,
            tarfile.open(fileobj=stream, mode="w:", dereference=True) as tar,
        ):
            for name in names:
                member = tar.gettarinfo(folder / name, arcname=name)
                # Who saved a model, and under which number, is nobody's business elsewhere.
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                with meter.reading(folder / name) as file:
                    tar.addfile(member, file)
        _flush(raw)


def _compressing(raw: IO[bytes], chosen: str) -> contextlib.AbstractContextManager[Any]:
    if chosen == "tar":
        return contextlib.nullcontext(raw)
    if chosen == "gz":
        return gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_GZIP_LEVEL)
    if chosen == "bz2":
        return bz2.BZ2File(raw, "wb")
    return lzma.LZMAFile(raw, "wb", preset=_XZ_PRESET)


def _write_zip(folder: Path, names: list[str], partial: Path, chosen: str, meter: _Meter) -> None:
    with partial.open("xb") as raw:
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                # Years before 1980 have no form in a zip file, and say nothing about a model.
                info = zipfile.ZipInfo.from_file(folder / name, arcname=name, strict_timestamps=False)
                info.compress_type = zipfile.ZIP_DEFLATED
                with meter.reading(folder / name) as file, archive.open(info, "w") as member:
                    shutil.copyfileobj(file, member, _CHUNK_BYTES)
        _flush(raw)


def _write_folder(folder: Path, names: list[str], partial: Path, chosen: str, meter: _Meter) -> None:
    partial.mkdir()
    for name in names:
        copy = partial / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with meter.reading(folder / name) as file, copy.open("xb") as out:
            shutil.copyfileobj(file, out, _CHUNK_BYTES)
            _flush(out)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


_WRITERS: dict[str, Callable[[Path, list[str], Path, str, _Meter], None]] = {
    "zip": _write_zip,
    "folder": _write_folder,
}
