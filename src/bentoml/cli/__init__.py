"""The command `bentoml`. Each group of commands is a file, imported when it is named: `bentoml --help` stays quick.

main ─► cli (the group below) ─► group.Command.invoke ─► errors.border ─► the command's function
"""

from __future__ import annotations

import click

from bentoml._version import __version__
from bentoml.cli.group import Group

__all__ = ["cli", "main"]

#: Command → `module:attribute` below this package.
COMMANDS = {
    "build": "build:build",
    "completion": "completion:completion",
    "config": "config:config",
    "containerize": "containerize:containerize",
    "delete": "bentos:delete",
    "deploy": "deploy:deploy",
    "env": "env:env",
    "export": "bentos:export",
    "get": "bentos:get",
    "import": "bentos:import_",
    "list": "bentos:list_",
    "models": "models:models",
    "pull": "bentos:pull",
    "push": "bentos:push",
    "serve": "serve:serve",
}
#: Other names of commands, which no listing shows.
ALIASES = {"serve-http": "serve"}


@click.group(
    "bentoml",
    cls=Group,
    lazy={name: f"{__name__}.{target}" for name, target in COMMANDS.items()},
    aliases=ALIASES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, "-v", "--version", prog_name="bentoml", message="%(prog)s, version %(version)s")
def cli() -> None:
    """Trained models behind an HTTP API that holds in production."""


def main() -> None:
    """The console script. It leaves by SystemExit, with 0, 1 (refused), 2 (wrong usage) or 130 (Ctrl-C)."""
    # The name is fixed, as `python -m bentoml` is the same command and completes under the same variable.
    cli.main(prog_name="bentoml")
