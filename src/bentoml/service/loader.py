"""Loading a service: of a module, a file, a folder or a bento, imported as Python imports it."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bentoml._version import __version__
from bentoml.exceptions import BentoMLException, ImportServiceError
from bentoml.service.locate import Located, locate, located_in, stored_bento
from bentoml.service.service import Service
from bentoml.store import scope
from bentoml.store.bento import Bento
from bentoml.store.digests import SUMS_FILE
from bentoml.tag import Tag

__all__ = ["load"]

logger = logging.getLogger("bentoml")

#: Where services were imported from in this process, so that a project never gets the modules of another.
_roots: list[Path] = []


def load(
    bento_identifier: str | os.PathLike[str] | Tag | Bento,
    working_dir: str | None = None,
    standalone_load: bool = False,
) -> Service:
    """The service that `bento_identifier` names.

    Args:
        bento_identifier: `"module:svc"`, `"service.py:svc"`, a folder with a bentofile.yaml or a service.py, the folder
            of a bento, or a bento of the store: its tag, as text or `Tag`, or a `Bento`. A module comes before a tag.
        working_dir: where modules and paths are looked up; defaults to the current folder, or the folder named. A
            bento brings its own.
        standalone_load: leave the working directory changed after the import, and the models of the bento in sight, as
            a server process wants it.

    Raises:
        ImportServiceError: there is no such module, bento or service, or importing it failed; says where.
        BentoMLException: what the service's own code raised of this package, for instance NotFound for a model.
    """
    located = locate(bento_identifier, working_dir)
    try:
        return _load(located, standalone=standalone_load)
    except ImportServiceError as error:
        # With a cause the module is there and broken: that is what must be seen, not a bento of the same name.
        if located.bento is not None or error.__cause__ is not None:
            raise
        bento = stored_bento(located.import_string)
        if bento is None:
            raise
    return _load(located_in(bento), standalone=standalone_load)


def _load(located: Located, *, standalone: bool) -> Service:
    root, identifier, bento, aliases = located
    if not root.is_dir():
        raise ImportServiceError(f"the working directory {root} does not exist")
    if bento is not None:
        _warn_if_newer(bento)
    target, _, attribute = identifier.partition(":")
    module_name = _module_name(target, root)
    _forget_namesakes(module_name, root)
    with (
        scope.inside(bento, aliases=aliases, keep=standalone),
        _importing_in(root, keep=standalone, write_caches=bento is None),
    ):
        module = _import(module_name, target, root)
    service, name = _service_in(module, attribute, target)
    service.import_string = f"{module_name}:{name}"
    service.working_dir = str(root)
    if bento is not None:
        service.tag, service.bento = bento.tag, bento
    return service


def _warn_if_newer(bento: Bento) -> None:
    built_with = bento.info.bentoml_version
    # BentoML, whose versions mean something else, writes no digests.
    if (Path(bento.path) / SUMS_FILE).is_file() and _release(built_with) > _release(__version__):
        logger.warning(
            "%s was built with version %s of this package, which is newer than %s: it may ask for what is not there",
            bento,
            built_with,
            __version__,
        )


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def _module_name(target: str, root: Path) -> str:
    """The dotted name under which `target`, a module or a `.py` file below `root`, is imported."""
    if not target:
        raise ImportServiceError("no module is named", hint="bentoml serve service:svc")
    if not target.endswith(".py"):
        if os.sep in target:
            raise ImportServiceError(f"{target!r} is neither a module, a .py file nor a folder that exists")
        return target
    # Not resolved: where files are mounted, service.py may be a link to somewhere else.
    path = Path(os.path.normpath(root / target))
    if not path.is_file():
        raise ImportServiceError(f"there is no file {path}", hint="run the command in the folder of your service.py")
    if not path.is_relative_to(root):
        path = path.resolve()
    if not path.is_relative_to(root):
        raise ImportServiceError(f"{path} lies outside of the working directory {root}", hint="--working-dir FOLDER")
    return ".".join(path.relative_to(root).with_suffix("").parts)


def _forget_namesakes(module_name: str, root: Path) -> None:
    """Drop the modules of other projects whose names `root` has files for: every project has a `service.py`."""
    service, *_ = module_name.split(".")
    for name, module in list(sys.modules.items()):
        first, *_ = name.split(".")
        # What is installed stays, whatever files the project has; only the service itself takes precedence over it.
        if first != service and not any(_is_below(module, other) for other in _roots if other != root):
            continue
        top = getattr(sys.modules.get(first, module), "__file__", None)
        own = next((path for path in (root / f"{first}.py", root / first / "__init__.py") if path.is_file()), None)
        if top is not None and own is not None and not _same(Path(top), own):
            del sys.modules[name]
    if root not in _roots:
        _roots.append(root)


def _is_below(module: ModuleType, folder: Path) -> bool:
    return (getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}")


def _same(one: Path, other: Path) -> bool:
    return one == other or one.resolve() == other.resolve()


@contextlib.contextmanager
def _importing_in(root: Path, *, keep: bool, write_caches: bool) -> Iterator[None]:
    before, without_caches = os.getcwd(), sys.dont_write_bytecode
    # A bento stays as it was saved: a file too many is what its digests would find.
    sys.dont_write_bytecode = without_caches or not write_caches
    if str(root) in sys.path:
        sys.path.remove(str(root))
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()  # the file may be younger than the last look at its folder
    os.chdir(root)
    try:
        yield
    finally:
        if not keep:
            os.chdir(before)
            sys.dont_write_bytecode = without_caches


def _import(module_name: str, target: str, root: Path) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except BentoMLException:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            found = sorted(path.name for path in root.glob("*.py"))[:5]
            raise ImportServiceError(
                f"there is no module {error.name!r} in {root}, and no bento of that name in the store",
                hint=f"Python files there: {', '.join(found)}"
                if found
                else "no Python file is there; --working-dir FOLDER",
            ) from None
        raise ImportServiceError(
            f"importing {target!r} failed: {_where(error, root)}", hint=f"pip install {error.name}"
        ) from error
    except (Exception, SystemExit) as error:  # border: the user's module may raise anything at import
        raise ImportServiceError(f"importing {target!r} failed: {_where(error, root)}") from error


def _where(error: BaseException, root: Path) -> str:
    """The error with the last place of it that lies in the user's own files."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(root))]
    place = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    return f"{place}{type(error).__name__}: {error}"


def _service_in(module: ModuleType, attribute: str, target: str) -> tuple[Service, str]:
    services = {name: value for name, value in vars(module).items() if isinstance(value, Service)}
    if not attribute:
        distinct = {id(value): name for name, value in services.items()}
        if len(distinct) == 1:
            name = next(iter(distinct.values()))
            return services[name], name
        if not services:
            raise ImportServiceError(
                f"no Service instance found in module {module.__name__!r}", hint="svc = bentoml.Service('name', ...)"
            )
        raise ImportServiceError(
            f"Multiple Service instances found in module {module.__name__!r}: {', '.join(services)}",
            hint=f"name one: {target}:{next(iter(services))}",
        )
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            known = f"services there: {', '.join(services)}" if services else "no Service is defined there"
            raise ImportServiceError(f"{target!r} has no attribute {attribute!r}", hint=known) from None
    if not isinstance(found, Service):
        raise ImportServiceError(f"{target}:{attribute} is of type {type(found).__name__}, not a bentoml.Service")
    return found, attribute
