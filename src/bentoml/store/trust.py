"""Which files of an imported item may hold code: everything but the formats known to be data alone.

A list of dangerous formats is never complete (pickle hides in joblib, in zip files of PyTorch, in NumPy object arrays,
in whatever comes next), so the list here is of harmless ones; an unknown file asks for trust.
"""

from __future__ import annotations

import os
from pathlib import Path

from bentoml.exceptions import BentoMLException
from bentoml.store.digests import SUMS_FILE, files_of

__all__ = ["files_that_may_hold_code", "require_trust"]

#: Formats whose readers build numbers, text, trees or images, and never call what the file names.
_DATA_SUFFIXES = (
    *(".csv", ".json", ".jsonl", ".md", ".rst", ".tsv", ".txt", ".yaml", ".yml"),
    *(".cbm", ".onnx", ".safetensors", ".ubj"),
    *(".jpeg", ".jpg", ".png"),
)
_DATA_NAMES = frozenset({SUMS_FILE, "LICENSE", "NOTICE", "README"})
#: How a pickle of protocol 2 and up begins (protocols end at 5 today), and the archives that carry one inside.
_PICKLE_PROTOCOLS = tuple(bytes((0x80, protocol)) for protocol in range(2, 16))
_CONTAINERS = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x93NUMPY")
_SHOWN = 5


def files_that_may_hold_code(folder: Path) -> list[str]:
    """The files below `folder` that are not known to be data alone, by name and by their first bytes; sorted."""
    return sorted(name for name, entry in files_of(folder) if not _is_data(name, entry.path))


def require_trust(folder: Path, module: str, *, what: str) -> None:
    """Refuse an unpacked item that runs foreign code when it is loaded.

    Args:
        module: the module that its record names; importing one that is not ours runs whatever lies on the path.
        what: the archive, for the message.

    Raises:
        BentoMLException: names the files, and how to say that their origin is trusted.
    """
    reasons = []
    files = files_that_may_hold_code(folder)
    if files:
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        reasons.append(f"loading it may run code from {', '.join(map(repr, files[:_SHOWN]))}{more}")
    if module and not module.startswith("bentoml."):
        reasons.append(f"it is loaded by the module {module!r}")
    if reasons:
        raise BentoMLException(
            f"{what} is not imported: {', and '.join(reasons)}",
            hint="if you trust where it comes from, import it with `--trust` (trust=True in Python)",
        )


def _is_data(name: str, path: str) -> bool:
    base = os.path.basename(name)
    if base not in _DATA_NAMES and os.path.splitext(base)[1].lower() not in _DATA_SUFFIXES:
        return False
    with open(path, "rb") as file:
        head = file.read(8)
    return not head.startswith((*_PICKLE_PROTOCOLS, *_CONTAINERS))
