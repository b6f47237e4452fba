"""The distribution named `bentoml`: installed beside this one, the two write into one package folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click

__all__ = ["find", "warn"]

MEND = "pip uninstall bentoml && pip install --force-reinstall --no-deps makunouchi"


def find(path: Iterable[str]) -> str | None:
    """The version of the distribution `bentoml` that is installed in a folder of `path`, if one is.

    It looks at file names alone: `importlib.metadata` would take longer to import than most commands take to run.
    """
    for folder in path:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # a zip file, or a folder that is not there
            continue
        for name in names:
            if name.startswith("bentoml-") and name.endswith((".dist-info", ".egg-info")):
                return name.split("-")[1].removesuffix(".dist").removesuffix(".egg")
    return None


def warn() -> None:
    """Say on stderr, if it is so, that both are installed, and how to mend it."""
    version = find(sys.path)
    if version is not None:
        click.echo(
            f"Warning: the distribution `bentoml` {version} is installed beside makunouchi, and each overwrites "
            f"files of the other (hint: {MEND})",
            err=True,
        )
