"""Which files go into a bento: patterns, .bentoignore at every depth, links, and what never belongs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bentoml.build import files
from bentoml.exceptions import BentoMLException, InvalidArgument
from tests._bentos import write


def project(folder: Path, *names: str) -> Path:
    for name in names:
        write(folder, name, name)
    return folder


def selected(context: Path, include: list[str] | None = None, exclude: list[str] | None = None) -> list[str]:
    return [file.name for file in files.select(context, include=include or ["*"], exclude=exclude or [])]


def refusal(context: Path, include: list[str] | None = None) -> str:
    with pytest.raises(BentoMLException) as raised:
        selected(context, include)
    return str(raised.value)


def test_without_patterns_everything_belongs_in_a_fixed_order(tmp_path: Path) -> None:
    project(tmp_path, "b.py", "a/z.txt", "a/b/c.bin", ".hidden", "Z")
    assert selected(tmp_path) == [".hidden", "Z", "a/b/c.bin", "a/z.txt", "b.py"]


def test_patterns_are_those_of_gitignore(tmp_path: Path) -> None:
    project(tmp_path, "service.py", "lib/a.py", "lib/a.txt", "lib/data/x.csv", "data/y.csv", "tests/t.py")
    assert selected(tmp_path, ["*.py"]) == ["lib/a.py", "service.py", "tests/t.py"]
    assert selected(tmp_path, ["*.py"], ["tests/"]) == ["lib/a.py", "service.py"]
    assert selected(tmp_path, ["/service.py", "lib/**/*.csv"]) == ["lib/data/x.csv", "service.py"]
    assert selected(tmp_path, ["data"]) == ["data/y.csv", "lib/data/x.csv"]
    assert selected(tmp_path, ["*.py"], ["/lib/*", "!/lib/a.py"]) == ["lib/a.py", "service.py", "tests/t.py"]


def test_an_anchored_pattern_excludes_at_the_root_alone(tmp_path: Path) -> None:
    project(tmp_path, "somefile", "a/somefile")
    assert selected(tmp_path, exclude=["/somefile"]) == ["a/somefile"]


def test_bentoignore_holds_at_every_depth_and_the_deeper_one_has_the_last_word(tmp_path: Path) -> None:
    project(tmp_path, "a.txt", "a/a.txt", "a/b/a.txt", "a/b/keep.txt", "a/b/c/a.txt", "a/b/c/d.txt")
    write(tmp_path, ".bentoignore", "/a.txt\n")
    write(tmp_path, "a/b/.bentoignore", "# below here\n*.txt\n!keep.txt\n")
    write(tmp_path, "a/b/c/.bentoignore", "!/d.txt\n")
    assert [name for name in selected(tmp_path) if "bentoignore" not in name] == [
        "a/a.txt", "a/b/c/d.txt", "a/b/keep.txt",
    ]  # fmt: skip


def test_a_folder_that_is_ignored_is_not_even_entered(tmp_path: Path) -> None:
    project(tmp_path, "a.py", "data/x.csv")
    os.mkfifo(tmp_path / "data/pipe")
    assert selected(tmp_path, exclude=["data/"]) == ["a.py"]


def test_a_bentoignore_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a/.bentoignore", "!\n")
    assert refusal(tmp_path) == "a/.bentoignore: Invalid git pattern: '!'"
    (tmp_path / "a/.bentoignore").write_bytes(b"\xff")
    assert refusal(tmp_path).startswith("a/.bentoignore: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize(
    "name", [".git/config", "sub/.git/x", ".hg/x", "__pycache__/a.pyc", "a/__pycache__/b.pyc", ".ipynb_checkpoints/x", ".DS_Store"]
)  # fmt: skip
def test_what_tools_leave_behind_never_belongs(tmp_path: Path, name: str) -> None:
    assert selected(project(tmp_path, "a.py", name)) == ["a.py"]


@pytest.mark.parametrize("marker", ["pyvenv.cfg", "CACHEDIR.TAG"])
def test_environments_and_caches_are_known_by_their_marker(tmp_path: Path, marker: str) -> None:
    assert selected(project(tmp_path, "a.py", f"my-env/{marker}", "my-env/lib/b.py")) == ["a.py"]


def test_the_store_is_left_out_where_it_lies_in_the_project(tmp_path: Path) -> None:
    project(tmp_path, "a.py", "home/models/x/v1/model.yaml")
    assert [file.name for file in files.select(tmp_path, never=[tmp_path / "home"])] == ["a.py"]


# -- links and special files (T15) -------------------------------------------------------------------------------------


def test_a_link_within_the_project_is_followed(tmp_path: Path) -> None:
    project(tmp_path, "shared/a.py")
    (tmp_path / "a.py").symlink_to("shared/a.py")
    (tmp_path / "lib").symlink_to("shared")
    assert selected(tmp_path) == ["a.py", "lib/a.py", "shared/a.py"]


@pytest.mark.parametrize("target", ["../secret", "/etc/hostname", "sub/../../secret"])
def test_a_link_to_a_file_outside_is_refused(tmp_path: Path, target: str) -> None:
    write(tmp_path, "secret", "")
    context = project(tmp_path / "context", "a.py", "sub/b.py")
    (context / "c.txt").symlink_to(target)
    real = os.path.realpath(context / target)
    assert refusal(context) == (
        f"'c.txt' is a link to {real}, outside of the build context "
        '(hint: put the file itself in its place, or exclude it: "/c.txt")'
    )
    assert selected(context, ["*.py"]) == ["a.py", "sub/b.py"]
    assert selected(context, exclude=["/c.txt"]) == ["a.py", "sub/b.py"]


def test_a_link_to_a_folder_outside_is_refused_and_never_entered(tmp_path: Path) -> None:
    write(tmp_path, "outside/secret.py", "")
    context = project(tmp_path / "context", "a.py")
    (context / "sub").mkdir()
    (context / "sub/out").symlink_to("../../outside")
    assert refusal(context).startswith(f"'sub/out' is a link to {tmp_path}/outside, outside of the build context")
    assert selected(context, ["*.py"]) == ["a.py"]


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    write(tmp_path, "context-2/a.py", "")
    context = project(tmp_path / "context", "b.py")
    (context / "a.py").symlink_to("../context-2/a.py")
    assert "outside of the build context" in refusal(context)


def test_a_link_that_leads_back_is_refused(tmp_path: Path) -> None:
    project(tmp_path, "a/b/c.py")
    (tmp_path / "a/b/up").symlink_to("..")
    assert refusal(tmp_path) == "'a/b/up' is a link to a folder that holds it (hint: exclude it: \"/a/b/up\")"
    assert [file.name for file in files.select(tmp_path, exclude=["up"])] == ["a/b/c.py"]


def test_two_links_to_each_others_folders_end(tmp_path: Path) -> None:
    project(tmp_path, "a/x.py", "b/y.py")
    (tmp_path / "a/to_b").symlink_to("../b")
    (tmp_path / "b/to_a").symlink_to("../a")
    assert "is a link to a folder that holds it" in refusal(tmp_path)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    project(tmp_path, "a.py")
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path) == "'pipe' is no regular file (hint: exclude it: \"/pipe\")"
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.open(tmp_path, os.O_RDONLY)
        sock.bind(f"/proc/self/fd/{here}/s")
        os.close(here)
    assert refusal(tmp_path) == "'s' is no regular file (hint: exclude it: \"/s\")"
    assert selected(tmp_path, ["*.py"]) == ["a.py"]


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to("nowhere")
    assert refusal(tmp_path) == "'gone' is a link to nothing (hint: exclude it: \"/gone\")"


@pytest.mark.parametrize("name", ["new\nline", "back\\slash", "C:x"])
def test_a_name_that_is_unsafe_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "")
    assert f"holds the file name {name!r}, which is refused" in refusal(tmp_path)


def test_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    project(tmp_path, "a/x.py", "A/x.py")
    assert "one name on some file systems" in refusal(tmp_path)


def test_a_project_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 2)
    with pytest.raises(InvalidArgument, match=r"has more than 2 files for the bento \(hint: name what it needs under"):
        selected(project(tmp_path, "a", "b", "c"))
