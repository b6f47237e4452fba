"""Texts and paths of a bentofile: text without what no reader shows, paths that stay inside of the build context."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from bentoml.exceptions import InvalidArgument

__all__ = ["file_in", "require_plain", "script_in"]


def require_plain(text: str, key: str, *, lines: bool = False) -> str:
    """The text, if it is one line, or with `lines` several, that everyone reads alike.

    Raises:
        InvalidArgument: it holds a control character or a line break; names the key.
    """
    allowed = "\t\n\r" if lines else "\t"
    for char in text:
        if char not in allowed and unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
            raise InvalidArgument(f"`{key}` holds the character {char!r}, which does not belong there")
    return text


def file_in(context: Path, name: str, key: str) -> Path:
    """The file of the build context that `key` names.

    Raises:
        InvalidArgument: it is absolute, climbs out with `..`, begins with `~`, is a link to outside, or is not there;
            names it.
    """
    path = Path(require_plain(name, key))
    if not name or path.is_absolute() or ".." in path.parts or name.startswith("~") or "\\" in name:
        raise InvalidArgument(
            f"`{key}`: {name!r} leads out of the build context", hint="name a file below it, by a relative path"
        )
    found = (context / path).resolve()
    if not found.is_relative_to(context.resolve()):
        raise InvalidArgument(
            f"`{key}`: {name!r} is a link that leads out of the build context", hint="put the file itself in its place"
        )
    if not found.is_file():
        raise InvalidArgument(f"`{key}`: there is no file {name!r} in {context}")
    return found


def script_in(context: Path, name: str, key: str) -> Path:
    """The executable file of the build context that `key` names.

    Raises:
        InvalidArgument: as for `file_in`, or it is not executable.
    """
    found = file_in(context, name, key)
    if not os.access(found, os.X_OK):
        raise InvalidArgument(f"`{key}`: {name!r} is not executable", hint=f"chmod +x {name}")
    return found
