"""The models that this process sees: those of the bento that it serves, before those of `$BENTOML_HOME`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bentoml.exceptions import NotFound
from bentoml.store.bento import Bento
from bentoml.store.local import LocalStore
from bentoml.store.model import model_store
from bentoml.tag import Tag

__all__ = ["asked_for", "find", "inside", "list_all"]


class _Scope(NamedTuple):
    bento: Bento | None
    aliases: Mapping[str, Tag | str]


#: Of the service that is being imported or served. A process serves one; the importing of others ends before.
_scope = _Scope(None, {})
#: The models that code of this process has asked for.
_asked: set[Tag] = set()


@contextlib.contextmanager
def inside(bento: Bento | None, *, aliases: Mapping[str, str] | None = None, keep: bool) -> Iterator[None]:
    """Within the block, and after it if `keep`, the models of `bento` are seen first, and models have further names.

    Args:
        aliases: alias → tag; those of the bento come on top.
    """
    global _scope
    before = _scope
    of_bento = bento.info.aliases if bento is not None else {}
    _scope = _Scope(bento, {**before.aliases, **(aliases or {}), **of_bento})
    try:
        yield
    finally:
        if not keep:
            _scope = before


def asked_for() -> frozenset[Tag]:
    """The models that code of this process has asked for so far."""
    return frozenset(_asked)


def find(tag: Tag | str) -> tuple[LocalStore, Tag]:
    """The store that has the model, and its full tag. Text that is an alias stands for its model.

    Raises:
        NotFound: no store has it.
        BentoMLException: several versions begin like that.
    """
    found = _find(_scope.aliases.get(tag, tag) if isinstance(tag, str) else tag)
    _asked.add(found[1])
    return found


def _find(tag: Tag | str) -> tuple[LocalStore, Tag]:
    store, bento = model_store(), _scope.bento
    if bento is None:
        return store, store.resolve(tag)
    with contextlib.suppress(NotFound):
        return bento.model_store, bento.model_store.resolve(tag)
    try:
        return store, store.resolve(tag)
    except NotFound as error:
        raise NotFound(
            f"{error.message}, and none in the bento {bento.tag}",
            hint="build the bento again: the models of its service's runners are carried along, and so are those "
            "that the key `models` of the bentofile names",
        ) from None


def list_all(tag: Tag | str | None = None) -> list[tuple[LocalStore, Tag]]:
    """The models that `LocalStore.list` finds, each with its store, by name and version.

    Raises:
        NotFound: `tag` is a name that no model has.
    """
    store = model_store()
    if _scope.bento is None:
        return [(store, found) for found in store.list(tag)]
    carried = _scope.bento.model_store
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
