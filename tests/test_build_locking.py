"""Locking with the real uv, against an index that is a folder of small wheels: no network."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from bentoml.build import own_wheel
from bentoml.build.locking import lock
from bentoml.build.options import PythonOptions
from bentoml.build.requirements import Requirements
from bentoml.exceptions import BentoMLException
from tests._wheels import make_wheel


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    make_wheel(folder, "alpha", "1.0")
    make_wheel(folder, "alpha", "2.0", ["beta>=1; sys_platform == 'linux'"])
    make_wheel(folder, "beta", "1.5")
    make_wheel(folder, "only-windows", "1.0")
    return folder


def own(tmp_path: Path, *requires: str) -> Path:
    """What stands for the wheel of this package."""
    made = make_wheel(tmp_path, "makunouchi", "0", requires)
    return made.rename(tmp_path / own_wheel.file_name().replace(own_wheel.__version__, "0"))


def wanted(index: Path, *packages: str, constraints: list[str] | None = None, **options: str) -> Requirements:
    given = PythonOptions(no_index=True, find_links=[str(index)], **options)  # type: ignore[arg-type]  # only texts
    return Requirements(list(packages), constraints or [], [], given)


def pins(text: str) -> dict[str, str]:
    """name==version → marker."""
    return dict(re.findall(r"^(\S+==\S+)(?: ; (.*?))? \\$", text, re.MULTILINE))


def test_every_package_has_its_version_and_digests(index: Path, tmp_path: Path) -> None:
    text = lock(wanted(index, "alpha"), [own(tmp_path)], python_version="3.12.4")
    assert pins(text) == {"alpha==2.0": "", "beta==1.5": "sys_platform == 'linux'"}
    digest = hashlib.sha256((index / "alpha-2.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert f"--hash=sha256:{digest}" in text
    assert str(tmp_path) not in text


def test_what_the_carried_wheels_need_is_locked_and_they_are_not(index: Path, tmp_path: Path) -> None:
    mine = make_wheel(tmp_path, "my-tools", requires=["alpha<2"])
    text = lock(wanted(index), [own(tmp_path, "beta"), mine], python_version="3.12")
    assert set(pins(text)) == {"alpha==1.0", "beta==1.5"}


def test_constraints_hold(index: Path, tmp_path: Path) -> None:
    text = lock(wanted(index, "alpha", constraints=["alpha<2"]), [own(tmp_path)], python_version="3.12")
    assert set(pins(text)) == {"alpha==1.0"}


def test_the_lock_is_for_one_python_and_all_platforms(index: Path, tmp_path: Path) -> None:
    packages = [
        "only-windows; sys_platform == 'win32'",
        "alpha<2; python_version < '3.12'",
        "beta; python_version >= '3.12'",
    ]
    text = lock(wanted(index, *packages), [own(tmp_path)], python_version="3.12")
    assert pins(text) == {"beta==1.5": "", "only-windows==1.0": "sys_platform == 'win32'"}


def test_two_locks_are_the_same(index: Path, tmp_path: Path) -> None:
    carried = [own(tmp_path)]
    assert len({lock(wanted(index, "alpha"), carried, python_version="3.12") for _ in range(2)}) == 1


def test_a_conflict_is_told_in_the_words_of_uv(index: Path, tmp_path: Path) -> None:
    with pytest.raises(BentoMLException) as caught:
        lock(wanted(index, "alpha==2.0", "beta<1"), [own(tmp_path)], python_version="3.12")
    assert str(caught.value).startswith("the packages of the bento cannot be locked: ")
    assert "beta<1" in str(caught.value)
    assert str(caught.value).endswith(
        "(hint: change the requirements, or set python.lock_packages to false to leave the choice to the installation)"
    )


def test_an_index_that_cannot_be_reached_is_told_without_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    options = PythonOptions(index_url="http://me:secret@127.0.0.1:9/simple")
    with pytest.raises(BentoMLException) as caught:
        lock(Requirements(["alpha"], [], [], options), [own(tmp_path)], python_version="3.12")
    assert "secret" not in str(caught.value)
    assert str(caught.value).endswith(
        "(hint: check the way to the package index, or set python.lock_packages to false)"
    )


def test_what_has_no_digest_is_refused(index: Path, tmp_path: Path) -> None:
    """A repository, for instance, whose content is named by a commit that only git can check."""
    with pytest.raises(BentoMLException):
        lock(wanted(index, "x @ git+https://127.0.0.1:9/x.git"), [own(tmp_path)], python_version="3.12")


def test_digests_that_were_given_must_be_among_those_of_the_index(index: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((index / "beta-1.5-py3-none-any.whl").read_bytes()).hexdigest()
    text = lock(wanted(index, f"beta==1.5 --hash=sha256:{digest}"), [own(tmp_path)], python_version="3.12")
    assert set(pins(text)) == {"beta==1.5"}
    with pytest.raises(BentoMLException, match="'beta==1.5': the package index has no file with the digest"):
        lock(wanted(index, f"beta==1.5 --hash=sha256:{'0' * 64}"), [own(tmp_path)], python_version="3.12")
