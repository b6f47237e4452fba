"""Which files restart a service that is being developed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bentoml.server.reload import changes, matters


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/p/service.py", True),
        ("/p/bentofile.yaml", True),
        ("/p/config.yml", True),
        ("/p/pyproject.toml", True),
        ("/home/models/iris/latest", True),
        ("/p/serve.log", False),
        ("/p/data.sqlite", False),
        ("/p/predictions.json", False),
        ("/p/picture.png", False),
        ("/p/module.pyc", False),
    ],
)
def test_code_and_configuration_matter_and_what_a_service_writes_does_not(path: str, expected: bool) -> None:
    assert matters(path) is expected


def test_changes_are_told_until_the_server_stops(tmp_path: Path) -> None:
    for name in ("__pycache__", ".git", "deep"):
        (tmp_path / name).mkdir()

    async def main() -> list[list[str]]:
        stop, told = asyncio.Event(), []

        async def watch() -> None:
            async for files in changes([tmp_path, tmp_path / "nosuch"], stop):
                told.append(files)
                if str(tmp_path / "deep" / "b.py") in files:
                    stop.set()

        watching = asyncio.create_task(watch())
        number = 0
        # The watcher tells of nothing that happened before it looked for the first time, and not when that is.
        while not watching.done():
            number += 1
            for name in ("a.log", "__pycache__/a.py", ".git/a.py", "deep/b.py"):
                (tmp_path / name).write_text(str(number))
            await asyncio.wait([watching], timeout=0.1)
        return told

    told = asyncio.run(asyncio.wait_for(main(), 30))
    assert {file for files in told for file in files} == {str(tmp_path / "deep" / "b.py")}
