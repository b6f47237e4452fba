"""Finding a service: 'module:svc', 'service.py:svc' or a folder, imported as Python imports it."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from bentoml.exceptions import BentoMLException, ImportServiceError
from bentoml.service.service import Service

__all__ = ["load", "resolve_folder"]

#: Where services were imported from in this process, so that a project never gets the modules of another.
_roots: list[Path] = []


def load(
    bento_identifier: str | os.PathLike[str], working_dir: str | None = None, standalone_load: bool = False
) -> Service:
    """The service that `bento_identifier` names.

    Args:
        bento_identifier: `"module:svc"`, `"service.py:svc"`, or a folder with a bentofile.yaml or a service.py.
        working_dir: where modules and paths are looked up; defaults to the current folder, or the folder named.
        standalone_load: leave the working directory changed after the import, as a server process wants it.

    Raises:
        ImportServiceError: there is no such module or service, or importing it failed; says where.
        BentoMLException: what the service's own code raised of this package, for instance NotFound for a model.
    """
    identifier = os.fspath(bento_identifier)
    root = Path(working_dir or ".").resolve()
    folder = root / os.path.expanduser(identifier)
    if folder.is_dir():
        identifier = resolve_folder(folder)
        if working_dir is None:
            root = folder.resolve()
    if not root.is_dir():
        raise ImportServiceError(f"the working directory {root} does not exist")
    target, _, attribute = identifier.partition(":")
    module_name = _module_name(target, root)
    _forget_namesakes(module_name, root)
    with _importing_in(root, keep=standalone_load):
        module = _import(module_name, target, root)
    service, name = _service_in(module, attribute, target)
    service.import_string = f"{module_name}:{name}"
    service.working_dir = str(root)
    return service


def resolve_folder(folder: Path) -> str:
    """The import string that a folder names: of its bentofile.yaml, else its service.py.

    Raises:
        BentoMLException: it has neither.
    """
    bentofile = folder / "bentofile.yaml"
    if bentofile.is_file():
        try:
            content = msgspec.yaml.decode(bentofile.read_bytes())
        except msgspec.DecodeError as error:
            raise BentoMLException(f"{bentofile} is not YAML: {error}") from error
        named = content.get("service") if isinstance(content, dict) else None
        if not isinstance(named, str) or not named:
            raise BentoMLException(f"{bentofile} has no key `service`", hint='service: "service.py:svc"')
        return named
    if (folder / "service.py").is_file():
        return "service.py"
    raise BentoMLException(
        f"the folder {folder} holds neither a bentofile.yaml nor a service.py",
        hint="name the service: bentoml serve module:svc",
    )


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
def _importing_in(root: Path, *, keep: bool) -> Iterator[None]:
    before = os.getcwd()
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


def _import(module_name: str, target: str, root: Path) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except BentoMLException:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            found = sorted(path.name for path in root.glob("*.py"))[:5]
            raise ImportServiceError(
                f"there is no module {error.name!r} in {root}",
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
