"""The wheel of this package that a bento carries: what is in it, byte for byte the same, and installable."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bentoml
from bentoml.build import own_wheel
from bentoml.exceptions import BentoMLException

PACKAGE = Path(bentoml.__file__).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_wheel.write(tmp_path_factory.mktemp("wheel"))


def test_two_wheels_are_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    assert own_wheel.write(tmp_path).read_bytes() == wheel.read_bytes()


def test_it_holds_the_package_and_no_caches(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        assert opened.read("bentoml/__init__.py") == (PACKAGE / "__init__.py").read_bytes()
    assert "bentoml/py.typed" in names
    assert "bentoml/server/static/swagger-ui.css" in names
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)
    assert len(names) == len(set(names))


def test_its_record_has_the_digest_of_every_file(wheel: Path) -> None:
    info = f"makunouchi-{bentoml.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as opened:
        record = list(csv.reader(io.StringIO(opened.read(f"{info}/RECORD").decode())))
        assert [name for name, _, _ in record] == opened.namelist()
        for name, digest, size in record[:-1]:
            content = opened.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={expected}", str(len(content)))
        assert record[-1] == [f"{info}/RECORD", "", ""]


def test_an_installer_takes_it_and_the_command_runs(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)],
        check=True,
    )  # fmt: skip
    [installed] = importlib.metadata.distributions(path=[str(target)])
    assert installed.version == bentoml.__version__
    assert installed.metadata["Requires-Python"] == ">=3.10"
    assert any(requirement.startswith("msgspec") for requirement in installed.requires or ())
    assert {entry.value for entry in installed.entry_points} == {"bentoml.cli:main"}
    ran = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(target)!r}); from bentoml.cli import main; main()", "--version"],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert ran.stdout == f"bentoml, version {bentoml.__version__}\n", ran.stderr


def test_an_installed_package_makes_a_wheel_of_itself(wheel: Path, tmp_path: Path) -> None:
    """Installed, there is no pyproject.toml to read: what the installer left behind describes it."""
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True)
    make = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import pathlib, bentoml.build.own_wheel as own_wheel\n"
        f"own_wheel.write(pathlib.Path({str(tmp_path)!r}))\n"
        "print(sorted(own_wheel.extras()) != [], own_wheel.__file__)"
    )
    made = subprocess.run([sys.executable, "-I", "-c", make], capture_output=True, text=True)
    assert made.stdout.startswith(f"True {target}"), made.stderr
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
        assert {name: one.read(name) for name in one.namelist()} == {
            name: other.read(name) for name in other.namelist()
        }


def test_metadata_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(own_wheel, "_CHECKOUT", tmp_path)  # no checkout
    monkeypatch.setattr(own_wheel, "__version__", "9.9.9")
    installed = importlib.metadata.version("makunouchi")
    with pytest.raises(BentoMLException) as caught:
        own_wheel.write(tmp_path)
    assert str(caught.value) == (
        f"the files of makunouchi are of version 9.9.9, its metadata is of {installed} (hint: pip install "
        "--force-reinstall --no-deps makunouchi)"
    )


def test_a_folder_that_is_neither_installed_nor_a_checkout_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(own_wheel, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(own_wheel, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(BentoMLException, match="is neither an installed package nor a checkout, so no wheel can be"):
        own_wheel.write(tmp_path)


def test_extras_are_those_of_the_project() -> None:
    assert {"numpy", "pandas", "pydantic", "tracing"} <= own_wheel.extras()
