"""Running the tool: which one is there, and its output while it works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bentoml.container.backends import AUTOMATIC, Backend, argv, get_backend, health
from bentoml.container.request import Request
from bentoml.exceptions import BentoMLException

__all__ = ["choose", "run"]


def choose(name: str | None) -> Backend:
    """The backend of that name, or the first of `AUTOMATIC` that works; able to build in either case.

    Raises:
        NotFound: there is no backend of that name.
        BentoMLException: it is not installed or does not work, or none does.
    """
    if name is not None:
        backend = get_backend(name)
        if not health(backend):
            missing = not callable(backend.health) and shutil.which(backend.binary) is None
            state = "is not installed" if missing else "does not work"
            raise BentoMLException(f"the backend {name} {state}", hint=_what_to_do(backend, missing=missing))
        return backend
    for each in AUTOMATIC:
        backend = get_backend(each)
        if health(backend):
            return backend
    raise BentoMLException(
        f"nothing here can build an image: none of {', '.join(AUTOMATIC)} is installed and works",
        hint="install one of them; if one is there, --backend with its name says what is wrong",
    )


def _what_to_do(backend: Backend, *, missing: bool) -> str:
    if missing:
        return backend.install
    if callable(backend.health):
        return "its own check failed"
    return f"run `{' '.join([backend.binary, *backend.health])}` to see why"


def run(backend: Backend, request: Request, *, quiet: bool = False) -> None:
    """Build the image; the tool's output goes to stderr as it comes, or where quiet, only when it fails.

    Raises:
        InvalidArgument: an option that this tool does not have.
        BentoMLException: the tool failed, or is BuildKit and was told not to be.
    """
    if backend.name == "docker" and os.environ.get("DOCKER_BUILDKIT") == "0":
        raise BentoMLException(
            "the Dockerfile of a bento needs BuildKit, which DOCKER_BUILDKIT=0 switches off",
            hint="unset DOCKER_BUILDKIT",
        )
    command = argv(backend, request)
    sys.stderr.flush()
    done = subprocess.run(
        command,
        env={**os.environ, **backend.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else 2,
        stderr=subprocess.STDOUT if quiet else None,
        check=False,
    )
    if done.returncode:
        if quiet:
            sys.stderr.write(done.stdout.decode(errors="replace"))
        raise BentoMLException(
            f"{backend.name} could not build the image: it ended with code {done.returncode}",
            hint="its output above says why",
        )
