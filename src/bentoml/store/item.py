"""Item: what a model and a bento have in common: a tag, a folder of verified files, archives out and in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bentoml.exceptions import BentoMLException
from bentoml.store import digests
from bentoml.store.local import LocalStore
from bentoml.tag import Tag

if TYPE_CHECKING:
    from bentoml.store.archive import Progress

__all__ = ["Item"]


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

    def _export(
        self,
        path: str | os.PathLike[str],
        output_format: str | None,
        remote: Mapping[str, Any],
        progress: Progress | None,
    ) -> str:
        from bentoml.store import archive  # four libraries of compression, which serving does not need

        target = archive.local_path(path, remote)
        self.verify()
        stem = f"{self.tag.name}-{self.tag.version}"
        return archive.export_folder(
            self._folder, target, stem=stem, native=self.native, output_format=output_format, progress=progress
        )

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
        from bentoml.store import archive, unpacking, yaml_guard  # as in `_export`

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
