"""Command and Group: what all commands share. How loud they are, how they fail, how a misspelt name is answered."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from bentoml.cli import errors, namesake

__all__ = ["Command", "Group"]


class Command(click.Command):
    """A command with `--quiet`, `--debug` and `--do-not-track`, whose errors are one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common_options()

    def invoke(self, ctx: click.Context) -> Any:
        """Set up the log, then run the function within the border of errors."""
        quiet, debug = ctx.params.pop("quiet"), ctx.params.pop("debug")
        debug = debug and not quiet
        del ctx.params["do_not_track"]
        with errors.border(ctx, debug=debug):
            import logging

            from bentoml import _logging

            level = logging.ERROR if quiet else logging.DEBUG if debug else logging.INFO
            _logging.configure(None, level=level)
            # A reader that went away (`| head`) must not turn each further line into a traceback.
            logging.raiseExceptions = False
            if not quiet:
                namesake.warn()
            return super().invoke(ctx)


def _common_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            envvar="BENTOML_QUIET",
            show_envvar=True,
            help="Print results and errors only.",
        ),
        click.Option(
            ["--verbose", "--debug", "debug"],
            is_flag=True,
            envvar="BENTOML_DEBUG",
            show_envvar=True,
            help="Print what happens inside, and the traceback of an error. --quiet wins.",
        ),
        click.Option(
            ["--do-not-track"], is_flag=True, help="Accepted and without effect: nothing is ever sent anywhere."
        ),
    ]


class Group(click.Group):
    """A group of `Command`s that suggests a name for a misspelt one.

    Args:
        lazy: command → `module:attribute`, imported when it is needed.
        aliases: further name → command; not listed.
    """

    command_class = Command
    group_class = type

    def __init__(
        self, *args: Any, lazy: Mapping[str, str] | None = None, aliases: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy or {}
        self._aliases = aliases or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names that help and completion show."""
        return sorted({*self.commands, *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name or alias."""
        name = self._aliases.get(cmd_name, cmd_name)
        if name not in self._lazy:
            return super().get_command(ctx, name)
        module, _, attribute = self._lazy[name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a suggestion from the lazy names, which click does not know of."""
        is_name = not args[0].startswith("-")
        if is_name and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            errors.no_such_command(ctx, args[0], [*self.list_commands(ctx), *self._aliases])
        return super().resolve_command(ctx, args)
