"""Section: the base of every section of the configuration; and the types that many of them use."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

__all__ = ["MASK", "PositiveInt", "PositiveSeconds", "Section"]

#: What is shown in place of a secret.
MASK = "********"

PositiveInt = Annotated[int, Meta(gt=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: frozen, and a misspelt key is an error.

    A rule that holds between several keys is a ValueError of `__post_init__`; whoever reads the section adds the key
    and its origin.

    Class attributes:
        SECRETS: fields whose values are shown to nobody.
    """

    SECRETS: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = [
            f"{name}={MASK if name in self.SECRETS and value else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
        ]
        return f"{type(self).__name__}({', '.join(shown)})"
