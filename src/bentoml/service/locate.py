"""What an identifier names: a module to import, or a bento. Decided without importing anything of the user's.

Tag, Bento                                ─► the bento
folder with a bento.yaml                  ─► the bento in it
folder with a bentofile.yaml or service.py ─► the module that it names
text                                      ─► the module, if there is one of that name; else the bento of that tag
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bentoml.exceptions import BentoMLException, NotFound
from bentoml.service.project import aliases_in, bentofile_in, fields_of
from bentoml.store.bento import Bento, get_bento, is_bento, open_bento
from bentoml.tag import Tag

__all__ = ["Located", "bento_named", "has_module", "locate", "located_below", "located_in", "stored_bento"]


class Located(NamedTuple):
    """Where a service is.

    Attributes:
        root: the folder in which its modules are looked up.
        import_string: `module:variable`, `file.py:variable`, or one of them without the variable.
        bento: the bento that it belongs to.
        aliases: alias → tag, of the bentofile of a project.
    """

    root: Path
    import_string: str
    bento: Bento | None = None
    aliases: Mapping[str, str] = {}


def locate(identifier: str | os.PathLike[str] | Tag | Bento, working_dir: str | None = None) -> Located:
    """What `identifier` names.

    Args:
        working_dir: where modules and paths are looked up; by default the current folder, or the folder named. A bento
            brings its own.

    Raises:
        BentoMLException: a folder holds no service, or a tag names no bento.
    """
    if isinstance(identifier, Bento):
        return located_in(identifier)
    if isinstance(identifier, Tag):
        return located_in(get_bento(identifier))
    text = os.fspath(identifier)
    bento = bento_named(text, working_dir)
    if bento is not None:
        return located_in(bento)
    root = Path(working_dir or ".").resolve()
    folder = root / os.path.expanduser(text)
    if folder.is_dir():
        found = located_below(folder.resolve())
        return found if working_dir is None else found._replace(root=root)
    return Located(root, text)


def bento_named(text: str, working_dir: str | None = None) -> Bento | None:
    """The bento that `text` names: its folder, or a tag that is not the name of a module as well."""
    root = Path(working_dir or ".").resolve()
    folder = root / os.path.expanduser(text)
    if folder.is_dir():
        return open_bento(folder.resolve()) if is_bento(folder) else None
    return None if has_module(text, root) else stored_bento(text)


def located_in(bento: Bento) -> Located:
    """The service of a bento."""
    return Located(Path(bento.path) / "src", bento.info.service, bento)


def stored_bento(text: str) -> Bento | None:
    """The bento of the store that `text` is the tag of."""
    try:
        # What would only become a tag by changing its case was never meant as one.
        tag = Tag.from_str(text) if text == text.lower() else None
    except (BentoMLException, ValueError):
        return None
    with contextlib.suppress(NotFound):
        return get_bento(tag) if tag is not None else None
    return None


def has_module(import_string: str, root: Path) -> bool:
    """Whether there is something to import: a file, or a module on the path; nothing is run to find that out."""
    target = import_string.partition(":")[0]
    if target.endswith(".py") or os.sep in target:
        return True  # a path: if it is not there, that is the error
    first = target.partition(".")[0]
    if not first.isidentifier():
        return False
    if (root / f"{first}.py").is_file() or (root / first).is_dir() or first in sys.modules:
        return True
    try:
        return importlib.util.find_spec(first) is not None
    except (ImportError, ValueError):
        return False


def located_below(folder: Path) -> Located:
    """The service of the project in `folder`: that of its bentofile, else its service.py.

    Raises:
        BentoMLException: it has neither.
    """
    bentofile = bentofile_in(folder)
    if bentofile is not None:
        fields = fields_of(bentofile)
        named = fields.get("service") if isinstance(fields, Mapping) else None
        if not isinstance(named, str) or not named:
            raise BentoMLException(f"{bentofile} has no key `service`", hint='service: "service.py:svc"')
        return Located(folder, named, aliases=aliases_in(fields))
    if (folder / "service.py").is_file():
        return Located(folder, "service.py")
    raise BentoMLException(
        f"the folder {folder} holds neither a bentofile.yaml nor a service.py",
        hint="name the service: bentoml serve module:svc",
    )
