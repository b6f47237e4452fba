"""The models on this machine: save, find, remove, export and import them."""

from __future__ import annotations

import builtins
import contextlib
import datetime
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bentoml._pickling import by_value
from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.store import scope
from bentoml.store.bento import needed_by
from bentoml.store.local import LocalStore
from bentoml.store.metadata import normalised_labels, normalised_metadata
from bentoml.store.model import Model, draft_model, model_store, open_model
from bentoml.store.record import ModelContext, ModelInfo, ModelOptions
from bentoml.tag import Tag
from bentoml.types import ModelSignature

if TYPE_CHECKING:
    from bentoml.store.archive import Progress

__all__ = [
    "ModelContext",
    "ModelOptions",
    "create",
    "delete",
    "export_model",
    "get",
    "import_model",
    "list",
]

logger = logging.getLogger("bentoml")


def list(tag: Tag | str | None = None, *, _model_store: LocalStore | None = None) -> builtins.list[Model]:
    """The models in the store by name and version: all, all versions of a name, or at most the one with that version.

    Raises:
        NotFound: `tag` is a name that no model has.
    """
    listed = [(_model_store, found) for found in _model_store.list(tag)] if _model_store else scope.list_all(tag)
    return [open_model(found, store.root / found.path()) for store, found in listed]


def get(tag: Tag | str, *, _model_store: LocalStore | None = None) -> Model:
    """One model.

    Args:
        tag: `"name"` or `"name:latest"` for the newest, else `"name:version"`; an unambiguous beginning is enough. In a
            service that is served from a bento the models of the bento come first, and text may be an alias of one.

    Raises:
        NotFound: there is no such model.
        BentoMLException: several versions begin like that, or the model's record cannot be read.
    """
    store, found = (_model_store, _model_store.resolve(tag)) if _model_store else scope.find(tag)
    model = open_model(found, store.root / found.path())
    _ = model.info  # a record that cannot be read is an error here, not at the first request
    return model


def delete(tag: Tag | str, *, _model_store: LocalStore | None = None) -> None:
    """Remove one version of a model, or with a name alone all of them.

    Raises:
        NotFound: there is no such model. The version must be given in full, or as `latest`.
        BentoMLException: a stored bento needs it. Bentos that were built here have a copy of their own and do not;
            those of BentoML name the model in the store.
    """
    if _model_store is None:
        _refuse_needed(model_store().list(tag))
    (_model_store or model_store()).delete(tag)


def _refuse_needed(doomed: Sequence[Tag]) -> None:
    needed = needed_by(doomed)
    if needed:
        names = ", ".join(f"{bento} needs {model}" for bento, model in needed)
        raise BentoMLException(
            f"nothing is deleted: {names}", hint="delete these bentos first, or build them again, here"
        )


def export_model(
    tag: Tag | str,
    path: str | os.PathLike[str],
    output_format: str | None = None,
    *,
    protocol: str | None = None,
    user: str | None = None,
    passwd: str | None = None,
    params: Mapping[str, str] | None = None,
    subpath: str | None = None,
    progress: Progress | None = None,
    _model_store: LocalStore | None = None,
) -> str:
    """Write a model as one file, or as a folder, that `import_model` reads on another machine.

    Arguments, result and errors are those of `Model.export`.
    """
    return get(tag, _model_store=_model_store).export(
        path, output_format, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath,
        progress=progress,
    )  # fmt: skip


def import_model(
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
    _model_store: LocalStore | None = None,
) -> Model:
    """Save the model in an archive or a folder to the store; it is saved whole or not at all.

    Arguments and errors are those of `Model.import_from`.
    """
    return Model.import_from(
        path, input_format, trust=trust, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath,
        progress=progress, _store=_model_store,
    )  # fmt: skip


@contextlib.contextmanager
def create(
    name: Tag | str,
    *,
    module: str = "",
    api_version: str | None = None,
    signatures: Mapping[str, ModelSignature | Mapping[str, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
    options: ModelOptions | Mapping[str, Any] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    external_modules: Sequence[ModuleType] | None = None,
    metadata: Mapping[Any, Any] | None = None,
    context: ModelContext | None = None,
    _model_store: LocalStore | None = None,
) -> Iterator[Model]:
    """Save a model of any kind: write its files to `model.path` within the block.

    The model is in the store when the block ends, and nothing is when the block raises or the process dies.

        with bentoml.models.create("lookup") as model:
            Path(model.path_of("table.json")).write_text("{}")

    Args:
        name: `"name"`, which gets a new version, or `"name:version"`.
        module: the importable module that reads the files back: its `load_model(model)` and `get_runnable(model)`.
        api_version: the version of the layout of the files, the module's own affair; by default `"v1"`.
        signatures: method name to `ModelSignature`, or to its fields as a mapping.
        labels: text to text, to find the model by.
        options: what the module needs to know to read the files.
        custom_objects: Python objects to keep beside the model; pickled with cloudpickle.
        external_modules: modules whose code goes into the pickles, so that loading does not need them installed.
        metadata: anything of plain values, arrays included; see `bentoml.store.metadata`.
        context: name and versions of the framework.

    Raises:
        InvalidArgument: a signature, an option or a custom object has the wrong form.
        ValueError: the name is no tag, or a label or a metadata value cannot be stored.
        BentoMLException: the tag exists already, or the store cannot be written.
    """
    tag = Tag.from_taglike(name)
    if tag.version is None:
        tag = tag.make_new_version()
    if custom_objects is not None and not isinstance(custom_objects, Mapping):
        raise InvalidArgument(
            f"custom_objects must be a mapping of names to objects, not {type(custom_objects).__name__}"
        )
    info = ModelInfo(
        name=tag.name,
        version=str(tag.version),
        module=module,
        labels=normalised_labels(labels),
        options=options if isinstance(options, ModelOptions) else ModelOptions(**(options or {})),
        metadata=normalised_metadata(metadata),
        context=(context or ModelContext()).of_this_process(),
        signatures={method: ModelSignature.of(method, given) for method, given in (signatures or {}).items()},
        api_version=api_version or "v1",
        creation_time=datetime.datetime.now(datetime.timezone.utc),
    )
    info.to_dict()  # what cannot be written is refused before the files are
    store = _model_store or model_store()
    with by_value(external_modules or ()):
        with store.create(tag) as folder:
            model = draft_model(folder, info, custom_objects)
            yield model
            model._write_record()
        model._moved_to(store.root / tag.path())
    logger.info("Successfully saved %s", model)
