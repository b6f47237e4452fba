"""Metrics of one server across its processes: what `bentoml.metrics`, the server and the supervisor stand on.

    update of a child ──> files.OwnValues ──(shared pages)──> files.Directory ──> exposition ──> text

The supervisor makes a fresh directory for each run and calls `mark_dead` when a process ends; each process
calls `use(directory)` first thing, and each of them can answer for all.
"""

from __future__ import annotations

from pathlib import Path

from bentoml._metrics.declaration import DEFAULT_BUCKETS, Declaration, declare, exponential_buckets
from bentoml._metrics.exposition import CONTENT_TYPE
from bentoml._metrics.files import mark_dead
from bentoml._metrics.registry import DEFAULT, Family, Registry

__all__ = [
    "CONTENT_TYPE",
    "DEFAULT",
    "DEFAULT_BUCKETS",
    "Declaration",
    "Family",
    "Registry",
    "declare",
    "exponential_buckets",
    "mark_dead",
    "use",
]


def use(directory: Path) -> None:
    """Let this process share its metrics with all that use the same directory.

    Raises:
        BentoMLConfigException: the directory cannot be written.
    """
    DEFAULT.use(directory)
