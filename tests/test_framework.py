"""The Framework base class: what is the same for the models of every library."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bentoml.picklable_model
from bentoml import config, models
from bentoml.exceptions import CorruptedItem, InvalidArgument, NotFound
from bentoml.framework import Framework, to_runner, worker_threads
from bentoml.runner.runner import Runner
from bentoml.store.model import Model
from bentoml.tag import Tag
from bentoml.testing.framework import check_framework
from bentoml.types import ModelSignature

MODULE = "tests.test_framework"


class Scale:
    """A model of a library of its own: multiplies by a factor."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def scale(self, rows: list[int]) -> list[int]:
        return [self.factor * row for row in rows]

    def shift(self, rows: list[int]) -> list[int]:
        return [self.factor + row for row in rows]


class Scales(Framework):
    """The framework that this module itself is, as an author outside would write it."""

    module = MODULE
    library = "json"
    install = "json"
    versioned = {"json": "json"}
    default_methods = ("predict", "scale")

    def options_of(self, model: Any) -> dict[str, Any]:
        if not isinstance(model, Scale):
            raise self.wrong_type(model, "a Scale")
        return {"unit": "kg"}

    def write(self, model: Any, folder: Path) -> None:
        (folder / "factor.json").write_text(json.dumps(model.factor))

    def read(self, record: Model, folder: Path) -> Any:
        return Scale(json.loads((folder / "factor.json").read_text()))

    def prepare(self, native: Any) -> None:
        native.threads = worker_threads()


_scales = Scales()

get = _scales.get
get_runnable = _scales.get_runnable
load_model = _scales.load_model
save_model = _scales.save_model


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    config.use(None)
    yield tmp_path
    config.use(None)


def test_a_framework_of_one_class_keeps_the_contract() -> None:
    check_framework(
        sys.modules[MODULE], Scale(3), inputs=[[1], [2, 3], [4, 5, 6]], methods=["scale", "shift"], wrong={}
    )


# -- saving -----------------------------------------------------------------------------------------------------------


def test_saving_returns_the_model_in_the_store() -> None:
    saved = save_model("kilos", Scale(3), labels={"stage": "dev"}, metadata={"auc": 0.9}, custom_objects={"limit": 7})
    assert saved.tag.name == "kilos"
    assert {path.name for path in Path(saved.path).iterdir()} >= {"custom_objects.pkl", "factor.json", "model.yaml"}
    found = get("kilos:latest")
    assert found == saved
    assert found.info.labels == {"stage": "dev"}
    assert found.info.metadata == {"auc": 0.9}
    assert found.info.options.to_dict() == {"unit": "kg"}
    assert found.custom_objects == {"limit": 7}


@pytest.mark.parametrize("name", ["kilos:v2", Tag("kilos", "v2")])
def test_a_name_may_have_a_version(name: str | Tag) -> None:
    assert save_model(name, Scale(3)).tag == Tag("kilos", "v2")


