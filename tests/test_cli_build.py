"""`bentoml build`: what it prints where, and what becomes of mistakes."""

import re
from pathlib import Path

import pytest

import bentoml
from tests import _bentos
from tests._cli import invoke, run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    _bentos.save_rules()
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return _bentos.write_project(tmp_path / "project")


def test_the_result_is_on_stdout_and_the_steps_are_on_stderr(home: Path, project: Path) -> None:
    _bentos.write(project, "service.py", "print('hello from the service')\n" + _bentos.SERVICE)
    done = run("build", "--version", "v1", home=home, cwd=project)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == 'Successfully built Bento(tag="payments:v1")'
    assert lines[2].startswith("payments:v1 ")
    assert any(re.fullmatch(r"├── src/ +\d.* B|└── src/ +\d.* B", line) for line in lines)
    assert re.fullmatch(r"\d+\.\d\d KiB in \d+\.\d s\. Next:", lines[-5])
    assert [line.split("  ")[1] for line in lines[-3:]] == [
        "bentoml serve payments:v1",
        "bentoml containerize payments:v1",
        "bentoml export payments:v1",
    ]
    assert done.stderr.splitlines()[0] == "  importing service.py:svc …"
    assert "hello from the service" in done.stderr
    assert "  copying the model rules:v1 …" in done.stderr
    assert done.stderr.splitlines()[-1] == "  saving payments:v1 …"


def test_scripts_get_the_tag_alone(home: Path, project: Path) -> None:
    _bentos.write(project, "bentofile.yaml", _bentos.BENTOFILE.replace("lock", "packages: [sklearn], lock"))
    done = run("build", str(project), "-o", "tag", home=home)
    assert re.fullmatch(r"__tag__:payments:[a-z2-7]{16}\n", done.stdout)
    assert "sklearn is taken for scikit-learn" in done.stderr


def test_quiet_prints_the_bento_alone(home: Path, project: Path) -> None:
    done = run("build", "--version", "v1", "-q", home=home, cwd=project)
    assert (done.stdout, done.stderr) == ('Bento(tag="payments:v1")\n', "")


def test_another_bentofile_may_be_named(home: Path, project: Path, tmp_path: Path) -> None:
    _bentos.write(project, "other.yaml", _bentos.BENTOFILE + "name: other\n")
    result = invoke("build", str(project), "-f", "other.yaml", "-o", "tag", home=home)
    assert result.stdout.startswith("__tag__:other:")


def test_pyproject_may_hold_the_bentofile(home: Path, project: Path) -> None:
    (project / "bentofile.yaml").unlink()
    _bentos.write(
        project,
        "pyproject.toml",
        '[tool.bentoml.build]\nservice = "service:svc"\nname = "toml"\n[tool.bentoml.build.python]\nlock_packages = false\n',
    )
    assert invoke("build", str(project), "-o", "tag", home=home).stdout.startswith("__tag__:toml:")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no bentofile.yaml in {project} (hint: write one with the line `service: "),
        ("servce: x\n", "bentofile.yaml: `servce` is no key of a bentofile (hint: did you mean `service`?)"),
        ("service: nosuch:svc\n", "there is no module 'nosuch' in {project}, and no bento of that name in the store"),
    ],
)
def test_a_mistake_is_one_line(home: Path, project: Path, text: str | None, said: str) -> None:
    (project / "bentofile.yaml").unlink()
    if text is not None:
        _bentos.write(project, "bentofile.yaml", text)
    result = invoke("build", str(project), home=home)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: `build` failed: " + said.format(project=project))
    assert bentoml.list() == []


def test_without_a_tool_that_makes_images_nothing_is_done(home: Path, project: Path, tmp_path: Path) -> None:
    done = run("build", "--containerize", home=home, cwd=project, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: `build` failed: ")
    assert len(done.stderr.splitlines()) == 1
    assert bentoml.list() == []


def test_a_context_that_is_no_folder_is_wrong_usage(home: Path, tmp_path: Path) -> None:
    assert invoke("build", str(tmp_path / "nosuch"), home=home).exit_code == 2
