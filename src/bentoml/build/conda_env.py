"""env/conda of a bento. A PLACEHOLDER of the branch i4-bentos: at the merge the version of i4-image stands here."""

from __future__ import annotations

from pathlib import Path

from bentoml.build.options import CondaOptions

__all__ = ["write"]


def write(folder: Path, options: CondaOptions, *, context: Path) -> None:
    """Write env/conda into the bento at `folder`, if the options ask for one."""
    if options.is_used:
        (folder / "env" / "conda").mkdir(parents=True)
        (folder / "env" / "conda" / "environment.yml").write_text("")
