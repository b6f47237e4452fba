"""Write the mechanical parts of the documentation from the source: signatures, options, keys, the tree of files.

    python scripts/reference.py            bring the pages up to date
    python scripts/reference.py --check    name those that are not, and fail

Only what stands between the two marks of a page is written; what people wrote around it stays.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import bentoml
from bentoml.cli import cli
from bentoml.cli.group import Command
from bentoml.config import check, explain, sources
from bentoml.framework import Framework

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "bentoml"
BEGIN = "<!-- written by scripts/reference.py: begin -->\n"
END = "<!-- written by scripts/reference.py: end -->\n"

#: What every framework module offers.
FRAMEWORK_FUNCTIONS = bentoml.sklearn.__all__
#: Public modules that `bentoml` does not list, as users do not need them.
FOR_AUTHORS = {"framework"}
#: Headings of docstrings, as they are shown.
SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Class attributes": "Class attributes",
    "Raises": "Raises",
    "Returns": "Returns",
}
#: Wider signatures are written one parameter a line.
SIGNATURE_CHARS = 100


# -- Python ------------------------------------------------------------------------------------------------------------


def api() -> Iterator[str]:
    """Every public name: signature and docstring."""
    here = [name for name in bentoml.__all__ if not isinstance(getattr(bentoml, name), ModuleType)]
    yield "## bentoml\n"
    for name in here:
        yield from _entry(f"bentoml.{name}", getattr(bentoml, name))
    yield "## Frameworks\n"
    yield "The functions of every framework module; what a model may be stands with each module below.\n"
    for name in FRAMEWORK_FUNCTIONS:
        yield from _function(f"bentoml.FRAMEWORK.{name}", vars(Framework)[name], own=True)
    for name, module in public_modules().items():
        yield from _module(name, module)


def public_modules() -> dict[str, ModuleType]:
    """The public modules by name."""
    names = {name for name in bentoml.__all__ if isinstance(getattr(bentoml, name), ModuleType)}
    return {f"bentoml.{name}": importlib.import_module(f"bentoml.{name}") for name in sorted(names | FOR_AUTHORS)}


def _module(name: str, module: ModuleType) -> Iterator[str]:
    yield f"## {name}\n"
    yield from _doc(module)
    listed = {each: getattr(module, each) for each in module.__all__}
    shared = [each for each, value in listed.items() if _is_of_framework(value)]
    if shared:
        functions = ", ".join(f"`{name}.{each}`" for each in shared)
        yield f"{functions}: see [Frameworks](#frameworks).\n"
    for each in sorted(listed.keys() - set(shared), key=lambda each: (each.islower(), each)):
        yield from _entry(f"{name}.{each}", listed[each])


def _is_of_framework(value: Any) -> bool:
    return isinstance(getattr(value, "__self__", None), Framework)


def _entry(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _class(name, value)
    elif callable(value):
        yield from _function(name, value)
    else:
        yield f"### {name}\n"
        yield f"A {type(value).__name__}. {comment_of(name.rpartition('.')[2])}\n"


def comment_of(constant: str) -> str:
    """What stands above a constant of the package as a comment `#: …`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        found = re.search(rf"((?:^#: .*\n)+){constant}\b", path.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return " ".join(line.removeprefix("#: ") for line in found[1].splitlines())
    return ""


def _class(name: str, cls: type) -> Iterator[str]:
    yield f"### {name}\n"
    if issubclass(cls, Exception):
        status = f"; HTTP status {int(cls.error_code)}" if issubclass(cls, bentoml.exceptions.BentoMLException) else ""
        yield f"Derives from `{cls.__mro__[1].__name__}`{status}.\n"
    if cls.__module__ == "bentoml.config.tree":
        yield "Frozen; its fields are keys of the [configuration](configuration.md).\n"
    else:
        yield _signature(name.rpartition(".")[2], cls)
    yield from _doc(cls)
    for member in public_members(cls):
        if cls is Framework and member in FRAMEWORK_FUNCTIONS:
            continue
        value = inspect.getattr_static(cls, member)
        if isinstance(value, property):
            returned = inspect.signature(value.fget).return_annotation if value.fget else ""
            yield f"#### {name}.{member}\n"
            yield f"Property{f': `{_plain(returned)}`' if returned else ''}.\n"
            yield from _doc(value)
        elif isinstance(value, classmethod):
            yield from _function(f"{name}.{member}", value.__func__, level=4, own=True)
        elif isinstance(value, staticmethod):
            yield from _function(f"{name}.{member}", value.__func__, level=4)
        elif inspect.isfunction(value):
            yield from _function(f"{name}.{member}", value, level=4, own=True)
        elif hasattr(value, "_func"):  # belongs to the class, not to its instances
            yield from _function(f"{name}.{member}", value._func, level=4, own=value._bind)


def public_members(cls: type) -> list[str]:
    """The public methods and properties of a class, inherited ones of this package included, in their order."""
    found: dict[str, None] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("bentoml"):
            for name, value in vars(base).items():
                is_member = isinstance(value, (property, classmethod, staticmethod)) or inspect.isfunction(value)
                if not name.startswith("_") and (is_member or hasattr(value, "_func")):
                    found.setdefault(name)
    return list(found)


def _function(name: str, function: Callable[..., Any], *, level: int = 3, own: bool = False) -> Iterator[str]:
    """`own`: the first parameter is the instance or the class."""
    yield f"{'#' * level} {name}\n"
    yield _signature(name.rpartition(".")[2], function, own=own)
    yield from _doc(function)


def _signature(name: str, value: Any, *, own: bool = False) -> str:
    try:
        signature = inspect.signature(value)
    except ValueError:
        return ""
    parameters = [each for each in list(signature.parameters.values())[own:] if not each.name.startswith("_")]
    if [each.kind for each in parameters] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]:
        return ""
    parts: list[str] = []
    star = False
    for parameter in parameters:
        star = star or parameter.kind is parameter.VAR_POSITIONAL
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        parts.append(_parameter(parameter))
    given = signature.return_annotation
    returned = f" -> {_plain(given)}" if given is not signature.empty and not inspect.isclass(value) else ""
    line = f"{name}({', '.join(parts)}){returned}"
    if len(line) > SIGNATURE_CHARS:
        line = f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"
    return f"```text\n{line}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
    annotated = parameter.annotation is not parameter.empty
    if annotated:
        text += f": {_plain(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {_default(parameter.default)}" if annotated else f"={_default(parameter.default)}"
    return text


