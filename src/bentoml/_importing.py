"""Imports by name: an object from 'module:attr', and optional libraries whose absence says what to install."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from bentoml.exceptions import BentoMLException, MissingDependencyException

__all__ = ["import_module_named", "is_installed", "loaded", "require", "require_installed"]


def require(module: str, *, install: str = "", what: str = "") -> ModuleType:
    """Import `module` now, or say what to install.

    Args:
        module: dotted name, for instance `"sklearn"`.
        install: what to give to `pip install`; defaults to the top-level module name.
        what: what needs it, for instance `"bentoml.sklearn"`; names the cause in the message.

    Raises:
        MissingDependencyException: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A library that is there but lacks a dependency of its own must not be reported as missing itself.
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise _missing(module, install, what) from None


def require_installed(module: str, *, install: str = "", what: str = "") -> None:
    """Like `require`, but only look for the library: costs microseconds instead of its import."""
    if not is_installed(module):
        raise _missing(module, install, what)


def is_installed(module: str) -> bool:
    """Whether `import module` would find something."""
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def loaded(module: str) -> ModuleType | None:
    """The module if this process has imported it already; a value cannot be of its types otherwise."""
    return sys.modules.get(module)


def import_module_named(name: str, *, what: str) -> ModuleType:
    """Import the module that a stored record names.

    Raises:
        BentoMLException: there is no such module; `what` says who named it.
    """
    try:
        return importlib.import_module(name)
    except (ModuleNotFoundError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name is not None and not name.startswith(error.name):
            raise
        raise BentoMLException(
            f"{what} names the module {name!r}, which cannot be imported",
            hint="install the package that provides it, or save the model again with a module of this version",
        ) from error


def _missing(module: str, install: str, what: str) -> MissingDependencyException:
    needed_by = f"{what} needs" if what else "this needs"
    target = install or module.partition(".")[0]
    return MissingDependencyException(
        f"{needed_by} the library {module.partition('.')[0]!r}, which is not installed",
        hint=f"pip install {target}",
    )
