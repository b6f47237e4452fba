"""joined(): putting the schemas of several descriptors into one document, in which each name means one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["joined"]

SCHEMAS = "#/components/schemas/"


def joined(schemas: dict[str, Any], components: Mapping[str, Any], content: Any) -> Any:
    """Add the components of a descriptor to `schemas`; its content, with the names that they have there.

    Two modules may each have a model `Input`. The second one becomes `Input_2`; what it is made of is numbered too.
    """
    number = 1
    while True:
        names = {name: name if number == 1 else f"{name}_{number}" for name in components}
        added = {names[name]: _renamed(schema, names) for name, schema in components.items()}
        if all(schemas.get(name, schema) == schema for name, schema in added.items()):
            schemas.update(added)
            return _renamed(content, names)
        number += 1


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, names) for value in node]
    if isinstance(node, str) and node.startswith(SCHEMAS):
        name = node.removeprefix(SCHEMAS)
        return SCHEMAS + names.get(name, name)
    return node
