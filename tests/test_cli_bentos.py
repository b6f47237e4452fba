"""`bentoml list`, `get`, `delete`, `export`, `import` on a real store; what they share with models is tested there."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import bentoml
from tests import _bentos
from tests._cli import invoke, run


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with payments:a and payments:b."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        _bentos.save_rules()
        project = _bentos.write_project(folder / "project")
        for version in ("a", "b"):
            _bentos.build(project, version)
        yield folder / "home"


@pytest.fixture
def home(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(built, tmp_path / "home")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tags(home: Path) -> list[str]:
    return [row["tag"] for row in json.loads(invoke("list", "-o", "json", home=home).stdout)]


def refusal(*args: str, home: Path) -> str:
    result = invoke(*args, home=home)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line.removeprefix(f"Error: `{args[0]}` failed: ")


def test_list_prints_a_table_with_the_newest_first(home: Path) -> None:
    lines = run("list", home=home).stdout.splitlines()
    assert [heading.strip() for heading in lines[0].split("  ") if heading] == [
        "Tag",
        "Size",
        "Model Size",
        "Creation Time",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["payments:b", "payments:a"]


def test_list_prints_json_and_yaml_with_the_folder(home: Path) -> None:
    rows = json.loads(invoke("list", "payments", "-o", "json", home=home).stdout)
    assert [list(row) for row in rows] == [["tag", "size", "model_size", "creation_time", "path"]] * 2
    assert rows[0]["path"] == str(home / "bentos/payments/b")
    assert msgspec.yaml.decode(invoke("list", "-o", "yaml", home=home).stdout) == rows


def test_an_empty_store_lists_nothing(tmp_path: Path) -> None:
    assert invoke("list", home=tmp_path).stdout == "Tag  Size  Model Size  Creation Time\n"


def test_a_damaged_record_does_not_hide_the_other_bentos(home: Path) -> None:
    (home / "bentos/payments/a/bento.yaml").write_text("no: [yaml")
    result = invoke("list", home=home)
    assert result.stderr.startswith("payments:a is left out: ")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["Tag", "payments:b"]


def test_get_prints_record_json_folder_and_tree(home: Path) -> None:
    folder = home / "bentos/payments/b"
    assert invoke("get", "payments", home=home).stdout == (folder / "bento.yaml").read_text()
    fields = json.loads(invoke("get", "payments:latest", "-o", "json", home=home).stdout)
    assert fields == msgspec.yaml.decode((folder / "bento.yaml").read_bytes())
    assert list(fields)[:5] == ["service", "name", "version", "bentoml_version", "creation_time"]
    assert invoke("get", "payments", "-o", "path", home=home).stdout == f"{folder}\n"
    tree = invoke("get", "payments", "-o", "tree", home=home).stdout.splitlines()
    assert tree[0].startswith("payments:b ")
    assert any("└── service.py" in line for line in tree)


def test_get_of_an_unknown_bento_says_what_there_is(home: Path) -> None:
    assert refusal("get", "paymnts", home=home) == (
        f"no bento 'paymnts' in the store {home}/bentos "
        "(hint: did you mean 'payments'? `bentoml list` shows what there is)"
    )


def test_delete_asks_and_says_what_is_gone(home: Path) -> None:
    result = invoke("delete", "payments", home=home, input="y\nn\n")
    assert "delete bento payments:a? [y/N]: y" in result.stdout
    assert 'Bento(tag="payments:a") deleted\n' in result.stdout
    assert tags(home) == ["payments:b"]
    assert invoke("delete", "payments:latest", "-y", home=home).stdout == 'Bento(tag="payments:b") deleted\n'
    assert [row.tag.name for row in bentoml.models.list()] == ["rules"], "the models of the store stay"


def test_export_then_import_elsewhere(home: Path, tmp_path: Path) -> None:
    done = run("export", "payments:a", home=home, cwd=tmp_path)
    archive = tmp_path / "payments-a.bento"
    assert done.stdout == f'Bento(tag="payments:a") exported to {archive}\n'
    other = tmp_path / "other"
    said = refusal("import", str(archive), home=other)
    assert said.startswith(f"{archive} is not imported: loading it may run code from ")
    assert tags(other) == []
    assert invoke("import", str(archive), "--trust", home=other).stdout == 'Bento(tag="payments:a") imported\n'
    assert tags(other) == ["payments:a"]


def test_push_and_pull_are_refused_with_what_to_do_instead(home: Path) -> None:
    for args in (["push", "payments", "-f"], ["pull", "payments"]):
        assert refusal(*args, home=home) == (
            "there is no remote registry here (hint: `bentoml export` writes a file that `bentoml import` reads on "
            "another machine)"
        )


def test_a_model_that_a_bento_of_bentoml_needs_is_not_deleted(home: Path) -> None:
    shutil.rmtree(home / "bentos/payments/a/models")
    said = refusal("models", "delete", "rules", "-y", home=home).partition("failed: ")[2]
    assert said == (
        "nothing is deleted: payments:a needs rules:v1 (hint: delete these bentos first, or build them again, here)"
    )
