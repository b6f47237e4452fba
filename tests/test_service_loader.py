"""Finding a service by module, file or folder, and saying why it cannot be found."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bentoml
from bentoml.exceptions import BentoMLException, ImportServiceError, NotFound

SERVICE = "import bentoml\nsvc = bentoml.Service({name!r})\n"


@pytest.fixture(autouse=True)
def as_it_was(tmp_path: Path) -> Iterator[None]:
    """Loading leaves the project's folder on the path and its modules imported; the next test starts afresh."""
    path, folder = list(sys.path), os.getcwd()
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    assert os.getcwd() == folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, "service.py", SERVICE.format(name="found"))
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    "identifier", ["service:svc", "service.py:svc", "service", "service.py", "./service.py:svc", "."]
)
def test_a_service_is_found_by_module_file_or_folder(project: Path, identifier: str) -> None:
    service = bentoml.load(identifier, working_dir=str(project))
    assert service.name == "found"
    assert str(service) == f'bentoml.Service(name="found", import_str="service:svc", working_dir="{project}")'


def test_the_path_may_be_absolute_or_a_path_object(project: Path) -> None:
    assert bentoml.load(f"{project}/service.py:svc", working_dir=str(project)).name == "found"
    assert bentoml.load(project).working_dir == str(project)


def test_a_folder_is_asked_for_its_bentofile_first(project: Path) -> None:
    write(project, "bentofile.yaml", 'service: "other.py:chosen"\n')
    write(
        project, "other.py", "import bentoml\nchosen = bentoml.Service('other')\nsecond = bentoml.Service('second')\n"
    )
    assert bentoml.load(str(project)).name == "other"


def test_modules_in_packages_are_found(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "")
    write(tmp_path, "pkg/names.py", "NAME = 'inner'")
    write(
        tmp_path, "pkg/svc.py", "import bentoml\nfrom .names import NAME\nclass Box:\n  svc = bentoml.Service(NAME)\n"
    )
    for identifier in ("pkg.svc:Box.svc", "pkg/svc.py:Box.svc"):
        service = bentoml.load(identifier, working_dir=str(tmp_path))
        assert (service.name, service.import_string) == ("inner", "pkg.svc:Box.svc")


def test_a_mounted_file_may_be_a_link_to_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, "..data/service.py", SERVICE.format(name="mounted"))
    (tmp_path / "service.py").symlink_to("..data/service.py")
    assert bentoml.load("service.py:svc", working_dir=str(tmp_path)).name == "mounted"


def test_two_projects_in_one_process_keep_their_own_modules(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "service.py", "import bentoml, helper\nsvc = bentoml.Service(helper.NAME)\n")
        write(tmp_path / name, "helper.py", f"NAME = {name!r}\n")
    for name in ("one", "two", "one", "one", "two"):
        assert bentoml.load(str(tmp_path / name)).name == name


def test_a_project_does_not_displace_what_is_installed(project: Path) -> None:
    import json

    write(project, "json.py", "raise RuntimeError('not me')")
    assert bentoml.load(str(project)).name == "found"
    assert sys.modules["json"] is json


def test_the_working_directory_is_that_of_the_import_only(project: Path) -> None:
    write(project, "service.py", "import bentoml, os\nwhere = os.getcwd()\nsvc = bentoml.Service('found')\n")
    bentoml.load("service:svc", working_dir=str(project))
    assert sys.modules["service"].where == str(project)  # type: ignore[attr-defined]


def test_a_standalone_load_stays_there(project: Path) -> None:
    before = os.getcwd()
    try:
        bentoml.load("service:svc", working_dir=str(project), standalone_load=True)
        assert os.getcwd() == str(project)
    finally:
        os.chdir(before)


def refusal(identifier: str, folder: Path, error: type[BentoMLException] = ImportServiceError) -> str:
    with pytest.raises(error) as raised:
        bentoml.load(identifier, working_dir=str(folder))
    return str(raised.value)


def test_several_services_must_be_told_apart(project: Path) -> None:
    write(project, "service.py", "import bentoml\na = bentoml.Service('a')\nb = bentoml.Service('b')\n")
    assert refusal("service", project) == (
        "Multiple Service instances found in module 'service': a, b (hint: name one: service:a)"
    )
    assert bentoml.load("service:b", working_dir=str(project)).name == "b"


