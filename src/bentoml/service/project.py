"""What a project says of itself: the plain values of its bentofile, before anyone judges them.

`bentofile.yaml`, or the table `[tool.bentoml.build]` of pyproject.toml.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bentoml._importing import require
from bentoml.exceptions import BentoMLException
from bentoml.store.yaml_guard import require_harmless_yaml

__all__ = ["BENTOFILE", "PYPROJECT", "aliases_in", "bentofile_in", "fields_of"]

BENTOFILE = "bentofile.yaml"
PYPROJECT = "pyproject.toml"


def bentofile_in(folder: Path) -> Path | None:
    """The bentofile of the project in `folder`, if it has one."""
    if (folder / BENTOFILE).is_file():
        return folder / BENTOFILE
    pyproject = folder / PYPROJECT
    # Looked at as text first: most projects have no such table, and Python 3.10 has no reader of TOML.
    if not pyproject.is_file() or b"tool.bentoml.build" not in pyproject.read_bytes():
        return None
    return pyproject if fields_of(pyproject) is not None else None


def fields_of(path: Path) -> Any:
    """The values of a bentofile; None for a pyproject.toml that has no such table.

    Raises:
        BentoMLException: it is not YAML, or not TOML.
    """
    if path.suffix != ".toml":
        require_harmless_yaml(path)
        try:
            return msgspec.yaml.decode(path.read_bytes())
        except msgspec.DecodeError as error:
            raise BentoMLException(f"{path} is not YAML: {error}") from error
    tomllib = require("tomllib" if sys.version_info >= (3, 11) else "tomli", what="reading pyproject.toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BentoMLException(f"{path} is not TOML: {error}") from error
    for name in ("tool", "bentoml", "build"):
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def aliases_in(fields: Any) -> dict[str, str]:
    """Alias → tag, of the key `models`. What is wrong there is for the build to say."""
    models = fields.get("models") if isinstance(fields, Mapping) else None
    entries = [each for each in models if isinstance(each, Mapping)] if isinstance(models, list) else []
    return {str(each["alias"]): str(each["tag"]) for each in entries if each.get("alias") and each.get("tag")}
