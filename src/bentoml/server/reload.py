"""Watching the files of a service, and the models of the store, while the service is developed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

__all__ = ["changes", "matters"]

#: Code and configuration. What a service writes itself, such as logs and databases, must not restart it.
SUFFIXES = frozenset({".py", ".toml", ".yaml", ".yml"})
#: The file of the store that changes last when a model is saved.
LATEST = "latest"


def matters(path: str) -> bool:
    """Whether a change of this file may change what the service does."""
    file = Path(path)
    return file.suffix in SUFFIXES or file.name == LATEST


async def changes(folders: Iterable[Path], stop: asyncio.Event) -> AsyncIterator[list[str]]:
    """The files that changed, each time some did; caches, editors' files and version control do not count."""
    import watchfiles

    existing = [folder for folder in folders if folder.is_dir()]
    ordinary = watchfiles.DefaultFilter()
    async for batch in watchfiles.awatch(
        *existing, stop_event=stop, watch_filter=lambda change, path: matters(path) and ordinary(change, path)
    ):
        yield sorted({path for _, path in batch})
