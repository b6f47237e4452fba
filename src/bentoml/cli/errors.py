"""The one border at which an exception becomes a line on stderr and an exit code.

BentoMLException, StateException    what happened, and the hint                    1
OSError                             the system's words, and the file               1
click's own errors                  usage, and what was wrong                      2
Ctrl-C                              nothing                                      130
a reader that went away             nothing                                        1
anything else                       a mistake of ours: how to see the traceback    1
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any, NoReturn

import click

from bentoml.exceptions import BentoMLException, StateException

__all__ = ["Failure", "border", "no_such_command"]

#: What a shell reports for a command that SIGINT ended.
INTERRUPTED = 130


class Failure(click.ClickException):
    """A command that failed: shown as one line, red on a terminal; exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it."""
        line = f"Error: {self.format_message()}"
        click.echo(line if "NO_COLOR" in os.environ else click.style(line, fg="red"), file=file, err=file is None)


@contextlib.contextmanager
def border(ctx: click.Context, *, debug: bool) -> Iterator[None]:
    """Turn whatever the block raises into what the table above says."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise  # click knows what to do with these
    except (KeyboardInterrupt, click.Abort):
        if sys.stderr.isatty():
            click.echo(err=True)  # the prompt of the shell shall not stand behind "^C"
        ctx.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exception(error)
        raise Failure(f"{_name_of(ctx)} failed: {_one_line(_told(error, debug=debug))}") from error


def no_such_command(ctx: click.Context, name: str, known: Sequence[str]) -> NoReturn:
    """Refuse the name of a command, and suggest those that resemble it."""
    import difflib

    near = difflib.get_close_matches(name, known)
    suggestion = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    ctx.fail(f"No such command {name!r}.{suggestion}")


def _name_of(ctx: click.Context) -> str:
    """``[models] `get` ``: its groups, then the command."""
    names: list[str] = []
    here: click.Context | None = ctx
    while here is not None and here.parent is not None:
        names.insert(0, here.info_name or "")
        here = here.parent
    return "".join(f"[{group}] " for group in names[:-1]) + f"`{names[-1]}`" if names else "`bentoml`"


def _told(error: Exception, *, debug: bool) -> str:
    if isinstance(error, (BentoMLException, StateException)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    what_to_do = "report it with the traceback above" if debug else "run it again with --debug and report the traceback"
    return f"{type(error).__name__}: {error} (hint: this is a mistake in bentoml itself, not yours; {what_to_do})"


def _one_line(text: str) -> str:
    """The text without line breaks, and without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
