"""`bentoml models …` on a real store: each form of output, each error."""

import json
import os
import zipfile
from pathlib import Path

import click
import msgspec
import pytest

import bentoml
from bentoml.cli.models import MODELS, models
from bentoml.cli.store_commands import complete_tag
from tests._cli import invoke, run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with credit:v1, then iris:a and iris:b, which has custom objects."""
    home = tmp_path / "home"
    monkeypatch.setenv("BENTOML_HOME", str(home))
    context = bentoml.models.ModelContext("xgboost", {"xgboost": "3.0.0"})
    with bentoml.models.create(
        "credit:v1",
        module="bentoml.xgboost",
        signatures={"predict": {"batchable": True, "batch_dim": 0}},
        options={"model_class": "Booster"},
        context=context,
    ) as model:
        Path(model.path_of("model.json")).write_text("{}")
    for version in ("a", "b"):
        custom = {"words": {"x"}} if version == "b" else None
        with bentoml.models.create(f"iris:{version}", module="bentoml.sklearn", custom_objects=custom) as model:
            Path(model.path_of("model.txt")).write_text("x" * 100_000)
    return home


def tags(home: Path) -> list[str]:
    return [row["tag"] for row in json.loads(invoke("models", "list", "-o", "json", home=home).stdout)]


def refusal(*args: str, home: Path, input: str = "") -> str:
    """The one line on stderr of a command that fails, without what all of them begin with."""
    result = invoke("models", *args, home=home, input=input)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    begin = f"Error: [models] `{args[0]}` failed: "
    assert lines[0].startswith(begin)
    return lines[0].removeprefix(begin)


# -- list ---------------------------------------------------------------------------------------------------------


def test_list_prints_a_table_with_the_newest_first(home: Path) -> None:
    lines = run("models", "list", home=home).stdout.splitlines()
    assert [heading.strip() for heading in lines[0].split("  ") if heading] == [
        "Tag",
        "Module",
        "Size",
        "Creation Time",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["iris:b", "iris:a", "credit:v1"]
    assert lines[2].split()[1] == "bentoml.sklearn"
    assert lines[2].split()[3] == "KiB"


def test_list_prints_json(home: Path) -> None:
    result = invoke("models", "list", "-o", "json", home=home)
    rows = json.loads(result.stdout)
    assert [list(row) for row in rows] == [["tag", "module", "size", "creation_time"]] * 3
    assert rows[2]["tag"] == "credit:v1"
    assert rows[2]["module"] == "bentoml.xgboost"
    assert result.stdout.startswith('[\n  {\n    "tag": "iris:b",')


def test_list_prints_yaml(home: Path) -> None:
    result = invoke("models", "list", "-o", "yaml", home=home)
    assert msgspec.yaml.decode(result.stdout) == json.loads(invoke("models", "list", "-o", "json", home=home).stdout)


def test_list_takes_a_name_or_a_tag(home: Path) -> None:
    lines = invoke("models", "list", "iris", home=home).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Tag", "iris:b", "iris:a"]
    lines = invoke("models", "list", "iris:a", home=home).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Tag", "iris:a"]


def test_list_of_an_unknown_name_fails(home: Path) -> None:
    assert refusal("list", "irsi", home=home) == (
        f"no model 'irsi' in the store {home}/models "
        "(hint: did you mean 'iris'? `bentoml models list` shows what there is)"
    )


def test_an_empty_store_lists_nothing(tmp_path: Path) -> None:
    assert invoke("models", "list", home=tmp_path).stdout == "Tag  Module  Size  Creation Time\n"
    assert invoke("models", "list", "-o", "json", home=tmp_path).stdout == "[]\n"
    assert invoke("models", "list", "-o", "yaml", home=tmp_path).stdout == "[]\n"


def test_a_long_tag_is_neither_cut_nor_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    tag = f"{'n' * 63}:{'v' * 63}"
    with bentoml.models.create(tag, module="bentoml.picklable_model"):
        pass
    assert invoke("models", "list", home=tmp_path, COLUMNS="40").stdout.splitlines()[1].split()[0] == tag


def test_a_damaged_record_does_not_hide_the_other_models(home: Path) -> None:
    (home / "models/iris/a/model.yaml").write_text("no: [yaml")
    result = invoke("models", "list", home=home)
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["Tag", "iris:b", "credit:v1"]
    assert result.stderr.startswith("iris:a is left out: ")
    assert result.exit_code == 0


# -- get ----------------------------------------------------------------------------------------------------------


def test_get_prints_the_text_of_model_yaml(home: Path) -> None:
    text = invoke("models", "get", "credit:latest", home=home).stdout
    assert text == (home / "models/credit/v1/model.yaml").read_text()
    assert text.startswith(
        "name: credit\nversion: v1\nmodule: bentoml.xgboost\nlabels: {}\noptions:\n  model_class: Booster\n"
        "metadata: {}\n"
        "context:\n  framework_name: xgboost\n  framework_versions:\n    xgboost: 3.0.0\n"
    )
    assert "signatures:\n  predict:\n    batchable: true\n    batch_dim:\n    - 0\n    - 0\napi_version: v1\n" in text


def test_get_prints_json(home: Path) -> None:
    result = invoke("models", "get", "credit", "-o", "json", home=home)
    assert list(json.loads(result.stdout)) == [
        "name",
        "version",
        "module",
        "labels",
        "options",
        "metadata",
        "context",
        "signatures",
        "api_version",
        "creation_time",
    ]
    assert result.stdout.startswith('{\n  "name": "credit",\n')


def test_get_prints_the_folder(home: Path) -> None:
    assert invoke("models", "get", "credit", "-o", "path", home=home).stdout == f"{home}/models/credit/v1\n"


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("nope", "no model 'nope' in the store {home}/models (hint: `bentoml models list` shows what there is)"),
        ("iris:", "the tag 'iris:' has no version after its colon (hint: use iris:latest)"),
        ("../x", "'../x' is not a tag: '../x' cannot be the name of a tag: use letters, digits, '.', '_' and '-', "),
    ],
)
def test_get_says_what_is_wrong_with_a_tag(home: Path, tag: str, text: str) -> None:
    assert refusal("get", tag, home=home).startswith(text.format(home=home))


def test_a_home_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert refusal("list", home=path) == f"BENTOML_HOME is not a folder: {path}"


# -- delete -------------------------------------------------------------------------------------------------------


def test_delete_asks_for_each_version_and_says_what_is_gone(home: Path) -> None:
    result = invoke("models", "delete", "iris", home=home, input="n\ny\n")
    assert "delete model iris:a? [y/N]: n" in result.stdout
    assert "delete model iris:b? [y/N]: y" in result.stdout
    assert result.stdout.endswith('Model(tag="iris:b") deleted\n')
    assert tags(home) == ["iris:a", "credit:v1"]


@pytest.mark.parametrize(
    "targets", [["iris:a,iris:b"], ["iris:a", "iris:latest"], ["iris, iris:a"], ["iris:a,", "iris"]]
)
def test_delete_takes_targets_with_commas_and_spaces(home: Path, targets: list[str]) -> None:
    result = invoke("models", "delete", *targets, "-y", home=home)
    assert sorted(result.stdout.splitlines()) == ['Model(tag="iris:a") deleted', 'Model(tag="iris:b") deleted']
    assert tags(home) == ["credit:v1"]


def test_delete_removes_nothing_when_one_target_is_unknown(home: Path) -> None:
    assert refusal("delete", "credit,nope", "-y", home=home).startswith("no model 'nope' in the store")
    assert len(tags(home)) == 3


def test_delete_takes_no_beginning_of_a_version(home: Path) -> None:
    text = refusal("delete", "credit:v", "--yes", home=home)
    assert text == "'credit:v' is only the beginning of a tag (hint: to delete it, write credit:v1)"


def test_delete_without_targets_is_wrong_usage(home: Path) -> None:
    assert invoke("models", "delete", home=home).exit_code == 2
    assert refusal("delete", ",", home=home) == "no model is named (hint: name a tag, as in iris:latest)"


def test_delete_that_nobody_answers_names_the_option(home: Path) -> None:
    done = run("models", "delete", "credit", home=home)
    assert done.stderr == (
        "Error: [models] `delete` failed: nobody answered: delete model credit:v1? "
        "(hint: --yes answers every question with yes)\n"
    )
    assert done.returncode == 1
    assert "credit:v1" in tags(home)


def test_quiet_delete_prints_nothing(home: Path) -> None:
    result = invoke("models", "delete", "credit", "-y", "-q", home=home)
    assert (result.stdout, result.stderr, result.exit_code) == ("", "", 0)


# -- export and import --------------------------------------------------------------------------------------------


def test_export_writes_into_the_current_folder_by_default(home: Path, tmp_path: Path) -> None:
    done = run("models", "export", "iris", home=home, cwd=tmp_path)
    path = tmp_path / "iris-b.bentomodel"
    assert done.stdout == f'Model(tag="iris:b") exported to {path}\n'
    assert path.is_file()


@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.gz", "m.bentomodel"])
def test_an_exported_model_can_be_imported(home: Path, tmp_path: Path, name: str) -> None:
    archive = tmp_path / name
    assert invoke("models", "export", "credit", str(archive), home=home).exit_code == 0
    other = tmp_path / "other"
    result = invoke("models", "import", str(archive), home=other)
    assert (result.stdout, result.stderr) == ('Model(tag="credit:v1") imported\n', "")
    assert tags(other) == ["credit:v1"]


def test_an_archive_that_may_hold_code_asks_for_trust(home: Path, tmp_path: Path) -> None:
    archive, other = tmp_path / "iris.zip", tmp_path / "other"
    assert invoke("models", "export", "iris:b", str(archive), home=home).exit_code == 0
    text = refusal("import", str(archive), home=other)
    assert text.startswith(f"{archive} is not imported: loading it may run code from 'custom_objects.pkl'")
    assert "`--trust`" in text
    assert tags(other) == []
    assert invoke("models", "import", str(archive), "--trust", home=other).stdout == 'Model(tag="iris:b") imported\n'


def test_what_cannot_be_exported_or_imported_is_said(home: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refusal("export", "credit", f"{missing}{os.sep}", home=home) == (
        f"'{missing}{os.sep}' ends with a slash, and there is no such folder"
    )
    assert refusal("export", "credit", str(missing / "m.zip"), home=home).startswith(
        f"the folder '{missing}' does not exist"
    )
    assert refusal("import", str(missing), home=home).startswith(f"there is no archive '{missing}'")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    assert "it has no model.yaml at its root" in refusal("import", str(tmp_path / "empty.zip"), home=home)
    assert invoke("models", "export", "credit", str(tmp_path / "m.zip"), home=home).exit_code == 0
    assert refusal("import", str(tmp_path / "m.zip"), home=home).startswith("model 'credit:v1' exists already")


@pytest.mark.parametrize(
    "args", [["push", "credit", "-f"], ["push", "credit", "--threads", "3"], ["pull"], ["pull", "-F", "x"]]
)
def test_push_and_pull_are_refused_with_what_to_do_instead(home: Path, args: list[str]) -> None:
    assert refusal(*args, home=home) == (
        "there is no remote registry here (hint: `bentoml models export` writes a file that "
        "`bentoml models import` reads on another machine)"
    )


# -- completion ---------------------------------------------------------------------------------------------------


def test_tags_and_names_complete(home: Path) -> None:
    with click.Context(models) as ctx:
        param = click.Argument(["tag"])
        assert complete_tag(MODELS)(ctx, param, "iris") == ["iris:a", "iris:b", "iris"]
        assert complete_tag(MODELS)(ctx, param, "credit:v1,iris:") == ["credit:v1,iris:a", "credit:v1,iris:b"]
        assert complete_tag(MODELS)(ctx, param, "z") == []


def test_completion_in_a_broken_store_suggests_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "file"))
    with click.Context(models) as ctx:
        assert complete_tag(MODELS)(ctx, click.Argument(["tag"]), "") == []
