"""Bento: one item of the bento store: a service with its models, its environment and its documents in one folder."""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from bentoml import config
from bentoml.exceptions import BentoMLException
from bentoml.store import digests
from bentoml.store.bento_record import BENTO_FILE, BentoInfo
from bentoml.store.item import Item
from bentoml.store.local import LocalStore
from bentoml.store.model import Model, open_model
from bentoml.store.record import MODEL_FILE
from bentoml.tag import Tag

__all__ = ["Bento", "bento_store", "get_bento", "is_bento", "needed_by", "open_bento", "unpacked"]


def bento_store() -> LocalStore:
    """The bento store of `$BENTOML_HOME`."""
    return LocalStore(config.home() / "bentos", kind="bento", record_file=BENTO_FILE)


class Bento(Item):
    """A bento: its record and its files. Two are equal when their tags are.

    Comes from `bentoml.bentos.build`, `get` and `list`.

    Attributes:
        tag: name and version.
    """

    native = "bento"
    _info: BentoInfo | None

    def __init__(self) -> None:
        raise BentoMLException(
            "a Bento cannot be made directly", hint="use bentoml.bentos.build, bentoml.bentos.get or import_bento"
        )

    @property
    def info(self) -> BentoInfo:
        """The record `bento.yaml`, read at the first use.

        Raises:
            BentoMLException: the file is missing or is not the record of this bento.
        """
        if self._info is None:
            info = BentoInfo.read(self._folder)
            if info.tag != self.tag:
                raise BentoMLException(
                    f"{self._folder / BENTO_FILE} is the record of {info.tag}, not of {self.tag}",
                    hint="a bento is copied with `bentoml export` and `import`",
                )
            self._info = info
        return self._info

    @property
    def creation_time(self) -> datetime.datetime:
        """When it was built, in UTC."""
        return self.info.creation_time

    @property
    def doc(self) -> str:
        """The text of its README.md; empty where it has none."""
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "README.md").read_text(encoding="utf-8")
        return ""

    @property
    def model_store(self) -> LocalStore:
        """The store of the models that it carries."""
        return LocalStore(self._folder / "models", kind="model", record_file=MODEL_FILE)

    @property
    def models(self) -> list[Model]:
        """The models that it carries. A bento of BentoML names models of the model store instead: see `info.models`."""
        store = self.model_store
        return [open_model(tag, store.root / tag.path()) for tag in store.list()]

    def total_size(self) -> int:
        """Bytes of all its files and of those models of the model store that it needs and does not carry."""
        carried = set(self.model_store.list())
        elsewhere = [config.home() / "models" / model.tag.path() for model in self.info.models]
        missing = [folder for folder in elsewhere if Tag(folder.parent.name, folder.name) not in carried]
        return self.file_size + sum(
            entry.stat().st_size for folder in missing if folder.is_dir() for _, entry in digests.files_of(folder)
        )

    def save(self) -> Bento:
        """Copy it into the bento store, if it lies elsewhere; the bento there.

        Raises:
            BentoMLException: the store has this tag already, or cannot be written.
        """
        if self._folder == bento_store().root / self.tag.path():
            return self
        return self.import_from(self._folder, trust=True)

    @classmethod
    def _home_store(cls) -> LocalStore:
        return bento_store()

    @classmethod
    def _recorded_in(cls, folder: Path) -> Bento:
        return open_bento(folder)

    def __repr__(self) -> str:
        return str(self)


def get_bento(tag: Tag | str, store: LocalStore | None = None) -> Bento:
    """One bento of the store, its record read.

    Raises:
        NotFound: there is no such bento.
        BentoMLException: several versions begin like that, or the record cannot be read.
    """
    store = store or bento_store()
    found = store.resolve(tag)
    bento = open_bento(store.root / found.path(), tag=found)
    _ = bento.info  # a record that cannot be read is an error here
    return bento


def is_bento(folder: Path) -> bool:
    """Whether there is a bento in the folder."""
    return (folder / BENTO_FILE).is_file()


def open_bento(folder: Path, *, tag: Tag | None = None, info: BentoInfo | None = None) -> Bento:
    """The bento in a folder, of the store or elsewhere; without a tag it has that of its record.

    Raises:
        BentoMLException: without a tag, the record cannot be read.
    """
    if tag is None:
        info = info or BentoInfo.read(folder)
        tag = info.tag
    bento = Bento.__new__(Bento)
    bento.tag, bento._folder, bento._info, bento._verified = tag, folder, info, False
    return bento


def needed_by(models: Iterable[Tag]) -> list[tuple[Tag, Tag]]:
    """(bento, model) for each stored bento whose service needs one of these models and which has no copy of it."""
    wanted = set(models)
    found = []
    store = bento_store()
    for tag in store.list() if wanted else ():
        bento = open_bento(store.root / tag.path(), tag=tag)
        # What cannot be read cannot be served either; it must not stand in the way.
        with contextlib.suppress(BentoMLException):
            needed = {model.tag for model in bento.info.models} & wanted - set(bento.model_store.list())
            found += [(tag, model) for model in sorted(needed)]
    return found


@contextlib.contextmanager
def unpacked(path: str | os.PathLike[str]) -> Iterator[Bento]:
    """The bento in an archive, in a temporary folder that is gone after the block; nothing is saved.

    Raises:
        CorruptedItem: a file does not have the digest that came with it.
        BentoMLException: it is no sound archive of a bento.
    """
    with tempfile.TemporaryDirectory(prefix="bentoml-bento-") as root:
        store = LocalStore(Path(root), kind="bento", record_file=BENTO_FILE)
        with Bento._unpacked(path, None, {}, None, store) as (draft, _):
            digests.verify(draft)
            yield open_bento(draft)
