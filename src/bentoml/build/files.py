"""Which files of a project a bento holds: the patterns `include` and `exclude`, `.bentoignore`, and what never belongs.

    one walk, each folder sorted ─► folders that are ignored are not entered ─► include ─► regular files only

Patterns are those of .gitignore. A `.bentoignore` holds in its folder and below; a deeper one has the last word.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from bentoml._importing import require
from bentoml.exceptions import InvalidArgument
from bentoml.store.names import FoldedNames, safe_relative

__all__ = ["SourceFile", "select"]

IGNORE_FILE = ".bentoignore"
#: What tools keep beside the sources and nobody serves. Other hidden files do belong.
NEVER = frozenset({".git", ".hg", ".svn", ".DS_Store", ".ipynb_checkpoints", "__pycache__"})
#: A folder with one of these files is a virtual environment, or a cache that its tool can make again.
MARKERS = ("pyvenv.cfg", "CACHEDIR.TAG")
#: Each of them costs a digest at the build and a copy at each import; a project has hundreds.
MAX_FILES = 50_000


class SourceFile(NamedTuple):
    """A file of the bento: its path inside of the project with `/`, and where its bytes are."""

    name: str
    path: Path


class _Folder(NamedTuple):
    """A folder of the walk.

    Attributes:
        prefix: its path inside of the project, with a slash at the end; empty for the project itself.
        ignores: (prefix, patterns) of each .bentoignore that holds here; the deepest first.
        real: its true path and those of the folders around it, by which a link that leads back is known.
    """

    path: str
    prefix: str
    ignores: tuple[tuple[str, Any], ...]
    real: tuple[str, ...]


def select(
    context: Path, *, include: Sequence[str] = ("*",), exclude: Sequence[str] = (), never: Sequence[Path] = ()
) -> list[SourceFile]:
    """The files of the bento, by name.

    Args:
        never: folders that are left out wherever they lie, as the store in which the bento is being built.

    Raises:
        InvalidArgument: what is to be included is a link to outside, no regular file, or has a name that is unsafe
            elsewhere; names it.
    """
    return sorted(_Walk(context, include, exclude, never).files())


class _Walk:
    def __init__(self, context: Path, include: Sequence[str], exclude: Sequence[str], never: Sequence[Path]) -> None:
        pathspec = require("pathspec", install="'makunouchi[build]'", what="building a bento")
        self._patterns: Any = pathspec.GitIgnoreSpec.from_lines
        self._include, self._exclude = self._patterns(include), self._patterns(exclude)
        self._root = os.path.realpath(context)
        self._context = context
        self._never = {os.path.realpath(path) for path in never}
        self._names = FoldedNames(str(context))

    def files(self) -> Iterator[SourceFile]:
        count = 0
        todo = [_Folder(str(self._context), "", (), (self._root,))]
        while todo:
            folder = todo.pop()
            folder = folder._replace(ignores=self._ignores(folder))
            with os.scandir(folder.path) as entries:
                members = sorted(entries, key=lambda entry: entry.name)
            for entry in members:
                name = folder.prefix + entry.name
                if entry.name in NEVER:
                    continue
                if entry.is_dir():
                    inner = self._entered(entry, name, folder)
                    if inner is not None:
                        todo.append(inner)
                elif self._is_chosen(name, folder):
                    self._require_regular(entry, name)
                    self._names.add(_safe(name, self._context), is_folder=False)
                    count += 1
                    if count > MAX_FILES:
                        raise InvalidArgument(
                            f"{self._context} has more than {MAX_FILES} files for the bento",
                            hint="name what it needs under `include`, or what it does not under `exclude`",
                        )
                    yield SourceFile(name, Path(entry.path))

    def _ignores(self, folder: _Folder) -> tuple[tuple[str, Any], ...]:
        path = Path(folder.path, IGNORE_FILE)
        if not path.is_file():
            return folder.ignores
        try:
            patterns = self._patterns(path.read_text(encoding="utf-8").splitlines())
        except ValueError as error:  # not UTF-8, or a pattern that is none
            raise InvalidArgument(f"{folder.prefix}{IGNORE_FILE}: {error}") from error
        return ((folder.prefix, patterns), *folder.ignores)

    def _is_ignored(self, name: str, folder: _Folder) -> bool:
        """Whether a file, or a folder with a slash at its end, is left out."""
        if self._exclude.match_file(name):
            return True
        for prefix, patterns in folder.ignores:
            verdict = patterns.check_file(name[len(prefix) :]).include
            if verdict is not None:
                return bool(verdict)
        return False

    def _is_chosen(self, name: str, folder: _Folder) -> bool:
        return bool(self._include.match_file(name)) and not self._is_ignored(name, folder)

    def _entered(self, entry: os.DirEntry[str], name: str, folder: _Folder) -> _Folder | None:
        if self._is_ignored(name + "/", folder) or any(os.path.isfile(f"{entry.path}/{marker}") for marker in MARKERS):
            return None
        real = os.path.realpath(entry.path)
        if real in self._never:
            return None
        if entry.is_symlink():
            if not _is_below(real, self._root):
                # With patterns such as `*.py` nobody asked for it, nor for what may lie in it.
                if self._include.match_file(name + "/"):
                    raise _leads_out(name, real)
                return None
            if real in folder.real:
                raise InvalidArgument(f"{name!r} is a link to a folder that holds it", hint=f'exclude it: "/{name}"')
        return _Folder(entry.path, name + "/", folder.ignores, (*folder.real, real))

    def _require_regular(self, entry: os.DirEntry[str], name: str) -> None:
        if entry.is_symlink() and not _is_below(real := os.path.realpath(entry.path), self._root):
            raise _leads_out(name, real)
        try:
            mode = entry.stat().st_mode
        except FileNotFoundError:
            raise InvalidArgument(f"{name!r} is a link to nothing", hint=f'exclude it: "/{name}"') from None
        if not stat.S_ISREG(mode):
            raise InvalidArgument(f"{name!r} is no regular file", hint=f'exclude it: "/{name}"')


def _safe(name: str, context: Path) -> PurePosixPath:
    return safe_relative(name, where=str(context))


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _leads_out(name: str, real: str) -> InvalidArgument:
    return InvalidArgument(
        f"{name!r} is a link to {real}, outside of the build context",
        hint=f'put the file itself in its place, or exclude it: "/{name}"',
    )
