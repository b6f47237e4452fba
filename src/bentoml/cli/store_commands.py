"""The commands that every store has: list, get, delete, export, import; and what stands in the place of push and pull.

A kind of item says what it is in a `Kind`; `commands` makes the rest.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bentoml.cli import output
from bentoml.cli.group import Command
from bentoml.exceptions import BentoMLException, CLIException

if TYPE_CHECKING:
    from types import ModuleType

    from bentoml.store.local import LocalStore
    from bentoml.tag import Tag

__all__ = ["Kind", "commands", "complete_tag", "tag_of"]

logger = logging.getLogger("bentoml")


class Kind(NamedTuple):
    """A kind of item.

    Attributes:
        noun: `model` or `bento`.
        prefix: of its commands: `bentoml models ` or `bentoml `.
        module: the public module with `list`, `get`, `delete` and `import_<noun>`.
        store: `module:function` that gives its LocalStore.
        columns: key → heading in a table.
        row: what a listing says of an item.
        forms: of `get`, besides YAML, JSON and path.
        trust: what `--trust` of its import allows.
    """

    noun: str
    prefix: str
    module: str
    store: str
    columns: Mapping[str, str]
    row: Callable[[Any], dict[str, Any]]
    forms: Mapping[str, Callable[[Any], str]]
    trust: str

    @property
    def name(self) -> str:
        """As messages write it: `Model` or `Bento`."""
        return self.noun.capitalize()

    def api(self) -> ModuleType:
        """The public module, imported now."""
        return importlib.import_module(self.module)

    def local_store(self) -> LocalStore:
        """The store on this machine."""
        module, _, function = self.store.partition(":")
        store: LocalStore = getattr(importlib.import_module(module), function)()
        return store


def complete_tag(kind: Kind) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Suggests names, and the tags of a name that is complete."""

    def suggest(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        # A shell in the middle of a line is no place for an error; there is nothing to suggest then.
        with contextlib.suppress(Exception):
            *before, current = incomplete.split(",")
            tags = kind.local_store().list()
            found = [str(tag) for tag in tags] + sorted({tag.name for tag in tags})
            return [",".join([*before, text]) for text in found if text.startswith(current)]
        return []

    return suggest


def tag_of(text: str) -> Tag:
    """The tag that a user wrote.

    Raises:
        BentoMLException: it is none.
    """
    from bentoml.tag import Tag

    try:
        return Tag.from_str(text)
    except ValueError as error:
        raise CLIException(f"{text!r} is not a tag: {error}") from error


def commands(kind: Kind) -> dict[str, click.Command]:
    """The commands of a kind by name."""
    made = (_list(kind), _get(kind), _delete(kind), _export(kind), _import(kind))
    refused = (_refused("push", kind), _refused("pull", kind))
    return {str(command.name): command for command in (*made, *refused)}


def _list(kind: Kind) -> click.Command:
    @click.command("list", cls=Command, help=f"List all {kind.noun}s, or the versions of NAME; the newest first.")
    @click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_tag(kind))
    @output.form_option("table", "json", "yaml")
    def list_(name: str | None, form: str) -> None:
        readable = [item for item in kind.api().list(None if name is None else tag_of(name)) if _is_readable(item)]
        readable.sort(key=lambda item: item.creation_time, reverse=True)
        output.print_rows([kind.row(item) for item in readable], kind.columns, form)

    return list_


def _is_readable(item: Any) -> bool:
    """Whether its record can be read. One that is damaged must not hide the others."""
    try:
        _ = item.info
    except BentoMLException as error:
        logger.warning("%s is left out: %s", item.tag, error)
        return False
    return True


def _get(kind: Kind) -> click.Command:
    forms = {
        "yaml": lambda item: Path(item.path_of(kind.local_store().record_file)).read_text(encoding="utf-8"),
        "json": lambda item: output.as_json(item.info.to_dict()),
        "path": lambda item: item.path + "\n",
        **kind.forms,
    }
    shown = ", ".join(["the record", *(f"the {form}" for form in kind.forms)])

    @click.command("get", cls=Command, help=f"Show {shown} or the folder of a {kind.noun}.")
    @click.argument("tag", metavar="TAG", shell_complete=complete_tag(kind))
    @output.form_option(*forms)
    def get(tag: str, form: str) -> None:
        click.echo(forms[form](kind.api().get(tag_of(tag))), nl=False)

    return get


def _delete(kind: Kind) -> click.Command:
    @click.command(
        "delete",
        cls=Command,
        help=f"""Remove {kind.noun}s.

        TARGETs are separated by commas or spaces: `name:version` in full, `name:latest`, or `name` for all its
        versions.""",
    )
    @click.argument("targets", metavar="TARGET...", nargs=-1, required=True, shell_complete=complete_tag(kind))
    @click.option("-y", "--yes", "--assume-yes", "yes", is_flag=True, help="Do not ask.")
    def delete(targets: tuple[str, ...], yes: bool) -> None:
        named = [text.strip() for target in targets for text in target.split(",") if text.strip()]
        if not named:
            raise CLIException(f"no {kind.noun} is named", hint="name a tag, as in iris:latest")
        # All are found before any is removed: a mistyped target leaves everything as it was.
        doomed = dict.fromkeys(tag for text in named for tag in _versions_of(tag_of(text), kind.local_store()))
        for tag in doomed:
            if yes or _confirmed(f"delete {kind.noun} {tag}?"):
                kind.api().delete(tag)
                logger.info('%s(tag="%s") deleted', kind.name, tag)

    return delete


def _versions_of(tag: Tag, store: LocalStore) -> list[Tag]:
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


def _export(kind: Kind) -> click.Command:
    @click.command(
        "export",
        cls=Command,
        help=f"""Write a {kind.noun} to a file.

        OUT is that file, or an existing folder to put it in; by default it is `name-version.{_native(kind)}` in this
        folder. The extension of OUT chooses the format: .{_native(kind)}, .tar, .gz, .bz2, .xz or .zip.""",
    )
    @click.argument("tag", metavar="TAG", shell_complete=complete_tag(kind))
    @click.argument("out", metavar="[OUT]", required=False, type=click.Path())
    def export(tag: str, out: str | None) -> None:
        item = kind.api().get(tag_of(tag))
        with output.progress(f"exporting {item.tag}") as progress:
            try:
                written = item.export(out or "", progress=progress)
            except ValueError as error:  # of a path that ends with a slash
                raise CLIException(str(error)) from error
        logger.info("%s exported to %s", item, written)

    return export


def _native(kind: Kind) -> str:
    return "bento" if kind.noun == "bento" else f"bento{kind.noun}"


def _import(kind: Kind) -> click.Command:
    @click.command("import", cls=Command, help=f"Save the {kind.noun} in the archive or folder PATH to the store.")
    @click.argument("path", type=click.Path())
    @click.option("--trust", is_flag=True, help=kind.trust)
    def import_(path: str, trust: bool) -> None:
        with output.progress(f"importing {path}") as progress:
            item = getattr(kind.api(), f"import_{kind.noun}")(path, trust=trust, progress=progress)
        logger.info("%s imported", item)

    return import_


def _refused(name: str, kind: Kind) -> click.Command:
    @click.command(
        name,
        cls=Command,
        help="Not available: there is no remote registry. Use `export` and `import`.",
        context_settings={"ignore_unknown_options": True},
    )
    @click.argument("args", metavar="[ARGS]...", nargs=-1)
    def refuse(**_: Any) -> None:
        raise CLIException(
            "there is no remote registry here",
            hint=f"`{kind.prefix}export` writes a file that `{kind.prefix}import` reads on another machine",
        )

    return refuse
