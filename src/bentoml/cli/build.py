"""`bentoml build`: from a project to a bento in the store, with what it is doing as it does it."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bentoml.cli import output
from bentoml.cli.group import Command

if TYPE_CHECKING:
    from bentoml.store.bento import Bento

__all__ = ["build"]

logger = logging.getLogger("bentoml")


@click.command(cls=Command)
@click.argument("build_ctx", metavar="[BUILD_CTX]", default=".", type=click.Path(exists=True, file_okay=False))
@click.option(
    "-f",
    "--bentofile",
    metavar="FILE",
    help="What to build.  [default: bentofile.yaml in BUILD_CTX, else [tool.bentoml.build] of its pyproject.toml]",
)
@click.option("--version", metavar="VERSION", help="Version of the bento.  [default: a fresh one]")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["default", "tag"]),
    default="default",
    show_default=True,
    help="`tag` prints one line, `__tag__:name:version`, for scripts.",
)
@click.option("--containerize", is_flag=True, help="Build an image of it as well, as `bentoml containerize` does.")
def build(build_ctx: str, bentofile: str | None, version: str | None, form: str, containerize: bool) -> None:
    """Build a bento of the service in BUILD_CTX.

    That is one folder, in the store, with the service, its models and its environment. BUILD_CTX is the folder of the
    project, by default this one; its bentofile says what belongs to the bento.
    """
    from bentoml.build import bentofile as bentofiles
    from bentoml.build import builder

    # Chosen now, so that what is missing is told before anything is done.
    backend = _backend() if containerize else None
    context = Path(build_ctx).resolve()
    path = bentofiles.find(bentofile, context)
    options = bentofiles.read(path, context=context)
    started_s = time.monotonic()
    bento = builder.build(options, context=context, version=version, where=path.name, report=_say)
    if form == "tag":
        click.echo(f"__tag__:{bento.tag}")
    else:
        _show(bento, time.monotonic() - started_s)
    if backend is not None:
        from bentoml import container

        tags = container.build(bento.tag, backend=backend, quiet=not logger.isEnabledFor(logging.INFO))
        said = f'Successfully built Bento container for "{bento.tag}" with tag(s) "{",".join(tags)}"'
        click.echo(said, err=form == "tag")


def _backend() -> str:
    from bentoml.container.running import choose

    return choose(None).name


def _show(bento: Bento, elapsed_s: float) -> None:
    from bentoml.cli.tree import tree_lines

    logger.info("Successfully built %s", bento)
    if not logger.isEnabledFor(logging.INFO):
        click.echo(str(bento))
        return
    lines = tree_lines(Path(bento.path), title=str(bento.tag), max_entries=6, max_depth=2)
    following = {
        f"bentoml serve {bento.tag}": "serve it",
        f"bentoml containerize {bento.tag}": "make an image of it",
        f"bentoml export {bento.tag}": "take it to another machine",
    }
    width = max(map(len, following))
    click.echo("\n".join(["", *lines, "", f"{output.size_text(bento.file_size)} in {elapsed_s:.1f} s. Next:", ""]))
    for command, purpose in following.items():
        click.echo(f"  {command.ljust(width)}  {purpose}")


def _say(step: str) -> None:
    """What is being done, on stderr: stdout has the result."""
    if logger.isEnabledFor(logging.INFO):
        click.echo(f"  {step} …", err=True)
