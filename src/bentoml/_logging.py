"""The one logging set-up, used by every process of a server and by the command line."""

from __future__ import annotations

import logging
import sys
import time

__all__ = ["configure"]


class _ServerFormatter(logging.Formatter):
    """`2022-09-18T21:11:22-0700 [INFO] [api_server:svc:1] message`, as BentoML 1.x writes it."""

    def __init__(self, component: str) -> None:
        super().__init__(f"%(asctime)s [%(levelname)s] [{component}] %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))


def configure(component: str | None, *, level: int = logging.INFO) -> None:
    """Send the logger `bentoml` to the terminal: warnings and errors to stderr, the rest to stdout.

    Args:
        component: who writes, for the lines of a server; None writes plain messages, as a command does.
    """
    formatter = logging.Formatter("%(message)s") if component is None else _ServerFormatter(component)
    out, err = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    out.addFilter(lambda record: record.levelno < logging.WARNING)
    err.setLevel(logging.WARNING)
    logger = logging.getLogger("bentoml")
    logger.handlers[:] = [out, err]
    for handler in (out, err):
        handler.setFormatter(formatter)
    logger.setLevel(level)
    # What is printed here must not come out a second time through a root handler of the user's.
    logger.propagate = False
    logging.captureWarnings(False)
