"""The command for tests: inside this process with `invoke`, or as the command that a user starts with `run`."""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner, Result

from bentoml import config
from bentoml.cli import cli

SOURCE = Path(__file__).parents[1] / "src"
#: What the shell of the developer may have set.
CLEAN = {name: None for name in os.environ if name.startswith("BENTOML_")}


def invoke(*args: str, home: Path | None = None, command: click.Command = cli, input: str = "", **env: str) -> Result:
    """Run it in this process; `result.stdout`, `result.stderr` and `result.exit_code` are what a user gets."""
    variables: dict[str, str | None] = {**CLEAN, **env}
    if home is not None:
        variables["BENTOML_HOME"] = str(home)
    with _settings_restored():
        return CliRunner(env=variables).invoke(command, list(args), input=input, prog_name="bentoml")


@contextlib.contextmanager
def _settings_restored() -> Iterator[None]:
    logger = logging.getLogger("bentoml")
    before = logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions
    try:
        yield
    finally:
        logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before
        config.use(None)


def environment(home: Path | None = None, **env: str) -> dict[str, str]:
    """The environment of a child process, without what the developer's shell says to this package."""
    inherited = {name: value for name, value in os.environ.items() if name not in CLEAN}
    path = os.pathsep.join([env.pop("PYTHONPATH", ""), str(SOURCE)]).strip(os.pathsep)
    return {**inherited, "PYTHONPATH": path, **({"BENTOML_HOME": str(home)} if home else {}), **env}


def run(
    *args: str, home: Path | None = None, cwd: Path | None = None, input: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m bentoml` and wait for it."""
    command = [sys.executable, "-m", "bentoml", *args]
    return subprocess.run(
        command, env=environment(home, **env), cwd=cwd, input=input, capture_output=True, text=True, timeout=60
    )
