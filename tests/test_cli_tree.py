"""A folder as a tree with sizes."""

from pathlib import Path

from bentoml.cli.tree import tree_lines
from tests._bentos import write


def test_every_file_and_folder_has_its_size(tmp_path: Path) -> None:
    write(tmp_path, "src/a.py", "x" * 2048)
    write(tmp_path, "b.md", "x" * 10)
    assert tree_lines(tmp_path, title="bento:v1") == [
        "bento:v1      2.01 KiB",
        "├── b.md       10.00 B",
        "└── src/      2.00 KiB",
        "    └── a.py  2.00 KiB",
    ]


def test_a_long_list_is_summed_up_unless_that_saves_nothing(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path, f"{number}.txt", "xx")
    lines = tree_lines(tmp_path, title="t", max_entries=3)
    assert [line.split()[1] for line in lines[1:]] == ["0.txt", "1.txt", "2.txt", "…"]
    assert lines[-1] == "└── … 2 more   4.00 B"
    assert "…" not in "".join(tree_lines(tmp_path, title="t", max_entries=4))


def test_deep_folders_are_one_line(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c.txt", "xx")
    assert [line.split()[-3] for line in tree_lines(tmp_path, title="t", max_depth=2)] == ["t", "a/", "b/"]


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    assert tree_lines(tmp_path, title="t") == ["t  0.00 B"]
