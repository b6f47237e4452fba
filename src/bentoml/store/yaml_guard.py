"""A look at a foreign YAML file before it is read: how deep it is nested, and how much it grows when it is expanded.

The readers of YAML build their result recursively, in C: a file of 200 kB of brackets overflows the stack and ends the
process. And a few aliases of aliases ("billion laughs") become terabytes as soon as someone prints the record.
"""

from __future__ import annotations

from pathlib import Path

from bentoml.exceptions import BentoMLException

__all__ = ["require_harmless_yaml"]

#: Records are nested five or six deep; metadata of users a few more.
MAX_DEPTH = 64
#: Values in the record, repeated by aliases or not. Metadata with a million numbers is a mistake already.
MAX_VALUES = 1_000_000
MAX_BYTES = 16 << 20


def require_harmless_yaml(path: Path) -> None:
    """Refuse a record that would harm its reader.

    Raises:
        BentoMLException: it is too large, too deep, grows too much, or is not YAML; names the file.
    """
    import yaml

    if path.stat().st_size > MAX_BYTES:
        raise BentoMLException(f"{path.name} has more than {MAX_BYTES} bytes; it is refused")
    grown: dict[str | None, int] = {}  # anchor → values in it, aliases expanded
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # anchor and values so far
    try:
        for event in yaml.parse(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, 1))
                if len(open_nodes) > MAX_DEPTH:
                    raise BentoMLException(f"{path.name} is nested deeper than {MAX_DEPTH}; it is refused")
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, values = open_nodes.pop()
            elif isinstance(event, yaml.AliasEvent):
                # An alias of a node that is still open is a value that contains itself.
                anchor, values = None, grown.get(event.anchor, MAX_VALUES + 1)
            elif isinstance(event, yaml.ScalarEvent):
                anchor, values = event.anchor, 1
            else:
                continue
            if anchor is not None:
                grown[anchor] = values
            parent, so_far = open_nodes[-1]
            open_nodes[-1] = (parent, so_far + values)
            if so_far + values > MAX_VALUES:
                raise BentoMLException(f"{path.name} holds more than {MAX_VALUES} values; it is refused")
    except yaml.YAMLError as error:
        raise BentoMLException(f"{path.name} is not YAML: {error}") from error
