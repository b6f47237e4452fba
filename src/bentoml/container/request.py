"""Request: what is to be built, in plain values, before anybody knows by which tool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["DOCKERFILE", "Request"]

#: In a bento, relative to its folder.
DOCKERFILE = "env/docker/Dockerfile"


class Request(NamedTuple):
    """One image to build.

    Attributes:
        context: the folder of the bento.
        tags: names of the image.
        options: flag without its dashes → True, or the values of as many such flags.
        run_as_root: whether the tool runs by sudo.
    """

    context: Path
    tags: tuple[str, ...]
    options: Mapping[str, bool | tuple[str, ...]] = {}
    run_as_root: bool = False

    @property
    def dockerfile(self) -> Path:
        """Of the bento."""
        return self.context / DOCKERFILE
