"""The models that this process sees: those of the bento that it serves, before those of `$BENTOML_HOME`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bentoml.exceptions import NotFound
from bentoml.store.bento import Bento
from bentoml.store.local import LocalStore
from bentoml.store.model import model_store
from bentoml.tag import Tag

__all__ = ["find", "inside", "list_all"]

#: The bento whose service is being imported or served. A process serves one; the importing of others ends before.
_bento: Bento | None = None


@contextlib.contextmanager
def inside(bento: Bento | None, *, keep: bool) -> Iterator[None]:
    """Within the block, and after it if `keep`, the models of `bento` are seen first; None: of no bento."""
    global _bento
    before, _bento = _bento, bento
    try:
        yield
    finally:
        if not keep:
            _bento = before


def find(tag: Tag | str) -> tuple[LocalStore, Tag]:
    """The store that has the model, and its full tag. Text that is an alias of the bento stands for that model.

    Raises:
        NotFound: no store has it.
        BentoMLException: several versions begin like that.
    """
    if _bento is None:
        store = model_store()
        return store, store.resolve(tag)
    if isinstance(tag, str):
        tag = _bento.info.aliases.get(tag, tag)
    carried = _bento.model_store
    with contextlib.suppress(NotFound):
        return carried, carried.resolve(tag)
    try:
        store = model_store()
        return store, store.resolve(tag)
    except NotFound as error:
        raise NotFound(
            f"{error.message}, and none in the bento {_bento.tag}",
            hint="build the bento again: the models of its service's runners are carried along, and so are those "
            "that the key `models` of the bentofile names",
        ) from None


def list_all(tag: Tag | str | None = None) -> list[tuple[LocalStore, Tag]]:
    """The models that `LocalStore.list` finds, each with its store, by name and version.

    Raises:
        NotFound: `tag` is a name that no model has.
    """
    store = model_store()
    if _bento is None:
        return [(store, found) for found in store.list(tag)]
    carried = _bento.model_store
    found: dict[Tag, LocalStore] = {}
    with contextlib.suppress(NotFound):
        found = dict.fromkeys(carried.list(tag), carried)
    try:
        elsewhere = dict.fromkeys(store.list(tag), store)
    except NotFound:
        if not found:
            raise
        elsewhere = {}
    return [(where, each) for each, where in sorted({**elsewhere, **found}.items(), key=lambda item: item[0])]
