"""bentoml.models: what a user saves, finds and removes."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import bentoml
from bentoml import models
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound
from bentoml.store.local import LocalStore
from bentoml.tag import Tag
from bentoml.types import ModelSignature


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_created_model_is_in_the_store_with_its_files_and_its_record(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="bentoml"),
        models.create(
            "Iris",
            module="bentoml.xgboost",
            signatures={"predict": {"batchable": True, "batch_dim": (0, 1)}, "apply": ModelSignature()},
            labels={"owner": "me"},
            options=models.ModelOptions(model_class="Booster"),
            custom_objects={"a": 1},
            metadata={"auc": 0.9},
            context=models.ModelContext("xgboost", {"xgboost": "2.1.0"}),
        ) as model,
    ):
        assert models.list() == []
        assert not Path(model.path).is_relative_to(home / "models" / "iris")
        Path(model.path_of("model.ubj")).write_bytes(b"{}")
    assert f'Successfully saved Model(tag="{model.tag}")' in caplog.text
    assert model.tag.name == "iris"
    assert model.path == str(home / "models" / "iris" / str(model.tag.version))
    assert sorted(path.name for path in Path(model.path).iterdir()) == [
        "SHA256SUMS",
        "custom_objects.pkl",
        "model.ubj",
        "model.yaml",
    ]
    info = models.get("iris").info
    assert info.tag == model.tag
    assert info.module == "bentoml.xgboost"
    assert info.api_version == "v1"
    assert info.labels == {"owner": "me"}
    assert info.options.to_dict() == {"model_class": "Booster"}
    assert info.metadata == {"auc": 0.9}
    assert info.signatures == {"predict": ModelSignature(batchable=True, batch_dim=(0, 1)), "apply": ModelSignature()}
    assert info.context.framework_name == "xgboost"
    assert info.context.framework_versions == {"xgboost": "2.1.0"}
    assert info.context.bentoml_version == bentoml.__version__
    assert info.context.python_version == ".".join(map(str, sys.version_info[:3]))
    assert info == model.info


def test_a_name_is_all_that_a_model_needs() -> None:
    with models.create("lookup") as model:
        pass
    assert model.tag.version is not None
    assert len(model.tag.version) == 16
    assert models.get("lookup").info.signatures == {}
    assert models.get("lookup").info.module == ""
    assert not Path(model.path, "custom_objects.pkl").exists()


@pytest.mark.parametrize("name", ["iris:v1", Tag("iris", "v1")])
def test_a_version_may_be_given(name: str | Tag) -> None:
    with models.create(name) as model:
        pass
    assert model.tag == Tag("iris", "v1")


def test_a_version_that_is_there_is_refused_before_the_work_is_done() -> None:
    with models.create("iris:v1"):
        pass
    with pytest.raises(BentoMLException, match=r"model 'iris:v1' exists already"), models.create("iris:v1"):
        pytest.fail("the block must not be entered")


def test_a_block_that_raises_saves_nothing_and_its_error_comes_through(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OSError, match="mine"), models.create("iris") as model:  # noqa: PT012 - the block is what is tested
        Path(model.path_of("x")).write_text("x")
        raise OSError("mine")
    assert models.list() == []
    assert not Path(model.path).exists()
    assert "Successfully" not in caplog.text


def test_custom_objects_added_within_the_block_are_saved() -> None:
    with models.create("iris", custom_objects={"a": 1}) as model:
        model.custom_objects["b"] = 2
    assert models.get("iris").custom_objects == {"a": 1, "b": 2}


def test_custom_objects_that_are_no_mapping_are_refused() -> None:
    with (
        pytest.raises(InvalidArgument, match="custom_objects must be a mapping of names to objects, not list"),
        models.create("iris", custom_objects=[1]),  # type: ignore[arg-type]  # the error is what is tested
    ):
        pass


def test_an_option_that_no_file_can_hold_is_refused_before_the_work_is_done() -> None:
    with (
        pytest.raises(InvalidArgument, match=r"the record of model iris:v1 cannot be written to model.yaml"),
        models.create("iris:v1", options={"f": object()}),
    ):
        pytest.fail("the block must not be entered")


def test_external_modules_travel_with_the_custom_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper_of_mine.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    helper: ModuleType = __import__("helper_of_mine")
    try:
        with models.create("by_value", custom_objects={"f": helper.double}, external_modules=[helper]):
            pass
        with models.create("by_name", custom_objects={"f": helper.double}):
            pass
    finally:
        del sys.modules["helper_of_mine"]
    monkeypatch.undo()
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    assert models.get("by_value").custom_objects["f"](3) == 6
    with pytest.raises(ModuleNotFoundError):
        models.get("by_name").custom_objects


def test_models_are_listed_found_and_deleted() -> None:
    for tag in ("iris:v1", "iris:v2", "credit:a"):
        with models.create(tag):
            pass
    assert [str(model.tag) for model in models.list()] == ["credit:a", "iris:v1", "iris:v2"]
    assert [str(model.tag) for model in models.list("iris")] == ["iris:v1", "iris:v2"]
    assert str(models.get("iris:latest").tag) == "iris:v2"
    models.delete("iris:latest")
    assert str(models.get(Tag("iris")).tag) == "iris:v1"
    models.delete("iris")
    with pytest.raises(
        NotFound, match=r"no model 'iris' in the store .* \(hint: `bentoml models list` shows what there is\)"
    ):
        models.get("iris")
    with pytest.raises(NotFound, match=r"no model 'credit:b' .*did you mean 'credit:a'"):
        models.delete("credit:b")


def test_another_store_may_be_named(tmp_path: Path, home: Path) -> None:
    store = LocalStore(tmp_path / "other", kind="model", record_file="model.yaml")
    with models.create("iris:v1", _model_store=store):
        pass
    assert [str(model.tag) for model in models.list(_model_store=store)] == ["iris:v1"]
    assert models.list() == []
    archive = models.export_model("iris", tmp_path / "iris.zip", _model_store=store)
    models.delete("iris", _model_store=store)
    assert models.import_model(archive, _model_store=store) == models.get("iris", _model_store=store)


def test_a_model_of_another_store_relative_to_the_working_folder_keeps_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalStore(Path("here"), kind="model", record_file="model.yaml")
    with models.create("iris:v1", _model_store=store) as model:
        Path(model.path_of("x")).write_text("x")
    monkeypatch.chdir("/")
    assert Path(model.path_of("x")).read_text() == "x"


def test_importing_models_loads_no_array_library_and_no_archives() -> None:
    heavy = ("numpy", "pandas", "yaml", "cloudpickle", "tarfile", "zipfile", "rich", "asyncio")
    script = f"import sys, bentoml.models; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
