"""`docker.env` in all its forms: a mapping, a list of `NAME=value`, or the path of a file of such lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bentoml.build.paths import file_in
from bentoml.exceptions import InvalidArgument

__all__ = ["env_of"]

KEY = "docker.env"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"(?:export\s+)?([^=]+?)\s*=\s*(.*)")
_QUOTED = re.compile(r"(?P<mark>['\"])(.*)(?P=mark)\s*(?:#.*)?")


def env_of(value: Any, context: Path) -> dict[str, str]:
    """The environment variables that `value` stands for.

    Raises:
        InvalidArgument: it has none of the forms, or a name is none.
    """
    if isinstance(value, str):
        pairs: Iterable[tuple[str, Any]] = _of_file(file_in(context, value, KEY), value)
    elif isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, (list, tuple)):
        pairs = [_pair(each) for each in value]
    else:
        raise InvalidArgument(f"`{KEY}` must be a mapping, a list of NAME=value or a path, not {type(value).__name__}")
    found = {}
    for name, text in pairs:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgument(f"`{KEY}`: {name!r} is no name of a variable", hint="use letters, digits and _")
        if not isinstance(text, (str, int, float)):
            raise InvalidArgument(f"`{KEY}.{name}` must be text, not {type(text).__name__}")
        found[name] = str(text)
    return found


def _pair(entry: Any) -> tuple[str, str]:
    name, sign, text = str(entry).partition("=")
    if not isinstance(entry, str) or not sign:
        raise InvalidArgument(f"`{KEY}`: {entry!r} is not of the form NAME=value")
    return name, text


def _of_file(path: Path, name: str) -> list[tuple[str, str]]:
    found = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"`{KEY}`: {name!r} is not a text file: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InvalidArgument(f"`{KEY}`: line {number} of {name!r} is not of the form NAME=value")
        quoted = _QUOTED.fullmatch(match[2])
        found.append((match[1], quoted[2] if quoted else re.sub(r"\s+#.*", "", match[2])))
    return found
