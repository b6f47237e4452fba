"""env/python of a bento: its files, and what its script tells pip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bentoml.build import own_wheel, python_env
from bentoml.build.options import PythonOptions
from bentoml.build.requirements import Requirements
from bentoml.exceptions import InvalidArgument
from tests._wheels import make_index, make_wheel

#: Stands for pip: writes down what it is told.
FAKE_PYTHON = f"""#!{sys.executable}
import json, os, sys
if sys.argv[1] == "-c":
    print(os.environ["FAKE_VERSION"])
else:
    told = {{"argv": sys.argv[1:], "env": {{k: v for k, v in os.environ.items() if k.startswith("PIP_")}}}}
    with open(os.environ["FAKE_LOG"], "a") as log:
        print(json.dumps(told), file=log)
"""


def write(folder: Path, options: PythonOptions, context: Path, python_version: str = "3.12") -> Path:
    python_env.write(folder / "bento", options, context=context, python_version=python_version)
    return folder / "bento" / "env" / "python"


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def install(env: Path, folder: Path, version: str = "3.12", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run install.sh with a Python that only writes down what it is told."""
    (folder / "bin").mkdir(exist_ok=True)
    fake = folder / "bin" / "python"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**kept, "PATH": path, "FAKE_VERSION": version, "FAKE_LOG": str(folder / "log"), **variables}
    return subprocess.run(["sh", str(env / "install.sh")], env=environment, cwd="/", capture_output=True, text=True)


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def test_a_locked_environment_has_these_files(tmp_path: Path) -> None:
    index = make_index(tmp_path / "index")
    make_wheel(index, "alpha")
    options = PythonOptions(packages=["alpha>=1"], no_index=True, find_links=[str(index)])
    env = write(tmp_path, options, tmp_path)
    own = f"wheels/{own_wheel.file_name()}"
    assert names_in(env) == {"install.sh", "requirements.lock.txt", "requirements.txt", "version.txt", own}
    assert (env / "requirements.txt").read_text() == "alpha>=1\n"
    assert (env / "version.txt").read_text().startswith("3.12")
    text = (env / "requirements.lock.txt").read_text()
    assert text.startswith("# Pinned for Python 3.12.\n")
    assert "alpha==1.0 \\\n" in text
    assert "msgspec==99.0 \\\n" in text
    assert "makunouchi" not in text
    assert os.access(env / "install.sh", os.X_OK)


def test_two_builds_write_the_same(tmp_path: Path) -> None:
    index = make_index(tmp_path / "index")
    options = PythonOptions(no_index=True, find_links=[str(index)])
    one, other = (write(tmp_path / name, options, tmp_path) for name in ("one", "other"))
    assert names_in(one) == names_in(other)
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names_in(one))


def test_requirements_files_are_not_locked_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("alpha\n-c limits.txt\n")
    (tmp_path / "limits.txt").write_text("beta<2\n")
    env = write(tmp_path, PythonOptions(requirements_txt="requirements.txt"), tmp_path)
    assert "requirements.lock.txt" not in names_in(env)
    assert (env / "requirements.txt").read_text() == "alpha\n"
    assert (env / "constraints.txt").read_text() == "beta<2\n"


def test_a_locked_install_looks_for_nothing_else(tmp_path: Path) -> None:
    index = make_index(tmp_path / "index")
    env = write(tmp_path, PythonOptions(no_index=True, find_links=[str(index)]), tmp_path)
    assert install(env, tmp_path).returncode == 0
    locked, wheels = told(tmp_path)
    assert locked["argv"][-4:] == ["--require-hashes", "--no-deps", "-r", "requirements.lock.txt"]
    assert wheels["argv"] == ["-m", "pip", "install", "--no-index", "--no-deps", f"wheels/{own_wheel.file_name()}"]


def test_an_open_install_takes_this_package_from_its_wheel(tmp_path: Path) -> None:
    mine = make_wheel(tmp_path, "my-tools")
    options = PythonOptions(packages=["alpha", "bentoml[tracing]"], wheels=[mine.name], lock_packages=False)
    env = write(tmp_path, options, tmp_path)
    assert install(env, tmp_path).returncode == 0
    last = [each["argv"][-1] for each in told(tmp_path)]
    assert last == ["requirements.txt", f"wheels/{own_wheel.file_name()}[tracing]", f"wheels/{mine.name}"]