def test_without_signatures_the_first_default_method_that_exists_is_served(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bentoml")
    saved = save_model("kilos", Scale(3))
    assert saved.info.signatures == {"scale": ModelSignature(batchable=False)}
    assert "default signature of tests.test_framework: scale, not batchable" in caplog.text


def test_signatures_are_given_as_mappings_or_objects() -> None:
    given: Mapping[str, Any] = {"scale": {"batchable": True, "batch_dim": 0}, "shift": ModelSignature(batchable=True)}
    assert save_model("kilos", Scale(3), signatures=given).info.signatures == {
        "scale": ModelSignature(batchable=True),
        "shift": ModelSignature(batchable=True),
    }


@pytest.mark.parametrize(
    ("save", "error", "text"),
    [
        (lambda: save_model("kilos", {}), TypeError, "takes a Scale, not builtins.dict"),
        (lambda: save_model("kilos", Scale), TypeError, "takes a Scale, not the class Scale itself"),
        (
            lambda: save_model("kilos", Scale(1), signatures={"skale": {}}),
            InvalidArgument,
            r"'skale' names no method of Scale \(hint: did you mean scale\?\)",
        ),
        (
            lambda: save_model("kilos", Scale(1), signatures={"predict": {}}),
            InvalidArgument,
            r"'predict' names no method of Scale \(hint: it has scale, shift\)",
        ),
        (
            lambda: save_model("kilos", Scale(1), signatures={"factor": {}}),
            InvalidArgument,
            "'factor' names no method of Scale",
        ),
        (
            lambda: save_model("kilos", Scale(1), signatures={"scale": {"batchable": "yes"}}),
            InvalidArgument,
            "'batchable' in the signature of 'scale' must be True or False",
        ),
        (lambda: save_model("kilos", Scale(1), labels={1: "a"}), ValueError, "label"),
        (lambda: save_model("kilos", Scale(1), metadata={"a": object()}), ValueError, "metadata"),
        (lambda: save_model("no name", Scale(1)), ValueError, "'no name' cannot be the name of a tag"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_saved(
    save: Callable[[], Model], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        save()
    assert models.list() == []


def test_a_write_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(model: Any, folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("the disk is full")

    monkeypatch.setattr(_scales, "write", write)
    with pytest.raises(OSError, match="disk is full"):
        save_model("kilos", Scale(3))
    assert models.list() == []


# -- loading ----------------------------------------------------------------------------------------------------------


def test_a_model_is_loaded_by_tag_text_or_record() -> None:
    saved = save_model("kilos:v1", Scale(3))
    for given in ("kilos", "kilos:latest", "kilos:v1", saved.tag, saved):
        assert load_model(given).factor == 3
    assert saved.load_model().factor == 3


def test_a_model_of_another_module_is_not_found() -> None:
    foreign = bentoml.picklable_model.save_model("foreign:v1", print)
    for function in (get, load_model):
        with pytest.raises(NotFound) as error:
            function("foreign:v1")
        assert str(error.value) == (
            "Model foreign:v1 was saved with module bentoml.picklable_model, not with tests.test_framework "
            "(hint: use bentoml.picklable_model.get('foreign:v1'))"
        )
    with pytest.raises(NotFound):
        load_model(foreign)
    with pytest.raises(NotFound):
        get_runnable(foreign)


def test_a_model_that_does_not_exist_is_not_found() -> None:
    for function in (get, load_model):
        with pytest.raises(NotFound, match="kilos"):
            function("kilos")


def test_a_changed_byte_is_refused_before_the_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = save_model("kilos", Scale(3))
    Path(saved.path_of("factor.json")).write_text("4")
    monkeypatch.setattr(_scales, "read", lambda record, folder: pytest.fail("it was read"))
    for load in (lambda: load_model("kilos"), get("kilos").load_model, get("kilos").to_runner().make_runnable):
        with pytest.raises(CorruptedItem, match=r"factor\.json"):
            load()


# -- serving ----------------------------------------------------------------------------------------------------------


def test_a_runner_has_the_name_of_its_model_and_its_limits() -> None:
    saved = save_model("kilos", Scale(3), signatures={"scale": {"batchable": True}, "shift": {}})
    runner = saved.to_runner()
    assert isinstance(runner, Runner)
    assert runner.name == "kilos"
    assert runner.models == [saved]
    limited = to_runner(
        saved,
        name="pounds",
        max_batch_size=8,
        max_latency_ms=50,
        method_configs={"scale": {"max_batch_size": 4}},
        embedded=True,
    )
    assert (limited.name, limited.embedded) == ("pounds", True)
    rows = {plan.name: plan.policy.max_batch_rows for plan in limited.plans(config.RunnerConfig())}
    assert rows == {"scale": 4, "shift": 1}


def test_a_runner_calls_the_models_own_methods() -> None:
    runnable = save_model("kilos", Scale(3), signatures={"scale": {}, "shift": {}}).to_runner().make_runnable()
    assert runnable.scale == runnable.model.scale
    assert runnable.shift([1]) == [4]
    assert type(runnable).scale(runnable, [2]) == [6]


def test_a_worker_prepares_its_model_and_load_model_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    saved = save_model("kilos", Scale(3))
    assert saved.to_runner().make_runnable().model.threads == 5
    assert not hasattr(load_model(saved), "threads")


def test_two_models_have_runnables_of_their_own() -> None:
    one = save_model("one", Scale(3), signatures={"scale": {}})
    two = save_model("two", Scale(4), signatures={"shift": {}})
    assert list(one.to_runnable().bentoml_runnable_methods__) == ["scale"]
    assert list(two.to_runnable().bentoml_runnable_methods__) == ["shift"]
    assert one.to_runnable() is one.to_runnable()


def test_a_signature_in_the_record_that_the_model_lacks_is_named_when_it_is_loaded(store: Path) -> None:
    folder = store / "models" / "old" / "abc"
    folder.mkdir(parents=True)
    (folder / "factor.json").write_text("3")
    (folder / "model.yaml").write_text(
        f"name: old\nversion: abc\nmodule: {MODULE}\noptions: {{}}\nsignatures:\n  skale: {{}}\n"
        "api_version: v1\ncreation_time: '2022-10-03T10:11:12.345678+00:00'\n"
    )
    with pytest.raises(InvalidArgument, match="'skale' names no method of Scale"):
        models.get("old").to_runner().make_runnable()


@pytest.mark.parametrize(("variable", "threads"), [(None, 1), ("4", 4), ("0", 1), ("-2", 1), ("four", 1), ("", 1)])
def test_threads_come_from_the_worker(variable: str | None, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert worker_threads() == threads


# -- names of BentoML before 1.0 --------------------------------------------------------------------------------------


def test_save_load_and_load_runner_still_work_and_name_their_successors(caplog: pytest.LogCaptureFixture) -> None:
    saved = _scales.save("kilos", Scale(3), labels={"a": "b"})
    assert saved.info.labels == {"a": "b"}
    assert _scales.load("kilos").factor == 3
    assert _scales.load_runner("kilos").name == "kilos"
    assert [record.getMessage() for record in caplog.records] == [
        f'The "{MODULE}.save" method is deprecated. Use "{MODULE}.save_model" instead.',
        f'The "{MODULE}.load" method is deprecated. Use "{MODULE}.load_model" instead.',
        f'The "{MODULE}.load_runner" method is deprecated. Use "{MODULE}.get().to_runner" instead.',
    ]


def test_load_runner_ignores_further_arguments_with_an_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    save_model("kilos", Scale(3))
    _scales.load_runner("kilos", 1, name="x")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"\"{MODULE}.load_runner\" ignores the arguments 1, name='x'"


# -- libraries that are not there -------------------------------------------------------------------------------------

IMPORT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = sys.argv[2:]
sys.meta_path.insert(0, Blocked())
import importlib
try:
    importlib.import_module(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
print([name for name in ("xgboost", "sklearn", "lightgbm", "numpy", "pandas", "joblib") if name in sys.modules])
"""


def imported(module: str, *blocked: str) -> list[str]:
    command = [sys.executable, "-c", IMPORT, module, *blocked]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


@pytest.mark.parametrize("library", ["xgboost", "sklearn", "lightgbm"])
def test_a_missing_library_says_what_to_install(library: str) -> None:
    message, heavy = imported(f"bentoml.{library}", library)
    assert message == (
        f"MissingDependencyException bentoml.{library} needs the library {library!r}, which is not installed "
        f"(hint: pip install makunouchi[{library}])"
    )
    assert heavy == "[]"


@pytest.mark.parametrize("name", ["xgboost", "sklearn", "lightgbm", "picklable_model"])
def test_importing_a_framework_module_loads_no_library(name: str) -> None:
    assert imported(f"bentoml.{name}") == ["[]"]


@pytest.mark.parametrize("name", ["xgboost", "sklearn", "lightgbm", "picklable_model"])
def test_every_framework_module_offers_the_same_functions_with_documentation(name: str) -> None:
    module: ModuleType = __import__(f"bentoml.{name}", fromlist=["*"])
    assert module.__all__ == sorted(["get", "get_runnable", "load", "load_model", "load_runner", "save", "save_model"])
    for function in module.__all__:
        assert getattr(module, function).__doc__
