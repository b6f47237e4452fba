"""`bentoml models …`: the models on this machine."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bentoml.cli import output
from bentoml.cli.group import Group
from bentoml.exceptions import BentoMLException, CLIException

if TYPE_CHECKING:
    from bentoml.store.model import Model
    from bentoml.tag import Tag

__all__ = ["models"]

logger = logging.getLogger("bentoml")

COLUMNS = {"tag": "Tag", "module": "Module", "size": "Size", "creation_time": "Creation Time"}


def complete_tag(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of models, and the tags of a name that is complete."""
    # A shell in the middle of a line is no place for an error; there is nothing to suggest then.
    with contextlib.suppress(Exception):
        from bentoml.store.model import model_store

        *before, current = incomplete.split(",")
        tags = model_store().list()
        found = [str(tag) for tag in tags] + sorted({tag.name for tag in tags})
        return [",".join([*before, text]) for text in found if text.startswith(current)]
    return []


tag_argument = click.argument("tag", metavar="TAG", shell_complete=complete_tag)


@click.group(cls=Group)
def models() -> None:
    """List, show, remove, export and import models.

    TAG is `name`, which means its latest version, or `name:version`; an unambiguous beginning of the version is enough.
    """


@models.command("list")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_tag)
@output.form_option("table", "json", "yaml")
def list_(name: str | None, form: str) -> None:
    """List all models, or the versions of NAME; the newest first."""
    from bentoml import models as store

    readable = [model for model in store.list(None if name is None else _tag(name)) if _is_readable(model)]
    readable.sort(key=lambda model: model.creation_time, reverse=True)
    rows = [
        {
            "tag": str(model.tag),
            "module": model.info.module,
            "size": output.size_text(model.file_size),
            "creation_time": output.time_text(model.creation_time),
        }
        for model in readable
    ]
    output.print_rows(rows, COLUMNS, form)


def _is_readable(model: Model) -> bool:
    """Whether its record can be read. One that is damaged must not hide the others."""
    try:
        _ = model.info
    except BentoMLException as error:
        logger.warning("%s is left out: %s", model.tag, error)
        return False
    return True


@models.command()
@tag_argument
@output.form_option("yaml", "json", "path")
def get(tag: str, form: str) -> None:
    """Show the record of a model, or the folder that holds it."""
    from bentoml import models as store

    model = store.get(_tag(tag))
    if form == "yaml":
        click.echo(Path(model.path_of("model.yaml")).read_text(encoding="utf-8"), nl=False)
    else:
        click.echo(output.as_json(model.info.to_dict()) if form == "json" else model.path + "\n", nl=False)


@models.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True, shell_complete=complete_tag)
@click.option("-y", "--yes", "--assume-yes", "yes", is_flag=True, help="Do not ask.")
def delete(targets: tuple[str, ...], yes: bool) -> None:
    """Remove models.

    TARGETs are separated by commas or spaces: `name:version` in full, `name:latest`, or `name` for all its versions.
    """
    from bentoml import models as store

    named = [text.strip() for target in targets for text in target.split(",") if text.strip()]
    if not named:
        raise CLIException("no model is named", hint="name a tag, as in iris:latest")
    # All are found before any is removed: a mistyped target leaves everything as it was.
    doomed = dict.fromkeys(tag for text in named for tag in _versions_of(_tag(text)))
    for tag in doomed:
        if yes or _confirmed(f"delete model {tag}?"):
            store.delete(tag)
            logger.info('Model(tag="%s") deleted', tag)


def _versions_of(tag: Tag) -> list[Tag]:
    from bentoml.store.model import model_store

    store = model_store()
    found = store.list(tag)
    if not found:
        full = store.resolve(tag)  # says what there is when nothing begins like that
        raise CLIException(f"{str(tag)!r} is only the beginning of a tag", hint=f"to delete it, write {full}")
    return found


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise CLIException(f"nobody answered: {question}", hint="--yes answers every question with yes") from None


@models.command()
@tag_argument
@click.argument("out", metavar="[OUT]", required=False, type=click.Path())
def export(tag: str, out: str | None) -> None:
    """Write a model to a file.

    OUT is that file, or an existing folder to put it in; by default it is `name-version.bentomodel` in this folder.
    The extension of OUT chooses the format: .bentomodel, .tar, .gz, .bz2, .xz or .zip.
    """
    from bentoml import models as store

    model = store.get(_tag(tag))
    with output.progress(f"exporting {model.tag}") as progress:
        try:
            written = model.export(out or "", progress=progress)
        except ValueError as error:  # of a path that ends with a slash
            raise CLIException(str(error)) from error
    logger.info("%s exported to %s", model, written)


@models.command("import")
@click.argument("path", type=click.Path())
@click.option("--trust", is_flag=True, help="Import files that may run code when the model is loaded, such as pickles.")
def import_(path: str, trust: bool) -> None:
    """Save the model in the archive or folder PATH to the store."""
    from bentoml import models as store

    with output.progress(f"importing {path}") as progress:
        model = store.import_model(path, trust=trust, progress=progress)
    logger.info("%s imported", model)


def _refuse_remote(**_: Any) -> None:
    raise CLIException(
        "there is no remote registry here",
        hint="`bentoml models export` writes a file that `bentoml models import` reads on another machine",
    )


for _name in ("push", "pull"):
    models.command(
        _name,
        help="Not available: there is no remote registry. Use `export` and `import`.",
        context_settings={"ignore_unknown_options": True},
    )(click.argument("args", metavar="[ARGS]...", nargs=-1)(_refuse_remote))


def _tag(text: str) -> Tag:
    from bentoml.tag import Tag

    try:
        return Tag.from_str(text)
    except ValueError as error:
        raise CLIException(f"{text!r} is not a tag: {error}") from error
