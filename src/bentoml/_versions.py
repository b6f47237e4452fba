"""The version check: whether this process has the versions of framework and Python that a model was saved with."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import NamedTuple

from bentoml.config import current
from bentoml.exceptions import BentoMLException
from bentoml.store.model import Model
from bentoml.tag import Tag

__all__ = ["Difference", "check_versions", "differences"]

logger = logging.getLogger("bentoml")

#: One warning for each model and process, however many runners and threads load it.
_warned: set[Tag] = set()


class Difference(NamedTuple):
    """A version that is not the one of the save; `remedy` brings that one back."""

    name: str
    saved: str
    here: str
    remedy: str


def differences(
    saved: Mapping[str, str], here: Mapping[str, str], *, saved_python: str, python: tuple[int, int]
) -> list[Difference]:
    """Framework versions that are not the same text, and a Python that is not the same X.Y.

    Patch releases of Python read each other's pickles; those of a framework may change what a model answers. What the
    record does not state is not compared.
    """
    found = [
        Difference(name, version, here[name], f"pip install {name}=={version}")
        for name, version in saved.items()
        if name in here and here[name] != version
    ]
    saved_minor, minor = ".".join(saved_python.split(".")[:2]), ".".join(map(str, python))
    if saved_python and saved_minor != minor:
        found.append(Difference("Python", saved_minor, minor, f"use Python {saved_minor}"))
    return found


def check_versions(record: Model, here: Mapping[str, str]) -> None:
    """Warn, raise or keep silent, as the configuration key `models.version_check` says, when versions differ.

    Args:
        here: distribution → version of this process, for what the record's framework needs.

    Raises:
        BentoMLException: versions differ, and the key is `error`.
    """
    mode = current().config.models.version_check
    if mode == "ignore" or (mode == "warn" and record.tag in _warned):
        return
    context = record.info.context
    found = differences(
        context.framework_versions, here, saved_python=context.python_version, python=sys.version_info[:2]
    )
    if not found:
        return
    saved = " and ".join(f"{one.name} {one.saved}" for one in found)
    mine = " and ".join(f"{one.name} {one.here}" for one in found)
    error = BentoMLException(
        f"Model {record.tag} was saved with {saved}; this process has {mine}, which may fail or answer otherwise",
        hint=f"{' and '.join(one.remedy for one in found)}, or save the model again with the versions of this process",
    )
    if mode == "error":
        raise error
    _warned.add(record.tag)
    logger.warning("%s", error)