def _default(value: Any) -> str:
    if inspect.isclass(value):
        return str(value.__name__)
    return "…" if " at 0x" in repr(value) else repr(value)


def _plain(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:builtins|typing|collections\.abc)\.", "", text).strip("'")


def _doc(value: Any) -> Iterator[str]:
    doc = value.__doc__ if inspect.isclass(value) else inspect.getdoc(value)
    if doc:
        yield markdown_of(inspect.cleandoc(doc))


def markdown_of(doc: str) -> str:
    """A docstring as Markdown: its sections become lists, its indented drawings stay as they are."""
    out: list[str] = []
    in_section = False
    for line in doc.splitlines():
        heading = SECTIONS.get(line.removesuffix(":")) if line.endswith(":") else None
        if heading:
            in_section = True
            out += [*([""] if out and out[-1] else []), f"**{heading}**", ""]
        elif in_section and line.startswith("    "):
            entry = re.match(r" {4}(\S[^:]*): (.*)", line)
            is_more = line.startswith("     ")
            if entry and not is_more:
                out.append(f"- {_codes(entry[1])}: {entry[2]}")
            else:
                out.append(f"  {line.strip()}" if is_more else f"- {line.strip()}")
        else:
            in_section = in_section and not line.strip()
            out.append(line)
    return "\n".join(out).strip("\n") + "\n"


def _codes(names: str) -> str:
    """`a, b` as two pieces of code."""
    is_names = re.fullmatch(r"[\w., ]+", names) is not None
    return ", ".join(f"`{name.strip()}`" for name in names.split(",")) if is_names else names


