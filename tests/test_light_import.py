"""Importing costs next to nothing: what a process loads is what it uses. Also the names that the package offers."""

import subprocess
import sys
import time

import pytest

import bentoml
from tests._cli import environment

#: What no import of the package and no `--help` may load.
HEAVY = {
    "IPython", "aiohttp", "anyio", "asyncio", "click", "cloudpickle", "fastapi", "grpc", "httptools", "httpx",
    "importlib.metadata", "lightgbm", "matplotlib", "msgspec", "numpy", "pandas", "pydantic", "ray", "rich",
    "scipy", "sklearn", "ssl", "starlette", "tensorflow", "torch", "uvloop", "watchfiles", "xgboost", "yaml",
}  # fmt: skip


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has loaded after `code`, besides what it always loads."""
    program = (
        f"import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


def test_import_bentoml_loads_nothing_but_itself() -> None:
    loaded = modules_after("import bentoml")
    assert {name for name in loaded if name.startswith("bentoml")} == {"bentoml", "bentoml._version"}
    assert loaded & HEAVY == set()


def test_help_loads_click_and_the_commands_alone() -> None:
    started_s = time.perf_counter()
    loaded = modules_after(
        "sys.argv[1:] = ['--help']\nfrom bentoml.cli import main\ntry: main()\nexcept SystemExit: pass"
    )
    print(f"bentoml --help: {1000 * (time.perf_counter() - started_s):.0f} ms with the start of the interpreter")
    assert loaded & HEAVY == {"click"}
    ours = {name.split(".")[1] for name in loaded if name.startswith("bentoml.")}
    assert ours == {"_version", "cli", "exceptions"}


def test_listing_models_loads_no_framework_and_no_server() -> None:
    code = "sys.argv[1:] = ['models', 'list', '-q']\nfrom bentoml.cli import main\ntry: main()\nexcept SystemExit: pass"
    loaded = modules_after(code)
    assert loaded & HEAVY <= {"click", "cloudpickle", "msgspec", "yaml"}
    assert not any(name.startswith(("bentoml.server", "bentoml.runner", "bentoml.service")) for name in loaded)


@pytest.mark.parametrize("name", bentoml.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(bentoml, name) is getattr(bentoml, name)
    assert name in dir(bentoml)


def test_public_names_do_not_load_a_library_of_models() -> None:
    loaded = modules_after("import bentoml\nfor name in bentoml.__all__: getattr(bentoml, name)")
    # asyncio, and ssl by it, is what runners stand on.
    assert loaded & HEAVY <= {"asyncio", "cloudpickle", "importlib.metadata", "msgspec", "ssl"}


def test_a_submodule_can_be_imported_by_name() -> None:
    assert modules_after("from bentoml import exceptions; assert exceptions.NotFound") >= {"bentoml.exceptions"}


def test_an_unknown_name_is_an_attribute_error_that_suggests_one() -> None:
    with pytest.raises(AttributeError) as caught:
        bentoml.Servise
    assert str(caught.value) == "module 'bentoml' has no attribute 'Servise'. Did you mean 'Service'?"
    with pytest.raises(AttributeError, match=r"has no attribute 'zzz'$"):
        bentoml.zzz
    assert not hasattr(bentoml, "__wrapped__")


def test_all_is_sorted() -> None:
    assert bentoml.__all__ == sorted(bentoml.__all__)
