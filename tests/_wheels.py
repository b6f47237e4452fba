"""Wheels for the tests: small ones with a name, a version and requirements, and a folder that serves as an index."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from bentoml.build import own_wheel


def make_wheel(folder: Path, name: str, version: str = "1.0", requires: Iterable[str] = ()) -> Path:
    """A wheel that an installer takes and that holds one empty module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", *(f"Requires-Dist: {r}\n" for r in requires)]
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{module}.py", "")
        wheel.writestr(f"{info}/METADATA", "".join(lines))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{module}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def make_index(folder: Path) -> Path:
    """Wheels of everything that this package needs to run, under its names and with nothing in them."""
    folder.mkdir()
    with zipfile.ZipFile(own_wheel.write(folder)) as own:
        [metadata] = [own.read(name).decode() for name in own.namelist() if name.endswith("/METADATA")]
    (folder / own_wheel.file_name()).unlink()
    for line in metadata.splitlines():
        found = re.match(r"Requires-Dist: ([\w.-]+)", line)
        if found and "extra ==" not in line:
            make_wheel(folder, found[1], "99.0")
    return folder
