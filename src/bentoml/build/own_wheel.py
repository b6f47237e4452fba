"""A wheel of this very package, made from its files: a bento installs from it, never from an index by name.

Offline and deterministic: the same files make the same bytes. A checkout is described by its pyproject.toml, as the
metadata of an editable install is as old as that install; an installed package by what its installer left beside it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bentoml._importing import require
from bentoml._version import __version__
from bentoml.exceptions import BentoMLException

__all__ = ["DISTRIBUTION", "extras", "file_name", "write"]

DISTRIBUTION = "makunouchi"
#: The oldest time that a zip file can hold; the time of the build would make each wheel another one.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PACKAGE = Path(__file__).parents[1]


class _Description(NamedTuple):
    metadata: str
    entry_points: str
    licenses: dict[str, bytes]


def file_name() -> str:
    """The name that installers expect of it."""
    return f"{DISTRIBUTION}-{__version__}-py3-none-any.whl"


def write(folder: Path) -> Path:
    """Write the wheel into `folder`; where it is.

    Raises:
        BentoMLException: this package is neither installed nor a checkout.
    """
    described = _description()
    info = f"{DISTRIBUTION}-{__version__}.dist-info"
    files = dict(_package_files())
    files[f"{info}/METADATA"] = described.metadata.encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: {DISTRIBUTION} ({__version__})\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    ).encode()
    files[f"{info}/entry_points.txt"] = described.entry_points.encode()
    files |= {f"{info}/licenses/{name}": content for name, content in described.licenses.items()}
    files = dict(sorted(files.items()))
    # The record comes last, as the format recommends.
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD").encode()
    path = folder / file_name()
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, whatever system this is: the next line is read in its sense
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=6)
    return path


def extras() -> set[str]:
    """The extras that this package offers, as in `bentoml[tracing]`."""
    lines = _description().metadata.partition("\n\n")[0].splitlines()
    return {line.partition(":")[2].strip() for line in lines if line.startswith("Provides-Extra:")}


def _package_files() -> Iterator[tuple[str, bytes]]:
    for path in _PACKAGE.rglob("*"):
        hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(_PACKAGE).parts)
        if path.is_file() and not hidden and path.suffix not in (".pyc", ".pyo"):
            yield path.relative_to(_PACKAGE.parent).as_posix(), path.read_bytes()


def _record(files: dict[str, bytes], own_name: str) -> str:
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join(lines) + f"{own_name},,\n"


def _description() -> _Description:
    project = _project_of_checkout()
    return _of_installed() if project is None else _of_checkout(project)


# -- of a checkout -----------------------------------------------------------------------------------------------------


_CHECKOUT = _PACKAGE.parents[1]


def _project_of_checkout() -> dict[str, Any] | None:
    """The table `project` of our pyproject.toml, if this is a checkout."""
    path = _CHECKOUT / "pyproject.toml"
    if not path.is_file():
        return None
    tomllib = require("tomllib" if sys.version_info >= (3, 11) else "tomli", what="building a bento from a checkout")
    project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    return project if project.get("name") == DISTRIBUTION else None


def _of_checkout(project: dict[str, Any]) -> _Description:
    scripts = "".join(f"{name} = {target}\n" for name, target in sorted(project["scripts"].items()))
    licenses = {name: (_CHECKOUT / name).read_bytes() for name in project["license-files"]}
    return _Description(_metadata_of(project), f"[console_scripts]\n{scripts}", licenses)


def _metadata_of(project: dict[str, Any]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {__version__}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        *(f"License-File: {name}" for name in project["license-files"]),
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    for extra, requirements in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {_with_marker(requirement, extra)}" for requirement in requirements]
    return "\n".join(lines) + "\n"


def _with_marker(requirement: str, extra: str) -> str:
    named, _, marker = (part.strip() for part in requirement.partition(";"))
    condition = f"extra == '{extra}'"
    return f"{named}; ({marker}) and {condition}" if marker else f"{named}; {condition}"


# -- of an installed package -------------------------------------------------------------------------------------------


def _of_installed() -> _Description:
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise BentoMLException(
            f"{_PACKAGE} is neither an installed package nor a checkout, so no wheel can be made of it",
            hint=f"pip install {DISTRIBUTION}",
        ) from None
    metadata = distribution.read_text("METADATA")
    if metadata is None or distribution.version != __version__:
        raise BentoMLException(
            f"the files of {DISTRIBUTION} are of version {__version__}, its metadata is of {distribution.version}",
            hint=f"pip install --force-reinstall --no-deps {DISTRIBUTION}",
        )
    licenses = {}
    for file in distribution.files or ():
        before, found, name = file.as_posix().partition(".dist-info/licenses/")
        if found and "/" not in before:
            licenses[name] = file.read_binary()
    return _Description(metadata, distribution.read_text("entry_points.txt") or "", licenses)
