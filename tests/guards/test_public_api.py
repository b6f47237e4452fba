"""What `import bentoml` offers is what its listing says, and each name is the one thing that it claims to be."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import bentoml
from bentoml.framework import Framework
from tests.guards._source import PACKAGE, files, module_name, parsed, relative

#: Modules whose names users import from them; `bentoml` itself lists them, but for those that only authors need.
PUBLIC_MODULES = [name for name in bentoml.__all__ if isinstance(getattr(bentoml, name), ModuleType)]
FOR_AUTHORS = {"framework", "tag"}
#: Rooms behind the names of the first floor: packages without a face of their own.
ROOMS = {"build", "cli", "runner", "server", "service", "store"}


def test_every_name_is_there_and_found_by_tools() -> None:
    for name in bentoml.__all__:
        assert getattr(bentoml, name) is not None
    assert set(bentoml.__all__) <= set(dir(bentoml))
    namespace: dict[str, object] = {}
    exec("from bentoml import *", namespace)
    assert set(bentoml.__all__) <= set(namespace)


def test_the_names_of_bentoml_that_exist_here_are_offered() -> None:
    assert {
        "Context", "Cookie", "Model", "Runnable", "Runner", "Service", "Tag", "__version__", "exceptions", "io",
        "lightgbm", "load", "metrics", "models", "picklable_model", "sklearn", "testing", "types", "xgboost",
    } <= set(bentoml.__all__)  # fmt: skip


def test_every_public_file_is_a_public_name() -> None:
    public = {
        path.stem if path.is_file() else path.name
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").is_file())
    }
    assert public - FOR_AUTHORS - ROOMS == set(PUBLIC_MODULES)


@pytest.mark.parametrize("name", [*PUBLIC_MODULES, *sorted(FOR_AUTHORS)])
def test_a_public_module_lists_what_it_has(name: str) -> None:
    module = importlib.import_module(f"bentoml.{name}")
    assert module.__doc__
    for listed in module.__all__:
        assert hasattr(module, listed), f"bentoml.{name}.__all__ lists {listed!r}"
    own = {
        attribute
        for attribute, value in vars(module).items()
        if not attribute.startswith("_") and callable(value) and getattr(value, "__module__", "") == module.__name__
        # The class of a framework is for `check_framework`; users call the module's functions.
        if name == "framework" or not (isinstance(value, type) and issubclass(value, Framework))
    }
    assert own <= set(module.__all__), "a public name that is not listed"


def test_what_is_listed_for_type_checkers_is_what_is_there() -> None:
    tree = parsed(PACKAGE / "__init__.py")
    shown = {"__version__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            imports = [each for each in node.body if isinstance(each, (ast.Import, ast.ImportFrom))]
            shown |= {alias.asname or alias.name for each in imports for alias in each.names}
    assert shown == set(bentoml.__all__)


def test_every_listed_name_of_every_file_exists() -> None:
    for path in files():
        name = module_name(path)
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        missing = [listed for listed in getattr(module, "__all__", []) if not hasattr(module, listed)]
        assert missing == [], relative(path)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"module 'bentoml' has no attribute 'Servce'\. Did you mean 'Service'\?"):
        bentoml.Servce
    with pytest.raises(AttributeError, match="has no attribute '_private'$"):
        bentoml._private


@pytest.mark.parametrize("path", [path for path in files() if path.name == "__init__.py"], ids=relative)
def test_each_package_can_be_imported_first(path: Path) -> None:
    """In a process of its own the order of imports is another; a hidden circle shows itself there."""
    done = subprocess.run([sys.executable, "-c", f"import {module_name(path)}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
