"""env/docker of a bento. A PLACEHOLDER of the branch i4-bentos: at the merge the version of i4-image stands here."""

from __future__ import annotations

from pathlib import Path

from bentoml.build.options import BuildOptions

__all__ = ["write"]


def write(folder: Path, options: BuildOptions, *, context: Path, name: str) -> None:
    """Write env/docker into the bento at `folder`."""
    target = folder / "env" / "docker"
    target.mkdir(parents=True)
    (target / "Dockerfile").write_text("FROM scratch\n")
    (target / "entrypoint.sh").write_text("#!/bin/sh\n")
