"""Records as YAML files: block style, keys in their order, text that every reader gives back unchanged."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bentoml.exceptions import BentoMLException

__all__ = ["read_mapping", "yaml_text"]


def yaml_text(fields: Any) -> str:
    """Plain values as YAML."""
    import yaml  # takes longer to import than all of the store

    # No line is folded: a long text stays greppable, and every YAML reader gives it back unchanged.
    class Dumper(yaml.SafeDumper):
        """Quotes text with rare line breaks, which PyYAML would write plain and read back as a space."""

        def represent_str(self, data: str) -> yaml.ScalarNode:
            style = '"' if any(mark in data for mark in "\x85\u2028\u2029") else None
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, Dumper.represent_str)
    text: str = yaml.dump(fields, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize)
    return text


def read_mapping(path: Path, *, kind: str) -> Mapping[Any, Any]:
    """What the YAML file at `path`, the record of a `kind`, says.

    Raises:
        BentoMLException: the file is missing, is not YAML or holds no mapping.
    """
    try:
        fields = msgspec.yaml.decode(path.read_bytes())
    except OSError as error:
        raise BentoMLException(
            f"{path.parent} is not a {kind}: {path.name} cannot be read ({error.strerror})"
        ) from error
    except msgspec.DecodeError as error:
        raise BentoMLException(f"{path} is not YAML: {error}") from error
    if not isinstance(fields, Mapping):
        raise BentoMLException(f"{path} must hold a mapping, not {type(fields).__name__}")
    return fields
