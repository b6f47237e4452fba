"""Watching the files of a service while it is developed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

__all__ = ["changes"]


async def changes(folders: Iterable[Path], stop: asyncio.Event) -> AsyncIterator[list[str]]:
    """The files that changed, each time some did; caches, editors' files and version control do not count."""
    import watchfiles

    existing = [folder for folder in folders if folder.is_dir()]
    async for batch in watchfiles.awatch(*existing, stop_event=stop, watch_filter=watchfiles.DefaultFilter()):
        yield sorted({path for _, path in batch})
