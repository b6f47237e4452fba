"""Features: the extras of this package that an image gets on top of what its bento asks for."""

from __future__ import annotations

from collections.abc import Iterable

from bentoml.exceptions import InvalidArgument

__all__ = ["EXTRAS", "extras_of"]

#: Feature, ours or one of BentoML 1.x → extras of this package.
EXTRAS: dict[str, tuple[str, ...]] = {
    "all": ("arrow", "client", "image", "numpy", "pandas", "pydantic", "tracing"),
    "arrow": ("arrow",),
    "client": ("client",),
    "image": ("image",),
    "io": ("arrow", "image", "numpy", "pandas", "pydantic"),
    "io-file": (),
    "io-image": ("image",),
    "io-json": ("pydantic",),
    "io-pandas": ("arrow", "pandas"),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "pydantic": ("pydantic",),
    "tracing": ("tracing",),
    "tracing-otlp": ("tracing",),
}


def extras_of(features: Iterable[str]) -> list[str]:
    """The extras behind these features; `"a,b"` are two of them.

    Raises:
        InvalidArgument: there is no such feature.
    """
    asked = [name.strip() for text in features for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in EXTRAS:
            raise InvalidArgument(f"there is no feature {name!r}", hint=f"there are {', '.join(EXTRAS)}")
    return sorted({extra for name in asked for extra in EXTRAS[name]})
