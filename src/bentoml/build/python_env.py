"""env/python of a bento. A PLACEHOLDER of the branch i4-bentos: at the merge the version of i4-image stands here."""

from __future__ import annotations

from pathlib import Path

from bentoml.build.options import PythonOptions

__all__ = ["write"]


def write(folder: Path, options: PythonOptions, *, context: Path, python_version: str) -> None:
    """Write env/python into the bento at `folder`."""
    target = folder / "env" / "python"
    target.mkdir(parents=True)
    (target / "version.txt").write_text(python_version)
    (target / "install.sh").write_text("#!/bin/sh\n")
    if options.requirements_txt is not None:
        (target / "requirements.txt").write_text((context / options.requirements_txt).read_text())
    elif options.packages:
        (target / "requirements.txt").write_text("\n".join(options.packages) + "\n")
