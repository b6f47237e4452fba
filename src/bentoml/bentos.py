"""The bentos on this machine: build, find, remove, export, import and containerize them."""

from __future__ import annotations

import builtins
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bentoml._importing import import_module_named
from bentoml.store.bento import Bento, bento_store, get_bento, open_bento
from bentoml.store.bento_record import BentoInfo
from bentoml.store.local import LocalStore
from bentoml.tag import Tag

if TYPE_CHECKING:
    from bentoml.store.archive import Progress

__all__ = [
    "Bento",
    "BentoInfo",
    "build",
    "build_bentofile",
    "containerize",
    "delete",
    "export_bento",
    "get",
    "import_bento",
    "list",
]

logger = logging.getLogger("bentoml")

#: Makes images; named, as it stands on a higher floor.
_CONTAINER_MODULE = "bentoml.container"


def list(tag: Tag | str | None = None, *, _bento_store: LocalStore | None = None) -> builtins.list[Bento]:
    """The bentos in the store by name and version: all, all versions of a name, or at most the one with that version.

    Raises:
        NotFound: `tag` is a name that no bento has.
    """
    store = _bento_store or bento_store()
    return [open_bento(store.root / found.path(), tag=found) for found in store.list(tag)]


def get(tag: Tag | str, *, _bento_store: LocalStore | None = None) -> Bento:
    """One bento.

    Args:
        tag: `"name"` or `"name:latest"` for the newest, else `"name:version"`; an unambiguous beginning is enough.

    Raises:
        NotFound: there is no such bento.
        BentoMLException: several versions begin like that, or the bento's record cannot be read.
    """
    return get_bento(tag, _bento_store)


def delete(tag: Tag | str, *, _bento_store: LocalStore | None = None) -> None:
    """Remove one version of a bento, or with a name alone all of them. Models in the model store stay.

    Raises:
        NotFound: there is no such bento. The version must be given in full, or as `latest`.
    """
    (_bento_store or bento_store()).delete(tag)


def export_bento(
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
    _bento_store: LocalStore | None = None,
) -> str:
    """Write a bento, with its models, as one file or as a folder that `import_bento` reads on another machine.

    Arguments, result and errors are those of `Bento.export`.
    """
    return get(tag, _bento_store=_bento_store).export(
        path, output_format, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath,
        progress=progress,
    )  # fmt: skip


def import_bento(
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
    _bento_store: LocalStore | None = None,
) -> Bento:
    """Save the bento in an archive or a folder to the store; it is saved whole or not at all.

    Arguments and errors are those of `Bento.import_from`.
    """
    return Bento.import_from(
        path, input_format, trust=trust, protocol=protocol, user=user, passwd=passwd, params=params, subpath=subpath,
        progress=progress, _store=_bento_store,
    )  # fmt: skip


def build(
    service: str,
    *,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    description: str | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    docker: Mapping[str, Any] | None = None,
    python: Mapping[str, Any] | None = None,
    conda: Mapping[str, Any] | None = None,
    models: Sequence[str | Mapping[str, Any]] | None = None,
    version: str | None = None,
    build_ctx: str | os.PathLike[str] | None = None,
    _bento_store: LocalStore | None = None,
) -> Bento:
    """Build a bento; a bentofile is not read. The current folder stays what it is.

    Args:
        service: import string, as in `"service.py:svc"`.
        name, labels, description, include, exclude, docker, python, conda, models: the keys of a bentofile.
        version: by default a fresh one.
        build_ctx: the folder of the project; by default the current one.

    Returns:
        the bento, saved.

    Raises:
        InvalidArgument: an argument is wrong; names it.
        ImportServiceError: the service cannot be imported.
        NotFound: a model is not in the store.
        BentoMLException: the store has this version already, or cannot be written.
    """
    from bentoml.build import bentofile

    fields = {
        "service": service,
        "name": name,
        "description": description,
        "labels": labels,
        "include": include,
        "exclude": exclude,
        "models": models,
        "docker": docker,
        "python": python,
        "conda": conda,
    }
    context = _folder(build_ctx)
    options = bentofile.options_of(fields, context=context, where="bentos.build()")
    return _built(options, context, version, "the arguments of bentos.build()", _bento_store)


def build_bentofile(
    bentofile: str = "bentofile.yaml",
    *,
    version: str | None = None,
    build_ctx: str | os.PathLike[str] | None = None,
    _bento_store: LocalStore | None = None,
) -> Bento:
    """Build the bento that a bentofile describes. The current folder stays what it is.

    Args:
        bentofile: a YAML file, or a pyproject.toml with the table `[tool.bentoml.build]`.
        version: by default a fresh one.
        build_ctx: the folder of the project; by default the current one.

    Returns:
        the bento, saved.

    Raises:
        InvalidArgument: a key is wrong; names the file and the key.
        ImportServiceError: the service cannot be imported.
        NotFound: a model is not in the store.
        BentoMLException: the store has this version already, or cannot be written.
    """
    from bentoml.build.bentofile import find, read

    context = _folder(build_ctx)
    path = find(bentofile, context)
    return _built(read(path, context=context), context, version, path.name, _bento_store)


def containerize(tag: Tag | str, docker_image_tag: str | None = None, **options: Any) -> bool:
    """Build the image of a bento; whether that succeeded.

    Args:
        tag: of the bento.
        docker_image_tag: of the image; by default the tag of the bento.
        options: those of `bentoml.container.build`.
    """
    container = import_module_named(_CONTAINER_MODULE, what="containerize()")
    tags = {"image_tag": (docker_image_tag,)} if docker_image_tag is not None else {}
    return bool(container.build(tag, **tags, **options))


def _folder(build_ctx: str | os.PathLike[str] | None) -> Path:
    from bentoml.exceptions import InvalidArgument

    context = Path(build_ctx or ".").expanduser().resolve()
    if not context.is_dir():
        raise InvalidArgument(f"the build context {context} is not a folder")
    return context


def _built(options: Any, context: Path, version: str | None, where: str, store: LocalStore | None) -> Bento:
    from bentoml.build import builder

    bento = builder.build(options, context=context, version=version, where=where, _bento_store=store)
    logger.info("Successfully built %s", bento)
    return bento
