"""Components: schemas and the like of several origins in one OpenAPI document, renamed where their names collide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["Components", "renamed"]

_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]")


class Components:
    """The `components` of a document.

    Args:
        kinds: what is there from the start: kind, such as `schemas`, → name → component.
    """

    def __init__(self, kinds: Mapping[str, Mapping[str, Any]]) -> None:
        self.kinds = {kind: dict(components) for kind, components in kinds.items()}

    def add(self, kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Take in components that refer to each other; the references that have changed, each with its new form.

        Two modules may each have a model `Input`. The second one becomes `Input_2`, and so does what refers to it and
        would otherwise be mistaken for something of its name. Equal components are one.
        """
        given = {_reference(kind, name): (kind, name) for kind, named in kinds.items() for name in named}
        numbers = dict.fromkeys(given, 1)
        while True:
            names = {old: _numbered(given[old][1], number) for old, number in numbers.items()}
            changed = {old: new for old, (kind, _) in given.items() if (new := _reference(kind, names[old])) != old}
            taken: dict[tuple[str, str], str] = {}
            collisions = []
            for old, (kind, name) in given.items():
                mine = renamed(kinds[kind][name], changed)
                is_other = self.kinds.get(kind, {}).get(names[old], mine) != mine
                if is_other or taken.setdefault((kind, names[old]), old) != old:
                    collisions.append(old)
            if not collisions:
                break
            for old in collisions:
                numbers[old] += 1
        for old, (kind, name) in given.items():
            self.kinds.setdefault(kind, {})[names[old]] = renamed(kinds[kind][name], changed)
        return changed


def renamed(node: Any, references: Mapping[str, str]) -> Any:
    """A copy of a part of a document, with other references."""
    if isinstance(node, dict):
        return {key: renamed(value, references) for key, value in node.items()}
    if isinstance(node, list):
        return [renamed(value, references) for value in node]
    return references.get(node, node) if isinstance(node, str) else node


def _reference(kind: str, name: str) -> str:
    return f"#/components/{kind}/{name}"


def _numbered(name: str, number: int) -> str:
    allowed = _FORBIDDEN.sub("_", name)
    return allowed if number == 1 else f"{allowed}_{number}"
