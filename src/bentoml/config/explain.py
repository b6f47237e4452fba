"""The configuration's keys as a flat list: what each does, its type, its limits and its default, read from the tree."""

from __future__ import annotations

import difflib
import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import inspect

from bentoml.config.section import Section
from bentoml.config.sources import RENAMED
from bentoml.config.tree import Config
from bentoml.exceptions import BentoMLConfigException

__all__ = ["Key", "all_keys", "below", "is_text", "secrets"]


class Key(NamedTuple):
    """One key.

    Attributes:
        name: dotted, for instance `api_server.http.port`.
        type: in words, for instance `integer or null`.
        limits: in words, for instance `from 0 to 65535`; empty where there are none.
        default: a plain value.
        description: what it does.
    """

    name: str
    type: str
    limits: str
    default: Any
    description: str


@functools.cache
def all_keys() -> tuple[Key, ...]:
    """All keys, in the order of the tree. Those of `runners` hold for a single runner as well, below its name."""
    return tuple(_walk(inspect.type_info(Config), ""))


@functools.cache
def secrets() -> frozenset[str]:
    """The keys whose values are shown to nobody."""
    return frozenset(_secrets(inspect.type_info(Config), ""))


def is_text(name: str) -> bool:
    """Whether the key, or the item `key[0]` of its list, is text and never a number or a boolean."""
    name = name.partition("[")[0]
    return any(key.name == name and not re.search("integer|number|boolean|anything", key.type) for key in all_keys())


def below(name: str) -> list[Key]:
    """The key `name`, or the keys of the section `name`; a runner's own section, and names of the past, included.

    Raises:
        BentoMLConfigException: there is no such key; the hint names one that is alike.
    """
    name = RENAMED.get(name, name)
    found = _named(name)
    if not found and name.startswith("runners."):
        # What holds for all runners holds for one of them.
        runner, _, rest = name.removeprefix("runners.").partition(".")
        of_all = f"runners.{rest}".rstrip(".")
        found = [key._replace(name=key.name.replace("runners", f"runners.{runner}", 1)) for key in _named(of_all)]
    if not found:
        raise BentoMLConfigException(f"there is no configuration key {name!r}", hint=_suggestion(name))
    return found


def _suggestion(name: str) -> str:
    known = list(dict.fromkeys(prefix for key in all_keys() for prefix in _prefixes(key.name)))
    last_parts = {prefix.rpartition(".")[2]: prefix for prefix in reversed(known)}
    whole = difflib.get_close_matches(name, known, n=1)
    part = difflib.get_close_matches(name.rpartition(".")[2], last_parts, n=1)
    if whole or part:
        return f"did you mean {whole[0] if whole else last_parts[part[0]]}?"
    return "`bentoml config` lists them all"


def _prefixes(name: str) -> list[str]:
    """`a`, `a.b`, `a.b.c`."""
    return list(itertools.accumulate(name.split("."), "{}.{}".format))


def _named(name: str) -> list[Key]:
    return [key for key in all_keys() if f"{key.name}.".startswith(f"{name}.")]


def _walk(kind: inspect.Type, prefix: str) -> Iterator[Key]:
    assert isinstance(kind, inspect.StructType)
    for field in kind.fields:
        name = f"{prefix}.{field.encode_name}".lstrip(".")
        if isinstance(field.type, inspect.StructType):
            yield from _walk(field.type, name)
        else:
            plain, description = _unwrapped(field.type)
            yield Key(name, _type_of(plain), _limits_of(plain), field.default, description)


def _secrets(kind: inspect.Type, prefix: str) -> Iterator[str]:
    assert isinstance(kind, inspect.StructType)
    for field in kind.fields:
        name = f"{prefix}.{field.encode_name}".lstrip(".")
        if isinstance(field.type, inspect.StructType):
            yield from _secrets(field.type, name)
        elif issubclass(kind.cls, Section) and field.name in kind.cls.SECRETS:
            yield name


def _unwrapped(kind: inspect.Type) -> tuple[inspect.Type, str]:
    if isinstance(kind, inspect.Metadata):
        return kind.type, (kind.extra_json_schema or {}).get("description", "")
    return kind, ""


_WORDS = {
    inspect.AnyType: "anything",
    inspect.BoolType: "boolean",
    inspect.FloatType: "number",
    inspect.IntType: "integer",
    inspect.NoneType: "null",
    inspect.StrType: "text",
}


def _type_of(kind: inspect.Type) -> str:
    kind, _ = _unwrapped(kind)
    if isinstance(kind, inspect.UnionType):
        return _either([_type_of(member) for member in kind.types])
    if isinstance(kind, inspect.LiteralType):
        return _either([str(value) for value in kind.values])
    if isinstance(kind, inspect.ListType):
        return f"list of {_type_of(kind.item_type)}s"
    if isinstance(kind, inspect.DictType):
        return f"map of {_type_of(kind.key_type)} to {_type_of(kind.value_type)}"
    return _WORDS[type(kind)]


def _limits_of(kind: inspect.Type) -> str:
    kind, _ = _unwrapped(kind)
    if isinstance(kind, inspect.UnionType):
        return ", ".join(filter(None, map(_limits_of, kind.types)))
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        bounds = {"above": kind.gt, "at least": kind.ge, "below": kind.lt, "at most": kind.le}
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    if isinstance(kind, inspect.StrType) and kind.pattern is not None:
        return f"matches {kind.pattern}"
    return ""


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
