"""Tag: the name and version of a model or a bento; the one parser through which every name of a stored item goes.

A name or a version is 1 to 63 characters of `a-z 0-9 . _ -`, beginning and ending with a letter or a digit. That makes
it safe as the name of a folder: it holds no separator and is never `.` or `..`.
"""

from __future__ import annotations

import base64
import functools
import logging
import re
import uuid

from bentoml.exceptions import BentoMLException

__all__ = ["Tag", "validate_part"]

_PART = re.compile(r"[a-z0-9](?:[-._a-z0-9]*[a-z0-9])?\Z")
#: The limit of a DNS label, so that a tag can name a Kubernetes object or a container image.
MAX_PART_CHARS = 63

logger = logging.getLogger(__name__)


def validate_part(part: str, kind: str) -> str:
    """Return `part` in lower case if it can be the `kind`: "name of a tag", "name of a runner", …

    Raises:
        ValueError: it cannot; the message names the part, the kind and the rule.
    """
    if not isinstance(part, str):
        raise ValueError(f"the {kind} must be a string, not {type(part).__name__}")
    lowered = part.lower()
    if len(lowered) > MAX_PART_CHARS:
        raise ValueError(
            f"{lowered!r} cannot be the {kind}: it has {len(lowered)} characters, at most {MAX_PART_CHARS} are allowed"
        )
    if not _PART.match(lowered):
        raise ValueError(
            f"{part!r} cannot be the {kind}: use letters, digits, '.', '_' and '-', "
            "beginning and ending with a letter or a digit"
        )
    if lowered != part:
        logger.warning("converting the %s %s to lowercase: %s", kind, part, lowered)
    return lowered


@functools.total_ordering
class Tag:
    """`name:version`, or `name` alone; ordered by name, then version, and hashable.

    Args:
        name: lower-cased with a warning.
        version: None means "no version named"; `"latest"` is resolved by the store.

    Raises:
        ValueError: name or version break the rule above.
    """

    __slots__ = ("name", "version")

    name: str
    version: str | None

    def __init__(self, name: str, version: str | None = None) -> None:
        self.name = validate_part(name, "name of a tag")
        self.version = None if version is None else validate_part(version, "version of a tag")

    @classmethod
    def from_str(cls, text: str) -> Tag:
        """Parse `"name"` or `"name:version"`.

        Raises:
            BentoMLException: the text has a colon and a part is bad or missing.
            ValueError: the text has no colon and is not a name.
        """
        name, colon, version = text.partition(":")
        if not colon:
            return cls(name)
        if not version:
            raise BentoMLException(f"the tag {text!r} has no version after its colon", hint=f"use {name}:latest")
        try:
            return cls(name, version)
        except ValueError as error:
            raise BentoMLException(f"{text!r} is not a tag: {error}") from error

    @classmethod
    def from_taglike(cls, taglike: Tag | str) -> Tag:
        """The tag itself if it is one already, else what `from_str` makes of it."""
        return taglike if isinstance(taglike, Tag) else cls.from_str(taglike)

    def make_new_version(self) -> Tag:
        """A tag of the same name with a fresh version: 16 characters of `a-z 2-7`, of time and machine.

        Raises:
            ValueError: this tag has a version already.
        """
        if self.version is not None:
            raise ValueError(f"{self} has a version already")
        stamp = uuid.uuid1().bytes
        # The clock's high bytes barely change; time_low, time_mid and clock_seq + node tell two saves apart.
        return Tag(self.name, base64.b32encode(stamp[:6] + stamp[8:12]).decode().lower())

    def path(self) -> str:
        """`name/version`, relative to a store.

        Raises:
            ValueError: the tag has no version.
        """
        if self.version is None:
            raise ValueError(f"{self} has no version, so it has no folder")
        return f"{self.name}/{self.version}"

    def latest_path(self) -> str:
        """`name/latest`: the text file that holds the newest version."""
        return f"{self.name}/latest"

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}:{self.version}"

    def __repr__(self) -> str:
        return f"Tag(name={self.name!r}, version={self.version!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag) and (self.name, self.version) == (other.name, other.version)

    def __lt__(self, other: Tag) -> bool:
        return (self.name, self.version or "") < (other.name, other.version or "")

    def __hash__(self) -> int:
        return hash((self.name, self.version))
