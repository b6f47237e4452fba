"""Fixtures for pytest; a conftest.py enables them with `pytest_plugins = ["bentoml.testing.fixtures"]`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bentoml.testing.serving import Served, serve

__all__ = ["bentoml_home", "bentoml_serve"]


@pytest.fixture
def bentoml_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of this test alone: a folder that is `BENTOML_HOME` until the test ends."""
    home = tmp_path / "bentoml"
    home.mkdir()
    monkeypatch.setenv("BENTOML_HOME", str(home))
    return home


@pytest.fixture
def bentoml_serve() -> Iterator[Callable[..., Served]]:
    """`bentoml.testing.serve` as a function: what it serves is stopped at the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda target, **options: stack.enter_context(serve(target, **options))
