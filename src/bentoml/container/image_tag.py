"""Names of images: what every registry takes for one."""

from __future__ import annotations

import re

from bentoml.exceptions import InvalidArgument

__all__ = ["require_image_tag"]

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+(?=:[0-9]))(?::[0-9]{1,5})?"
_IMAGE = re.compile(rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*))?")
MAX_TAG_CHARS = 128


def require_image_tag(name: str) -> str:
    """The name, if it is one that an image can have.

    Raises:
        InvalidArgument: it is not; says which rule it breaks.
    """
    found = _IMAGE.fullmatch(name)
    if found is None:
        raise InvalidArgument(
            f"{name!r} cannot be the tag of an image: it is [HOST[:PORT]/]NAME[:TAG], NAME of lower-case letters and "
            "digits, with single separators ('.', '_', '-', '/') between them",
            hint="name another one with --image-tag",
        )
    if found["tag"] and len(found["tag"]) > MAX_TAG_CHARS:
        raise InvalidArgument(f"{name!r} cannot be the tag of an image: more than {MAX_TAG_CHARS} characters")
    return name
