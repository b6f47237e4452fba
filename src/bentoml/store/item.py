"""Item: what a model and a bento have in common: a tag, a folder of verified files, archives out and in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from bentoml.exceptions import BentoMLException
from bentoml.store import digests
from bentoml.store.local import LocalStore
from bentoml.store.trust import require_trust
from bentoml.tag import Tag

if TYPE_CHECKING:
    from bentoml.store.archive import Progress

__all__ = ["Item"]

Self = TypeVar("Self", bound="Item")


class Item:
    """One version of one name in a store. Two of a kind are equal when their tags are.

    Attributes:
        tag: name and version.
        native: extension of its native archive format.
    """

    native: ClassVar[str]
    tag: Tag
    _folder: Path
    _verified: bool

    @property
    def path(self) -> str:
        """The folder with its files."""
        return str(self._folder)

    def path_of(self, sub: str | os.PathLike[str]) -> str:
        """The path of a file in its folder; it need not exist.

        Raises:
            BentoMLException: `sub` leads out of the folder.
        """
        folder = os.path.normpath(self._folder)
        path = os.path.normpath(os.path.join(folder, sub))
        if path != folder and not path.startswith(folder + os.sep):
            raise BentoMLException(
                f"{os.fspath(sub)!r} leads out of the folder of {self}",
                hint=f"name a file inside the {type(self).__name__.lower()}",
            )
        return path

    @property
    def file_size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.stat().st_size for _, entry in digests.files_of(self._folder))

    def verify(self) -> None:
        """Compare the files with the digests of the save; once per instance. What BentoML wrote has none.

        Raises:
            CorruptedItem: a file is changed, missing, unexpected or a link; the message names it.
        """
        if not self._verified:
            digests.verify(self._folder)
            self._verified = True

    def export(
        self,
        path: str | os.PathLike[str],
        output_format: str | None = None,
        *,
        protocol: str | None = None,
        user: str | None = None,
        passwd: str | None = None,
        params: Mapping[str, str] | None = None,
        subpath: str | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Write it as one file, or as a folder, that `import_from` reads on another machine.

        Args:
            path: a file, or an existing folder, which takes a file named `<name>-<version>` and the extension.
            output_format: `"bentomodel"` for a model and `"bento"` for a bento (tar with xz), `"tar"`, `"gz"`, `"bz2"`,
                `"xz"`, `"zip"` or `"folder"`; by default the extension of `path` decides, and else it is the first.
            protocol, user, passwd, params, subpath: parts of a URL; only local paths are served.
            progress: called with the bytes written so far and the bytes in all.

        Returns:
            the absolute path of what was written.

        Raises:
            CorruptedItem: what is in the store is not what was saved.
            ValueError: an unknown format, or a missing folder.
            BentoMLException: the target cannot be written, or is not on this machine.
        """
        from bentoml.store import archive  # four libraries of compression, which serving does not need

        remote = {"protocol": protocol, "user": user, "passwd": passwd, "params": params, "subpath": subpath}
        target = archive.local_path(path, remote)
        self.verify()
        stem = f"{self.tag.name}-{self.tag.version}"
        return archive.export_folder(
            self._folder, target, stem=stem, native=self.native, output_format=output_format, progress=progress
        )

    @classmethod
    def import_from(
        cls: type[Self],
        path: str | os.PathLike[str],
        input_format: str | None = None,
        *,
        trust: bool = False,
        protocol: str | None = None,
        user: str | None = None,
        passwd: str | None = None,
        params: Mapping[str, str] | None = None,
        subpath: str | None = None,
        progress: Progress | None = None,
        _store: LocalStore | None = None,
    ) -> Self:
        """Save what is in an archive or a folder to the store; it is saved whole or not at all.

        Args:
            path: what `export` wrote, here or with BentoML.
            input_format: as `output_format` of `export`; by default the content decides.
            trust: whether to take files that may run code when the model is loaded or the bento is served. Without it
                only formats known to be data alone are taken, and only models of the framework modules of this
                package; a bento holds the sources of its service, so next to none is taken.
            protocol, user, passwd, params, subpath: parts of a URL; only local paths are served.
            progress: called with the bytes read so far and the bytes in all.

        Raises:
            CorruptedItem: a file does not have the digest that came with it.
            BentoMLException: it is no sound archive, holds links or unsafe names, needs trust, or the tag exists
                already.
        """
        remote = {"protocol": protocol, "user": user, "passwd": passwd, "params": params, "subpath": subpath}
        store = _store or cls._home_store()
        with cls._unpacked(path, input_format, remote, progress, store) as (draft, source):
            item = cls._recorded_in(draft)
            store.refuse_existing(item.tag)
            if not trust:
                require_trust(draft, item._module_name, what=source)
            item._moved_to(store.commit(draft, item.tag))
            return item

    @classmethod
    def _home_store(cls) -> LocalStore:
        """The store of its kind in `$BENTOML_HOME`."""
        raise NotImplementedError

    @classmethod
    def _recorded_in(cls: type[Self], folder: Path) -> Self:
        """The item in a folder outside of the store; its record says which one it is."""
        raise NotImplementedError

    @property
    def _module_name(self) -> str:
        """The module that its record has imported; empty where it names none."""
        return ""

    def _moved_to(self, folder: Path) -> None:
        """The draft became an item: from now on its files are those of the store."""
        self._folder, self._verified = folder, False

    @classmethod
    @contextlib.contextmanager
    def _unpacked(
        cls,
        path: str | os.PathLike[str],
        input_format: str | None,
        remote: Mapping[str, Any],
        progress: Progress | None,
        store: LocalStore,
    ) -> Iterator[tuple[Path, str]]:
        """The archive at `path` as a draft of `store`, its record not yet read; and what messages call the archive."""
        from bentoml.store import archive, unpacking, yaml_guard  # as in `export`

        source = archive.source_of(archive.local_path(path, remote), cls.native, input_format)
        with store.draft() as draft:
            unpacking.unpack(source, draft, input_format=input_format, progress=progress)
            if not (draft / store.record_file).is_file():
                raise BentoMLException(f"{source} is not a {store.kind}: it has no {store.record_file} at its root")
            yaml_guard.require_harmless_yaml(draft / store.record_file)
            yield draft, str(source)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.tag == other.tag

    def __hash__(self) -> int:
        return hash(self.tag)

    def __str__(self) -> str:
        return f'{type(self).__name__}(tag="{self.tag}")'

    def __repr__(self) -> str:
        return f'{type(self).__name__}(tag="{self.tag}", path="{self.path}{os.sep}")'
