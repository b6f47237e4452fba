"""`bentoml config`: every value of the configuration, where it came from, and what it means."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bentoml.cli import output
from bentoml.cli.group import Command

if TYPE_CHECKING:
    from bentoml.config import LoadedConfig

__all__ = ["config"]

DEFAULT = "default"
COLUMNS = {"key": "Key", "value": "Value", "origin": "From"}


class Row(NamedTuple):
    """One value: the names of its sections and its own, the value, and who set it."""

    path: tuple[str, ...]
    value: Any
    origin: str

    def to_dict(self) -> dict[str, Any]:
        return {"key": ".".join(self.path), "value": self.value, "origin": self.origin}


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Keys that begin like that."""
    with contextlib.suppress(Exception):
        from bentoml.config import explain

        return [key.name for key in explain.all_keys() if key.name.startswith(incomplete)]
    return []


@click.command(cls=Command)
@click.argument("key", metavar="[KEY]", required=False, shell_complete=complete_key)
@output.form_option("table", "yaml", "json")
@click.option(
    "--explain", metavar="KEY", shell_complete=complete_key, help="Say what KEY does, its type, limits and default."
)
def config(key: str | None, form: str, explain: str | None) -> None:
    """Show every setting and where it came from.

    It is the configuration that `bentoml serve` would use in this folder. KEY is a key or a section, such as
    `api_server.http`. What `-o yaml` prints can be used as a configuration file.
    """
    if explain is not None:
        _explain(explain, form)
        return
    from bentoml.config import from_environment

    loaded = from_environment(working_dir=Path.cwd())
    rows = list(_rows(loaded)) if key is None else _rows_below(loaded, key)
    if form == "yaml":
        click.echo(as_file(rows), nl=False)
    elif form == "table":
        shown = [row._replace(value=json.dumps(row.value, ensure_ascii=False)) for row in rows]
        output.print_rows([row.to_dict() for row in shown], COLUMNS, form)
    else:
        output.print_rows([row.to_dict() for row in rows], COLUMNS, form)


def _rows(loaded: LoadedConfig) -> Iterator[Row]:
    from bentoml.config import explain

    for key in explain.all_keys():
        path = tuple(key.name.split("."))
        if path[0] != "runners":
            yield _global_row(loaded, path)
    yield from _runner_rows(loaded)


def _runner_rows(loaded: LoadedConfig) -> Iterator[Row]:
    """What holds for all runners, then what the sections of single runners set."""
    from bentoml.config import explain

    paths = [tuple(key.name.split(".")) for key in explain.below("runners")]
    for path in paths:
        yield Row(path, _value(loaded.config, path), _origin(loaded, path))
    for name, own in loaded.named_runners.items():
        merged = loaded.runner(name)
        for _, *rest in paths:
            path = ("runners", name, *rest)
            if _is_set(own, rest):
                yield Row(path, _value(merged, rest), _origin(loaded, path))


def _rows_below(loaded: LoadedConfig, key: str) -> list[Row]:
    from bentoml.config import explain

    found = [row for row in _rows(loaded) if f"{'.'.join(row.path)}.".startswith(f"{key}.")]
    return found or [_effective(loaded, tuple(known.name.split("."))) for known in explain.below(key)]


def _effective(loaded: LoadedConfig, path: tuple[str, ...]) -> Row:
    """What holds for a key under its present name, or for one runner that has no such key in its own section."""
    section, name, *rest = path
    if section != "runners" or hasattr(loaded.config.runners, name):
        return _global_row(loaded, path)
    return Row(path, _value(loaded.runner(name), rest), _origin(loaded, ("runners", *rest)))


def _global_row(loaded: LoadedConfig, path: tuple[str, ...]) -> Row:
    from bentoml.config import explain

    value = _value(loaded.config, path)
    return Row(path, _masked(value) if ".".join(path) in explain.secrets() else value, _origin(loaded, path))


def _masked(secret: Any) -> Any:
    """As many masks as there are secrets; that there is none is no secret."""
    from bentoml.config.section import MASK

    if isinstance(secret, list):
        return [MASK] * len(secret)
    return MASK if secret else secret


def _value(section: Any, path: Sequence[str]) -> Any:
    for name in path:
        section = getattr(section, name)
    return section


def _is_set(tree: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(tree, Mapping) or name not in tree:
            return False
        tree = tree[name]
    return True


def _origin(loaded: LoadedConfig, path: Sequence[str]) -> str:
    """Who set it; for a map, whoever set one of its entries."""
    key = ".".join(path)
    origins = {origin: None for name, origin in loaded.origins.items() if f"{name}.".startswith(f"{key}.")}
    return ", ".join(origins) or DEFAULT


def as_file(rows: Sequence[Row]) -> str:
    """The rows as a configuration file in which comments name the origins."""
    lines: list[str] = []
    before: list[str] = []
    for row in rows:
        *sections, name = row.path
        open_already = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(sections, before, strict=False))
        for depth in range(len(list(open_already)), len(sections)):
            lines.append(f"{'  ' * depth}{_yaml_key(sections[depth])}:")
        comment = "" if row.origin == DEFAULT else f"  # {' '.join(row.origin.split())}"
        # JSON is YAML, on one line, and nothing in it is read as something else.
        value = json.dumps(row.value, ensure_ascii=False)
        lines.append(f"{'  ' * len(sections)}{_yaml_key(name)}: {value}{comment}")
        before = sections
    return "\n".join(lines) + "\n"


def _yaml_key(name: str) -> str:
    return output.as_yaml(name).splitlines()[0]


def _explain(name: str, form: str) -> None:
    from bentoml.config import explain

    found = explain.below(name)
    if form != "table":
        output.print_rows([key._asdict() for key in found], {}, form)
        return
    for key in found:
        click.echo(f"{key.name}\n  {key.description}")
        click.echo(f"  type     {key.type}{f', {key.limits}' if key.limits else ''}")
        click.echo(f"  default  {json.dumps(key.default, ensure_ascii=False)}")