def test_one_service_under_two_names_is_one(project: Path) -> None:
    write(project, "service.py", "import bentoml\na = b = bentoml.Service('a')\n")
    assert bentoml.load("service", working_dir=str(project)).name == "a"


@pytest.mark.parametrize(
    ("identifier", "text", "said"),
    [
        ("service", "", "no Service instance found in module 'service' (hint: svc = bentoml.Service('name', ...))"),
        ("service:svc", "", "'service' has no attribute 'svc' (hint: no Service is defined there)"),
        ("service:other", SERVICE.format(name="a"), "'service' has no attribute 'other' (hint: services there: svc)"),
        ("service:svc", "svc = 3", "service:svc is of type int, not a bentoml.Service"),
        ("service", "svc = (", "importing 'service' failed: {folder}/service.py:1: SyntaxError: '(' was never closed"),
        (
            "service",
            "\n1 / 0",
            "importing 'service' failed: {folder}/service.py:2: ZeroDivisionError: division by zero",
        ),
        ("service", "raise SystemExit", "importing 'service' failed: {folder}/service.py:1: SystemExit: "),
        (
            "service",
            "import nosuch.part",
            "importing 'service' failed: {folder}/service.py:1: ModuleNotFoundError: No module named 'nosuch' "
            "(hint: pip install nosuch)",
        ),
        (
            "nosuch:svc",
            "",
            "there is no module 'nosuch' in {folder}, and no bento of that name in the store (hint: Python files there: service.py)",
        ),
        (
            "nosuch.py",
            "",
            "there is no file {folder}/nosuch.py (hint: run the command in the folder of your service.py)",
        ),
        ("../x.py", "", "there is no file {parent}/x.py (hint: run the command in the folder of your service.py)"),
        ("a/b", "", "'a/b' is neither a module, a .py file nor a folder that exists"),
        (":svc", "", "no module is named (hint: bentoml serve service:svc)"),
    ],
)
def test_what_cannot_be_found_or_imported_is_said(project: Path, identifier: str, text: str, said: str) -> None:
    write(project, "service.py", text)
    assert refusal(identifier, project) == said.format(folder=project, parent=project.parent)


def test_an_error_deeper_in_the_project_names_the_deepest_line_of_it(project: Path) -> None:
    write(project, "service.py", "import helper\n")
    write(project, "helper.py", "import json\n\njson.loads('{')\n")
    assert refusal("service", project).startswith(
        f"importing 'service' failed: {project}/helper.py:3: JSONDecodeError: "
    )


def test_a_syntax_error_in_another_file_names_that_file(project: Path) -> None:
    write(project, "service.py", "import helper\n")
    write(project, "helper.py", "def f(:\n")
    assert f"{project}/helper.py:1: SyntaxError: " in refusal("service", project)


def test_a_file_outside_of_the_working_directory_is_refused(project: Path) -> None:
    write(project, "sub/other.py", "")
    assert refusal("../service.py", project / "sub") == (
        f"{project}/service.py lies outside of the working directory {project}/sub (hint: --working-dir FOLDER)"
    )


def test_a_missing_model_is_the_stores_own_error(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    write(project, "service.py", "import bentoml\nmodel = bentoml.models.get('nosuch:latest')\n")
    assert "nosuch" in refusal("service", project, NotFound)


@pytest.mark.parametrize(
    ("bentofile", "said"),
    [
        (None, r"the folder .* holds neither a bentofile.yaml nor a service.py"),
        ("a: [", r"bentofile.yaml is not YAML"),
        ("labels: {}", r"bentofile.yaml has no key `service` \(hint: service: \"service.py:svc\"\)"),
        ("service: 3", r"bentofile.yaml has no key `service`"),
        ("- a", r"bentofile.yaml has no key `service`"),
    ],
)
def test_a_folder_without_a_service_is_refused(tmp_path: Path, bentofile: str | None, said: str) -> None:
    if bentofile is not None:
        write(tmp_path, "bentofile.yaml", bentofile)
    with pytest.raises(BentoMLException) as raised:
        bentoml.load(str(tmp_path))
    assert re.search(said, str(raised.value))


def test_a_working_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal("service", tmp_path / "nosuch") == f"the working directory {tmp_path}/nosuch does not exist"
