"""The one module that reads or writes pickles: verified files of the store, and values between our own processes.

A pickle is a program. Whoever calls `load_*` has verified the file against the digests of the stored item, or got it
from a store on this machine that this user wrote; whoever calls `loads_oob` has checked that the peer is a process of
this server. Nothing that arrived over a network may be passed in; a test fails when pickle, cloudpickle or joblib is
imported anywhere else.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bentoml._importing import require

__all__ = [
    "by_value",
    "dump_cloudpickle",
    "dumps_oob",
    "load_cloudpickle",
    "load_joblib",
    "loads_oob",
]


@contextlib.contextmanager
def by_value(modules: Sequence[ModuleType]) -> Iterator[None]:
    """Within the block, objects from these modules are pickled with their code: loading needs no such module."""
    import cloudpickle

    already = cloudpickle.list_registry_pickle_by_value()
    added = [module for module in modules if module.__name__ not in already]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def dump_cloudpickle(value: Any, path: Path) -> None:
    """Write any Python object, functions and classes of `__main__` included."""
    import cloudpickle

    with path.open("wb") as file:
        cloudpickle.dump(value, file)


def load_cloudpickle(path: Path) -> Any:
    """Read what `dump_cloudpickle` wrote."""
    import cloudpickle

    with path.open("rb") as file:
        return cloudpickle.load(file)


def load_joblib(path: Path) -> Any:
    """Read what joblib wrote; it reads what `dump_cloudpickle` wrote as well."""
    return require("joblib", install="scikit-learn", what="this model format").load(path)


def dumps_oob(value: Any) -> tuple[bytes, list[memoryview]]:
    """A value for another process of this server: the pickle, and its large buffers apart and uncopied."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return data, [buffer.raw() for buffer in buffers]


def loads_oob(data: bytes | memoryview, buffers: Sequence[memoryview]) -> Any:
    """Read what `dumps_oob` wrote; the caller vouches for the sender."""
    return pickle.loads(data, buffers=buffers)
