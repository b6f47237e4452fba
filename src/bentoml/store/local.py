"""LocalStore: items of one kind in folders `<root>/<name>/<version>`, beside each name's text file `latest`.

    create ─► .staging/<random>/item ─► digests ─► fsync ─► latest ─► rename to <name>/<version>

The rename is the moment at which an item exists. `latest` is written just before it: a writer that dies in between
leaves a `latest` that points nowhere, which every reader answers by looking for the newest version itself. Reading
never writes, so a store on a read-only mount serves as it is.
"""

from __future__ import annotations

import contextlib
import datetime
import difflib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from bentoml.exceptions import BentoMLException, NotFound
from bentoml.store import digests
from bentoml.store.names import is_part, parts_in
from bentoml.store.staging import Staging
from bentoml.tag import Tag

__all__ = ["LATEST", "LocalStore"]

LATEST = "latest"
_OLDEST = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
_Tags: TypeAlias = "list[Tag]"  # inside the class, `list` is a method


class LocalStore:
    """A folder of items.

    Args:
        root: made by the first save.
        kind: `"model"` or `"bento"`; a word for messages.
        record_file: the YAML file that makes a folder an item; its `creation_time` decides which one is the latest.
    """

    def __init__(self, root: Path, *, kind: str, record_file: str) -> None:
        self.root = root.absolute()
        self.kind = kind
        self.record_file = record_file
        self._staging = Staging(self.root)
        self._list_command = "bentoml list" if kind == "bento" else f"bentoml {kind}s list"

    def list(self, tag: Tag | str | None = None) -> _Tags:
        """The items by name and version: all of them, all versions of one name, or at most the one with that version.

        Raises:
            NotFound: `tag` is a name that no item has.
        """
        if tag is None:
            return [Tag(name, version) for name in parts_in(self.root) for version in self._versions(name)]
        tag = Tag.from_taglike(tag)
        if tag.version is None:
            versions = self._versions(tag.name)
            if not versions:
                raise self._not_found(tag)
            return [Tag(tag.name, version) for version in versions]
        version = self._latest(tag.name) if tag.version == LATEST else tag.version
        return [Tag(tag.name, version)] if version is not None and self._is_item(tag.name, version) else []

    def resolve(self, tag: Tag | str) -> Tag:
        """The full tag that `tag` stands for: `name` and `name:latest` for the newest, else an unambiguous prefix.

        Raises:
            NotFound: there is no such item; the message names what is similar.
            BentoMLException: several versions begin like that.
        """
        tag = Tag.from_taglike(tag)
        if tag.version is None or tag.version == LATEST:
            latest = self._latest(tag.name)
            if latest is None:
                raise self._not_found(tag)
            return Tag(tag.name, latest)
        if self._is_item(tag.name, tag.version):
            return Tag(tag.name, tag.version)
        matches = [version for version in self._versions(tag.name) if version.startswith(tag.version)]
        if not matches:
            raise self._not_found(tag)
        if len(matches) > 1:
            raise BentoMLException(
                f"{str(tag)!r} is ambiguous: {len(matches)} versions begin like that ({', '.join(matches[:5])})",
                hint="write more of the version",
            )
        return Tag(tag.name, matches[0])

    def get(self, tag: Tag | str) -> Path:
        """The folder of the item that `resolve` finds."""
        return self.root / self.resolve(tag).path()

    def delete(self, tag: Tag | str) -> _Tags:
        """Remove one item, or with a name alone all its versions; each is gone at once or not at all.

        A version must be given in full, or as `latest`: a prefix that fits today may fit another item tomorrow.

        Returns:
            the tags that are gone.

        Raises:
            NotFound: there is no such item.
        """
        tag = Tag.from_taglike(tag)
        if tag.version == LATEST:
            tag = self.resolve(tag)
        self._doomed(tag)
        with (
            self._writing(f"delete {self.kind} {tag}"),
            self._staging.slot() as slot,
            self._staging.exclusive(tag.name),
        ):
            doomed = self._doomed(tag)
            for item in doomed:
                os.rename(self.root / item.path(), slot / str(item.version))
            # On a full disk this is what makes room for the new `latest`.
            shutil.rmtree(slot, ignore_errors=True)
            slot.mkdir(exist_ok=True)
            newest = self._newest(tag.name)
            if newest is not None:
                self._write_latest(tag.name, newest, slot)
                digests.sync_folder(self.root / tag.name)
            else:
                (self.root / tag.latest_path()).unlink(missing_ok=True)
                self._remove_if_empty(tag.name)
            digests.sync_folder(self.root)
        return doomed

    def _doomed(self, tag: Tag) -> _Tags:
        # A version in full also names a folder that is no item: what BentoML left half-written must be removable.
        if tag.version is not None and (self.root / tag.path()).is_dir():
            return [tag]
        found = self.list(tag)
        if not found:
            raise self._not_found(tag)
        return found

    @contextlib.contextmanager
    def create(self, tag: Tag) -> Iterator[Path]:
        """An empty folder that becomes the item `tag` when the block ends, and vanishes when it raises.

        Raises:
            BentoMLException: there is such an item already, or the store cannot be written.
        """
        self.refuse_existing(tag)
        with self.draft() as folder:
            yield folder
            self.commit(folder, tag)

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """An empty folder in the store that no listing shows, for `commit`; what is not committed is removed."""
        with contextlib.ExitStack() as stack:
            with self._writing("write"):
                folder = stack.enter_context(self._staging.slot()) / "item"
                folder.mkdir()
            yield folder

    def commit(self, draft: Path, tag: Tag) -> Path:
        """Make the folder from `draft()` the item `tag`; the path where it is now.

        Raises:
            CorruptedItem: the draft brought digests that do not fit its files.
            BentoMLException: there is such an item already, or the store cannot be written.
        """
        self.refuse_existing(tag)
        target = self.root / tag.path()
        with self._writing(f"save {self.kind} {tag}"):
            digests.seal(draft)
            with self._staging.exclusive(tag.name):
                self.refuse_existing(tag)
                target.parent.mkdir(exist_ok=True)
                try:
                    self._write_latest(tag.name, self._latest_with(tag, draft), draft.parent)
                    os.rename(draft, target)
                except BaseException:
                    self._remove_if_empty(tag.name)
                    raise
                digests.sync_folder(target.parent)
                digests.sync_folder(self.root)
        return target

    def refuse_existing(self, tag: Tag) -> None:
        """Raise BentoMLException when `tag` cannot be the tag of a new item."""
        if tag.version == LATEST:
            raise BentoMLException(
                f"{tag} cannot be saved: 'latest' always stands for the newest version",
                hint="name another version, or none",
            )
        if os.path.lexists(self.root / tag.path()):
            raise BentoMLException(
                f"{self.kind} {str(tag)!r} exists already in {self.root}",
                hint="delete it first, or save another version",
            )

    # -- what the folders say --------------------------------------------------------------------------------------

    def _versions(self, name: str) -> Sequence[str]:
        return [version for version in parts_in(self.root / name) if self._is_item(name, version)]

    def _is_item(self, name: str, version: str) -> bool:
        return (self.root / name / version / self.record_file).is_file()

    def _latest(self, name: str) -> str | None:
        """The version that `latest` holds if that is an item, else the newest one."""
        try:
            version = (self.root / name / LATEST).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            version = ""
        return version if is_part(version) and self._is_item(name, version) else self._newest(name)

    def _newest(self, name: str) -> str | None:
        folder = self.root / name
        return max(self._versions(name), key=lambda version: self._created(folder / version), default=None)

    def _latest_with(self, tag: Tag, draft: Path) -> str:
        """What `latest` holds once `draft` is the item `tag`: an older item does not take over."""
        current = self._latest(tag.name)
        if current is not None and self._created(draft) < self._created(self.root / tag.name / current):
            return current
        return str(tag.version)

    def _created(self, folder: Path) -> datetime.datetime:
        """The creation time in the item's record; one that cannot be read is older than all others."""
        try:
            fields = msgspec.yaml.decode((folder / self.record_file).read_bytes())
            # Quoted it is text, unquoted YAML makes a datetime of it; `convert` takes both.
            record = msgspec.convert(fields, _Stamped)
        except (OSError, msgspec.MsgspecError):
            return _OLDEST
        return as_utc(record.creation_time)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _write_latest(self, name: str, version: str, slot: Path) -> None:
        fresh = slot / LATEST
        with fresh.open("w", encoding="utf-8") as file:
            file.write(version)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.root / name / LATEST)

    def _remove_if_empty(self, name: str) -> None:
        # A stray file of a user or a desktop keeps the folder; it holds no item either way.
        with contextlib.suppress(OSError):
            (self.root / name).rmdir()

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BentoMLException(
                f"cannot {what} in the {self.kind} store {self.root}: {error.strerror or error}",
                hint=_WHAT_TO_DO.get(error.errno or 0, "check that the folder can be written"),
            ) from error

    def _not_found(self, tag: Tag) -> NotFound:
        known = [str(item) for item in self.list()]
        similar = difflib.get_close_matches(
            str(tag), [*dict.fromkeys(item.partition(":")[0] for item in known), *known], n=1
        )
        guess = f"did you mean {similar[0]!r}? " if similar and similar[0] != str(tag) else ""
        return NotFound(
            f"no {self.kind} {str(tag)!r} in the store {self.root}",
            hint=f"{guess}`{self._list_command}` shows what there is",
        )


_WHAT_TO_DO = {
    errno.ENOSPC: "make room on that file system, or set BENTOML_HOME to another one",
    errno.EDQUOT: "make room within your quota, or set BENTOML_HOME to another file system",
    errno.EROFS: "it is mounted read-only; set BENTOML_HOME to a folder that can be written",
    errno.EACCES: "set BENTOML_HOME to a folder that this user can write",
    errno.EPERM: "set BENTOML_HOME to a folder that this user can write",
}


class _Stamped(msgspec.Struct):
    creation_time: datetime.datetime


def as_utc(moment: datetime.datetime) -> datetime.datetime:
    """The same moment in UTC; a time without a zone is taken for UTC."""
    return moment.astimezone(datetime.timezone.utc) if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