def test_an_extra_that_this_package_has_not_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, PythonOptions(packages=["bentoml[grpc]"], lock_packages=False), tmp_path)
    assert "bentoml[grpc] is left out: this implementation has no such extra" in caplog.text


HOSTILE = [
    "$(touch canary)",
    "`touch canary`",
    "a;touch canary",
    "'",
    '"',
    "a b",
    "it's",
    "$HOME",
    "\\",
    "*",
    "&&",
    "#x",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_pip_is_given_is_what_was_written(text: str, tmp_path: Path) -> None:
    import shlex

    address = f"https://host.example/{text.replace(' ', '')}"
    options = PythonOptions(pip_args=shlex.quote(text), index_url=address, trusted_host=["one", "two"])
    script = python_env.install_script(Requirements([], [], [], options))
    env = tmp_path / "env"
    (env / "wheels").mkdir(parents=True)
    (env / "version.txt").write_text("3.12")
    (env / "install.sh").write_text(script)
    (env / "requirements.txt").write_text("")
    assert install(env, tmp_path).returncode == 0
    first = told(tmp_path)[0]
    assert first["argv"] == ["-m", "pip", "install", "--no-warn-script-location", text, "-r", "requirements.txt"]
    assert first["env"]["PIP_INDEX_URL"] == address
    assert first["env"]["PIP_TRUSTED_HOST"] == "one two"
    assert not list(tmp_path.rglob("canary"))
    assert not Path("/canary").exists()


def test_credentials_of_an_index_are_not_written_and_come_from_the_environment(tmp_path: Path) -> None:
    options = PythonOptions(index_url="https://me:secret@host.example/simple", lock_packages=False)
    env = write(tmp_path, options, tmp_path)
    assert not any("secret" in (env / name).read_text() for name in ("install.sh", "version.txt"))
    install(env, tmp_path, PIP_INDEX_URL="https://me:other@host.example/simple")
    assert told(tmp_path)[0]["env"]["PIP_INDEX_URL"] == "https://me:other@host.example/simple"


def test_features_are_extras_of_the_carried_wheel(tmp_path: Path) -> None:
    env = write(tmp_path, PythonOptions(lock_packages=False), tmp_path)
    install(env, tmp_path, BENTOML_FEATURES="image,tracing")
    assert told(tmp_path)[-1]["argv"][-1] == f"wheels/{own_wheel.file_name()}[image,tracing]"


def test_another_python_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    index = make_index(tmp_path / "index")
    env = write(tmp_path, PythonOptions(no_index=True, find_links=[str(index)]), tmp_path)
    done = install(env, tmp_path, version="3.10")
    assert done.returncode == 1
    assert done.stderr == (
        "The packages of this bento are pinned for Python 3.12, and this is Python 3.10. Build the bento with "
        'docker.python_version: "3.10", or with python.lock_packages: false.\n'
    )
    assert not (tmp_path / "log").exists()


def test_another_python_is_warned_of_where_nothing_is_locked(tmp_path: Path) -> None:
    env = write(tmp_path, PythonOptions(lock_packages=False), tmp_path)
    done = install(env, tmp_path, version="3.10")
    assert done.returncode == 0
    assert done.stderr == "Warning: this bento was built for Python 3.12, and this is Python 3.10.\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.whl", "python.wheels: 'x.whl' is not a wheel (hint: python -m build --wheel makes one)"),
        ("bentoml-1.0-py3-none-any.whl", "would replace this package itself in the bento"),
        ("../x-1.0-py3-none-any.whl", "leads out of the build context"),
        ("missing-1.0-py3-none-any.whl", "there is no file 'missing-1.0-py3-none-any.whl'"),
    ],
)
def test_what_is_no_wheel_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_text("")
    make_wheel(tmp_path, "bentoml")
    with pytest.raises(InvalidArgument) as caught:
        write(tmp_path, PythonOptions(wheels=[name], lock_packages=False), tmp_path)
    assert message in str(caught.value)
    assert not (tmp_path / "bento").exists()


def test_a_wheel_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    make_wheel(tmp_path, "mine")
    make_wheel(tmp_path / "sub", "mine")
    names = ["mine-1.0-py3-none-any.whl", "sub/mine-1.0-py3-none-any.whl"]
    with pytest.raises(InvalidArgument, match=r"python.wheels: 'mine-1.0-py3-none-any.whl' is there twice"):
        write(tmp_path, PythonOptions(wheels=names, lock_packages=False), tmp_path)
