"""Building a bento: a project, its models and its environment in one folder that appears in the store at once, or not.

select files ─► describe the service (another process) ─► draft: src, models, env, apis, README.md, bento.yaml
             ─► SHA256SUMS ─► fsync ─► rename to <name>/<version>
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bentoml import config
from bentoml._version import __version__
from bentoml.build import conda_env, docker_env, packages, python_env
from bentoml.build.describe import Description, describe
from bentoml.build.files import SourceFile, select
from bentoml.build.options import BuildOptions, CondaOptions, DockerOptions, PythonOptions
from bentoml.build.readme import readme_text
from bentoml.build.requirements import without_secrets
from bentoml.exceptions import InvalidArgument
from bentoml.store import digests
from bentoml.store.bento import Bento, bento_store, open_bento
from bentoml.store.bento_record import BentoInfo, BentoModelInfo
from bentoml.store.local import LATEST, LocalStore
from bentoml.store.model import Model, model_store, open_model
from bentoml.store.yaml_file import yaml_text
from bentoml.tag import Tag, validate_part

__all__ = ["Report", "build"]

logger = logging.getLogger("bentoml")

#: Called with what is being done now.
Report = Callable[[str], None]


class _Carried(NamedTuple):
    """A model that goes into the bento."""

    model: Model
    alias: str | None


def build(
    options: BuildOptions,
    *,
    context: Path,
    version: str | None = None,
    report: Report | None = None,
    where: str = "the bentofile",
    _bento_store: LocalStore | None = None,
) -> Bento:
    """Build the bento and save it in the store: whole, or not at all.

    Args:
        context: the folder in which all paths of the options lie.
        version: by default a fresh one.
        report: told what is being done, as it begins.
        where: where the options stand, for warnings.

    Raises:
        ImportServiceError: the service cannot be imported.
        NotFound: a model is not in the store.
        InvalidArgument: a file cannot be part of the bento.
        BentoMLException: the store has this version already, or cannot be written; or the environment cannot be made.
    """
    say = report or (lambda text: None)
    store = _bento_store or bento_store()
    if options.name is not None and version is not None:
        store.refuse_existing(_tag(options.name, version))
    sources = select(context, include=options.include, exclude=options.exclude, never=[config.home(), store.root])
    options = _materialised(options)
    with store.draft() as draft:
        say(f"importing {options.service}")
        aliases = {model.alias: model.tag for model in options.models if model.alias}
        service = describe(options.service, context, draft.parent, aliases=aliases)
        tag = _tag(options.name or service.name, version)
        store.refuse_existing(tag)
        carried = _models(options, service)
        _check_sources(service, sources)
        options = _completed(options, _needed_modules(service, sources, carried), context, where)
        info = _record(options, service, tag, carried)
        say(f"copying {len(sources)} source file{'s' if len(sources) != 1 else ''}")
        _copy_sources(sources, draft / "src")
        for each in carried:
            say(f"copying the model {each.model.tag}")
            _copy_model(each.model, draft / "models")
        _write_latest(carried, draft / "models")
        say("writing the Python environment" + (", with every package locked" if options.python.is_locked else ""))
        python_env.write(draft, options.python, context=context, python_version=str(options.docker.python_version))
        conda_env.write(draft, options.conda, context=context)
        say("writing the Dockerfile and the documents")
        docker_env.write(draft, options, context=context, name=tag.name)
        _write_documents(draft, options, service, info, context)
        info.write(draft)
        say(f"saving {tag}")
        return open_bento(store.commit(draft, tag), info=info)


def _tag(name: str, version: str | None) -> Tag:
    tag = Tag(validate_part(name, "name of a bento"))
    try:
        return tag.make_new_version() if version is None else Tag(tag.name, version)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


def _materialised(options: BuildOptions) -> BuildOptions:
    """The options with the defaults that depend on this machine, or on one another, in their place."""
    docker, python, conda = options.docker, options.python, options.conda
    if docker.python_version is None:
        docker = msgspec.structs.replace(docker, python_version=".".join(map(str, sys.version_info[:2])))
    python = msgspec.structs.replace(python, lock_packages=python.is_locked)
    if conda.is_used and not conda.channels and conda.environment_yml is None:
        conda = msgspec.structs.replace(conda, channels=conda_env.DEFAULT_CHANNELS)
    return msgspec.structs.replace(options, docker=docker, python=python, conda=conda)


# -- models -----------------------------------------------------------------------------------------------------------


def _models(options: BuildOptions, service: Description) -> list[_Carried]:
    """The models that the bentofile names, else those of the service and its runners; the names of tags in order."""
    if not options.models:
        found = [_Carried(open_model(Tag.from_str(used.tag), Path(used.path)), None) for used in service.models]
    else:
        store, found = model_store(), []
        for named in options.models:
            tag = store.resolve(named.tag)
            found.append(_Carried(open_model(tag, store.root / tag.path()), named.alias))
    carried = {str(each.model.tag) for each in found}
    for used in sorted({*service.asked_for, *(model.tag for model in service.models)} - carried):
        logger.warning(
            "the service uses the model %s, which the bento does not carry (hint: name it in `models` of the "
            "bentofile, or in bentoml.Service(models=[...]))",
            used,
        )
    return sorted(found, key=lambda each: each.model.tag)


def _copy_model(model: Model, models: Path) -> None:
    target = models / model.tag.path()
    if target.exists():  # named twice, under two aliases
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(model.path, target, copy_function=_copy)
    digests.verify(target)


def _write_latest(carried: Sequence[_Carried], models: Path) -> None:
    """The file `latest` of each name: the newest of those that are here."""
    newest = {each.model.tag.name: each.model for each in sorted(carried, key=lambda each: each.model.creation_time)}
    for name, model in newest.items():
        (models / name / LATEST).write_text(str(model.tag.version), encoding="utf-8")


# -- sources ----------------------------------------------------------------------------------------------------------


def _check_sources(service: Description, sources: Sequence[SourceFile]) -> None:
    """Whatever the import of the service read in the project must be in the bento."""
    names = {source.name for source in sources}
    missing = [name for name in service.own_files if name not in names]
    if missing:
        raise InvalidArgument(
            f"the service imports {', '.join(missing)}, which the bento would not hold",
            hint="add a pattern to `include`, or take one out of `exclude` or .bentoignore",
        )


def _copy_sources(sources: Sequence[SourceFile], target: Path) -> None:
    target.mkdir()
    for source in sources:
        copy = target / source.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        _copy(str(source.path), str(copy))


def _copy(source: str, target: str) -> None:
    """The bytes, the time of the last change, and whether the file may be run; not who else may read it here."""
    _copy_bytes(source, target)
    status = os.stat(source)
    if status.st_mode & 0o100:
        os.chmod(target, os.stat(target).st_mode | 0o111)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _copy_bytes(source: str, target: str) -> None:
    if hasattr(os, "copy_file_range"):
        # File systems that can share blocks between files do so here: a model of gigabytes takes no room again.
        with contextlib.suppress(OSError), open(source, "rb") as original, open(target, "wb") as copy:
            size = os.fstat(original.fileno()).st_size
            while size > 0 and (count := os.copy_file_range(original.fileno(), copy.fileno(), size)):
                size -= count
            if size <= 0:
                return
    shutil.copyfile(source, target)


def _needed_modules(
    service: Description, sources: Sequence[SourceFile], carried: Sequence[_Carried]
) -> dict[str, None]:
    """What the service imports, and the libraries of its models."""
    needed = dict.fromkeys(packages.imported({each.name: each.path for each in sources}, start=service.own_files))
    for model, _ in carried:
        library = model.info.module.removeprefix("bentoml.")
        if library in model.info.context.framework_versions:
            needed[library] = None
    return needed


def _completed(options: BuildOptions, modules: Iterable[str], context: Path, where: str) -> BuildOptions:
    """The options with the packages that need not be declared; others that are needed and not declared are named."""
    if options.conda.environment_yml is not None:
        return options  # it may declare whatever is needed, in a form of its own
    python = options.python
    missing = packages.undeclared(modules, packages.declared(options, context))
    along = [name for name in missing if name in packages.TAKEN_ALONG and python.requirements_txt is None]
    rest = [name for name in missing if name not in along]
    if along:
        logger.warning("python.packages: %s comes along, as the service imports it", " and ".join(along))
        python = msgspec.structs.replace(python, packages=[*python.packages, *along])
    if rest:
        logger.warning(
            "needed, and not declared in %s: %s (hint: add them to `python.packages`, or the bento will not start "
            "where they are not installed)",
            where,
            ", ".join(rest),
        )
    return msgspec.structs.replace(options, python=python)


# -- documents --------------------------------------------------------------------------------------------------------


def _record(options: BuildOptions, service: Description, tag: Tag, carried: Sequence[_Carried]) -> BentoInfo:
    return BentoInfo(
        service=service.service,
        name=tag.name,
        version=str(tag.version),
        bentoml_version=__version__,
        creation_time=datetime.datetime.now(datetime.timezone.utc),
        labels=options.labels,
        models=[
            BentoModelInfo(
                tag=model.tag, module=model.info.module, creation_time=model.creation_time, alias=alias or None
            )
            for model, alias in carried
        ],
        runners=service.runners,
        apis=service.api_records(),
        docker=_section(options.docker),
        python=_section(without_secrets(options.python)),
        conda=_section(options.conda),
    )


def _section(options: DockerOptions | PythonOptions | CondaOptions) -> dict[str, Any]:
    """A section as `bento.yaml` has it: null for what is not set, a list or a map without entries included."""
    fields = msgspec.structs.asdict(options)
    return {key: None if value in ([], {}) else value for key, value in fields.items()}


def _write_documents(draft: Path, options: BuildOptions, service: Description, info: BentoInfo, context: Path) -> None:
    readme = readme_text(options.description, service, info.tag, [model.tag for model in info.models], context)
    (draft / "README.md").write_text(readme, encoding="utf-8")
    document = {**service.openapi, "info": {**service.openapi["info"], "version": info.version, "description": readme}}
    (draft / "apis").mkdir()
    (draft / "apis" / "openapi.yaml").write_text(yaml_text(document), encoding="utf-8")
