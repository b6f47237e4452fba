"""File names: which ones are safe in every folder and on every system, and which ones are parts of a tag."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath

from bentoml.exceptions import BentoMLException
from bentoml.tag import validate_part

__all__ = ["FoldedNames", "is_part", "parts_in", "safe_relative"]

#: Longer than any layout of a model needs, and well below the limit of a path on every system.
MAX_NAME_CHARS = 1024
_DRIVE = re.compile(r"[A-Za-z]:")


def safe_relative(name: str, *, where: str) -> PurePosixPath:
    """The path inside a folder that `name` stands for; leading `./` are dropped.

    Args:
        name: with `/` between its parts.
        where: what holds that name, for the message.

    Raises:
        BentoMLException: it is absolute, climbs out with `..`, has a drive letter, a control character, a backslash or
            bytes that are not UTF-8, or is too long.
    """
    reason = _why_unsafe(name)
    if reason:
        raise BentoMLException(f"{where} holds the file name {name[:MAX_NAME_CHARS]!r}, which is refused: {reason}")
    return PurePosixPath(name)


def _why_unsafe(name: str) -> str:
    if len(name) > MAX_NAME_CHARS:
        return f"it has more than {MAX_NAME_CHARS} characters"
    if not name:
        return "it is empty"
    if name.startswith("/"):
        return "it is absolute"
    if _DRIVE.match(name):
        return "it begins with a drive letter"
    if "\\" in name:
        return "it has a backslash"
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        return "it has a control character, or bytes that are not UTF-8"
    if ".." in name.split("/"):
        return "it leaves the folder"
    return ""


class FoldedNames:
    """The names seen so far in one archive, to refuse those that a file system may take for one another.

    `a/x` and `A/y` are two folders on Linux and one on macOS or Windows; `é` has two spellings in Unicode. An archive
    that means one thing here and another thing there is not unpacked at all.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._seen: dict[str, tuple[str, bool]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, path: PurePosixPath, *, is_folder: bool) -> None:
        """Take note of `path` and the folders that it lies in.

        Raises:
            BentoMLException: a file of that name is there already, or a name that differs only in case or spelling.
        """
        for parent in reversed(path.parents[:-1]):
            self._add(str(parent), is_folder=True)
        self._add(str(path), is_folder=is_folder)

    def _add(self, name: str, *, is_folder: bool) -> None:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = (name, is_folder)
        elif known[0] != name:
            raise BentoMLException(
                f"{self._where} holds {known[0]!r} and {name!r}, one name on some file systems; it is refused"
            )
        elif not (is_folder and known[1]):
            raise BentoMLException(f"{self._where} holds {name!r} twice; it is refused")


def parts_in(folder: Path) -> list[str]:
    """The folders in `folder` whose names can be part of a tag, sorted; all else there is none of ours."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_part(entry.name) and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_part(text: str) -> bool:
    """Whether `text` is the name or the version of a tag, in lower case already."""
    try:
        return text == text.lower() and bool(validate_part(text, "name"))
    except ValueError:
        return False