# -- the command line --------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its full name, groups before what is in them."""

    def below(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for each in group.list_commands(context):
            command = group.get_command(context, each)
            assert command is not None
            yield f"{name} {each}", command
            if isinstance(command, click.Group):
                yield from below(command, f"{name} {each}")

    yield from below(cli, "bentoml")


def command_line() -> Iterator[str]:
    """Every command with its arguments and options."""
    common = {option.name: option for option in Command("x").params}
    yield "## Options of every command\n"
    yield from _options(common.values())
    for name, command in commands():
        context = click.Context(command, info_name=name)
        yield f"## {name}\n"
        yield f"```text\n{name} {' '.join(command.collect_usage_pieces(context))}\n```\n"
        yield re.sub(r"\x08\n((?:.+\n?)+)", _verbatim, inspect.cleandoc(command.help or "")).rstrip("\n") + "\n"
        own = [each for each in command.params if isinstance(each, click.Option) and each.name not in common]
        if own:
            yield from _options(own)


def _verbatim(block: re.Match[str]) -> str:
    return "".join(f"    {line}\n" for line in block[1].splitlines())


def _options(options: Iterable[click.Parameter]) -> Iterator[str]:
    rows = ["| option | value | variable | |", "| --- | --- | --- | --- |"]
    for option in options:
        assert isinstance(option, click.Option)
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts] if name.startswith("-"))
        value = "" if option.is_flag else _cell(option.make_metavar(click.Context(click.Command(""))))
        variable = f"`{option.envvar}`" if option.envvar else ""
        default = f" Default: `{option.default}`." if option.show_default else ""
        rows.append(f"| {names} | {value} | {variable} | {_cell(option.help or '')}{default} |")
    yield "\n".join(rows) + "\n"


# -- configuration -----------------------------------------------------------------------------------------------------


def configuration() -> Iterator[str]:
    """Every key, the names of the past, and the keys of BentoML without an effect."""
    rows = ["| key | type | default | |", "| --- | --- | --- | --- |"]
    for key in explain.all_keys():
        limits = f", {key.limits}" if key.limits else ""
        default = json.dumps(key.default, ensure_ascii=False)
        rows.append(f"| `{key.name}` | {_cell(key.type + limits)} | `{default}` | {_cell(key.description)} |")
    yield "\n".join(rows) + "\n"
    yield "## Names of the past\n"
    yield "They are taken, with a warning.\n"
    renamed = [f"| `{before}` | `{now}` |" for before, now in sources.RENAMED.items()]
    yield "\n".join(["| before | now |", "| --- | --- |", *renamed]) + "\n"
    yield "## Keys of BentoML without an effect\n"
    yield "They are taken, with a warning.\n"
    without = [f"| `{key}` | {reason} |" for key, reason in check.WITHOUT_EFFECT.items()]
    yield "\n".join(["| key | because |", "| --- | --- |", *without]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


# -- the tree ----------------------------------------------------------------------------------------------------------


def tree() -> Iterator[str]:
    """Every file of the package with the first line of its docstring."""
    lines = []
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    for folder in sorted(folders, key=lambda folder: folder.relative_to(PACKAGE).parts):
        depth = len(folder.relative_to(PACKAGE).parts)
        if folder != PACKAGE:
            lines.append(f"{'  ' * (depth - 1)}{folder.name}/")
        for path in sorted(folder.glob("*.py")):
            lines.append(f"{'  ' * depth}{path.name:<{24 - 2 * depth}} {_first_line(path)}")
    yield "```text\n" + "\n".join(lines) + "\n```\n"


def _first_line(path: Path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.partition("\n")[0].removesuffix(".")


# -- pages -------------------------------------------------------------------------------------------------------------

PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "docs/design.md": tree,
    "docs/reference/api.md": api,
    "docs/reference/cli.md": command_line,
    "docs/reference/configuration.md": configuration,
}


def renewed(page: str) -> tuple[str, str]:
    """The text of a page as it is, and as it should be."""
    text = (ROOT / page).read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{page} lacks the marks between which it is written"
    written = "\n".join(part for part in PAGES[page]() if part)
    return text, f"{before}{BEGIN}\n{written}\n{END}{after}"


def main(*, only_check: bool) -> int:
    stale = []
    for page in PAGES:
        now, wanted = renewed(page)
        if now != wanted:
            stale.append(page)
            if not only_check:
                (ROOT / page).write_text(wanted, encoding="utf-8")
    for page in stale:
        print(f"{page} {'is not up to date: run `python scripts/reference.py`' if only_check else 'written'}")
    return 1 if only_check and stale else 0


if __name__ == "__main__":
    sys.exit(main(only_check="--check" in sys.argv[1:]))
