"""ProcessSpec: what to run in a child, as plain data; and how the end of a process is told to a human."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

__all__ = ["THREAD_VARIABLES", "ProcessSpec", "describe_exit"]

#: What numerical libraries read, at import, to learn how many threads they may start.
THREAD_VARIABLES = (
    "BENTOML_NUM_THREAD",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_RS_NUM_CPUS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One worker process.

    Attributes:
        kind: what it does.
        name: how it is called in the log, for instance `api_server:1`.
        index: 1 for the first of its kind.
        environment: variables that must be set before anything is imported.
        runner: the runner that a runner worker serves.
    """

    kind: Literal["api_server", "runner"]
    name: str
    index: int
    environment: dict[str, str]
    runner: str = ""


def describe_exit(returncode: int, *, out_of_memory: bool = False) -> str:
    """What a return code says: `exited with code 1`, `was killed by SIGSEGV`, …"""
    if returncode >= 0:
        return f"exited with code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    if out_of_memory:
        return f"was killed by {name}: out of memory"
    return f"was killed by {name}"
