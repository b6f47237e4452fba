"""Model and its record: what stands in model.yaml, and what a model does with it."""

from __future__ import annotations

import datetime
import enum
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml import models
from bentoml.exceptions import BentoMLException, CorruptedItem, InvalidArgument
from bentoml.store.metadata import normalised_labels, normalised_metadata
from bentoml.store.model import Model, open_model
from bentoml.store.record import ModelContext, ModelInfo, ModelOptions
from bentoml.store.yaml_guard import require_harmless_yaml
from bentoml.tag import Tag
from bentoml.types import ModelSignature

SAMPLE = """\
name: iris
version: 4tht2icroji6zput
module: bentoml.xgboost
labels: {}
options:
  model_class: Booster
metadata: {}
context:
  framework_name: xgboost
  framework_versions:
    xgboost: 1.6.2
  bentoml_version: 1.0.7
  python_version: 3.9.13
signatures:
  predict:
    batchable: true
    batch_dim:
    - 0
    - 0
api_version: v2
creation_time: '2022-10-03T10:11:12.345678+00:00'
"""
#: As of BentoML 1.0 before its release: no signatures, its own version at the top, requirements in the context.
EARLY = """\
name: iris
version: oldversion
bentoml_version: 1.0.0a7
creation_time: '2022-04-03T10:11:12.345678+00:00'
api_version: v1
module: bentoml.sklearn
context:
  framework_name: sklearn
  framework_versions: {scikit-learn: 1.0.2}
  pip_dependencies:
  - scikit-learn==1.0.2
  bentoml_version: 1.0.0a7
  python_version: 3.8.12
options: {}
labels:
  owner: me
metadata:
  shape: &shape
  - 1
  - 4
  same: *shape
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(home: Path, name: str, version: str, text: str, *, latest: bool = True) -> Path:
    """A model as BentoML would have written it."""
    folder = home / "models" / name / version
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    (folder / "saved_model.json").write_text("{}")
    if latest:
        (folder.parent / "latest").write_text(version)
    return folder


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_record_is_written_byte_for_byte_as_it_was_read(home: Path) -> None:
    folder = put(home, "iris", "4tht2icroji6zput", SAMPLE)
    info = ModelInfo.read(folder)
    assert info.to_yaml() == SAMPLE
    assert info.tag == Tag("iris", "4tht2icroji6zput")
    assert info.signatures == {"predict": ModelSignature(batchable=True, batch_dim=(0, 0))}
    assert info.context == ModelContext("xgboost", {"xgboost": "1.6.2"}, "1.0.7", "3.9.13")
    assert info.options.model_class == "Booster"  # type: ignore[attr-defined]  # options are attributes
    assert info.creation_time == datetime.datetime(2022, 10, 3, 10, 11, 12, 345678, datetime.timezone.utc)


def test_the_axes_are_written_for_batchable_methods_only() -> None:
    info = ModelInfo(
        name="iris",
        version="v1",
        creation_time=datetime.datetime(2022, 1, 1, tzinfo=datetime.timezone.utc),
        signatures={"a": ModelSignature(), "b": ModelSignature(batchable=True, batch_dim=(0, 1), input_spec={"x": 1})},
    )
    assert yaml.safe_load(info.to_yaml())["signatures"] == {
        "a": {"batchable": False},
        "b": {"batchable": True, "batch_dim": [0, 1], "input_spec": {"x": 1}},
    }


def test_a_store_of_bentoml_opens(home: Path) -> None:
    put(home, "iris", "oldversion", EARLY, latest=False)
    put(home, "iris", "4tht2icroji6zput", SAMPLE)
    put(
        home,
        "other",
        "v14",
        SAMPLE.replace("4tht2icroji6zput", "v14").replace("name: iris", "name: other") + "alias: x\nextra:\n  a: 1\n",
    )
    (home / "models" / ".DS_store").write_text("")
    assert [str(model.tag) for model in models.list()] == ["iris:4tht2icroji6zput", "iris:oldversion", "other:v14"]
    early = models.get("iris:old")
    assert early.info.signatures == {}
    assert early.info.labels == {"owner": "me"}
    assert early.info.metadata == {"shape": [1, 4], "same": [1, 4]}
    assert early.custom_objects == {}
    early.verify()
    assert models.get("iris").tag.version == "4tht2icroji6zput"
    assert models.get("iris").file_size == len(SAMPLE) + 2
    assert models.get("other").info.module == "bentoml.xgboost"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("xgboost: 1.6.2", "xgboost: 1.6"),
            r"model.yaml is not the record of a model: Expected `str`, got `float` - at `\$.context.framework_versions",
        ),
        (("labels: {}", "labels: [1]"), r"Expected `object`, got `array` - at `\$.labels`"),
        (("labels: {}", "labels: {a: 1}"), r"Expected `str`, got `int` - at `\$.labels"),
        (("name: iris", "name: 5"), r"Expected `str`, got `int` - at `\$.name`"),
        (("name: iris", "name: ../iris"), r"'../iris' cannot be the name of a tag"),
        (("name: iris\n", ""), r"missing required field `name`"),
        (("'2022-10-03T10:11:12.345678+00:00'", "yesterday"), r"at `\$.creation_time`"),
        (("batchable: true", "batchable: maybe"), r"'batchable' in the signature of 'predict' must be True or False"),
        (("    - 0\n    - 0\n", "    - 0\n    - x\n"), r"'batch_dim' in the signature of 'predict'"),
        (("  model_class: Booster", "- Booster"), r"options must be a mapping"),
        ((SAMPLE, "- a\n- b\n"), r"must hold a mapping, not list"),
        ((SAMPLE, ""), r"must hold a mapping, not NoneType"),
        ((SAMPLE, "a: [1"), r"model.yaml is not YAML"),
        ((SAMPLE, "a: !!python/object/apply:os.system ['touch /tmp/owned']"), r"model.yaml is not YAML"),
    ],
)
def test_a_broken_record_is_an_error_that_names_the_file_and_the_key(
    home: Path, change: tuple[str, str], message: str
) -> None:
    folder = put(home, "iris", "4tht2icroji6zput", SAMPLE.replace(*change))
    with pytest.raises(BentoMLException, match=message) as caught:
        models.get("iris")
    assert str(folder) in str(caught.value)


def test_a_missing_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        BentoMLException, match=r"is not a model: model.yaml cannot be read \(No such file or directory\)"
    ):
        ModelInfo.read(tmp_path)


def test_a_record_of_another_model_is_an_error(home: Path) -> None:
    put(home, "copied", "v1", SAMPLE)
    with pytest.raises(BentoMLException, match=r"is the record of iris:4tht2icroji6zput, not of copied:v1"):
        models.get("copied")


def test_times_without_quotes_or_zone_are_taken_for_utc(home: Path) -> None:
    for text in (
        "2022-10-03T10:11:12.345678+00:00",
        "2022-10-03 10:11:12.345678",
        "'2022-10-03T12:11:12.345678+02:00'",
    ):
        folder = put(home, f"n{abs(hash(text))}", "v1", SAMPLE.replace("'2022-10-03T10:11:12.345678+00:00'", text))
        assert ModelInfo.read(folder).to_yaml().endswith("creation_time: '2022-10-03T10:11:12.345678+00:00'\n")


def test_a_foreign_record_that_would_overflow_its_reader_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    aliases = "".join(
        f"  {new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    for text, message in [
        (SAMPLE + "x: " + "[" * 100_000, "model.yaml is nested deeper than 64"),
        (SAMPLE + "x:\n" + "- " * 100_000, "model.yaml is nested deeper than 64"),
        ("metadata:\n  a: &a [x, x, x, x, x, x, x, x, x]\n" + aliases, "model.yaml holds more than 1000000 values"),
        ("metadata: &a {x: *a}\n", "model.yaml holds more than 1000000 values"),
        ("x: [", "model.yaml is not YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(BentoMLException, match=message):
            require_harmless_yaml(path)
    for text in (SAMPLE, EARLY):
        path.write_text(text)
        require_harmless_yaml(path)


# -- labels and metadata -----------------------------------------------------------------------------------------------


def test_labels_are_text(caplog: pytest.LogCaptureFixture) -> None:
    assert normalised_labels(None) == {}
    assert normalised_labels({"a": "b", "n": 1}) == {"a": "b", "n": "1"}
    assert "the label 'n' has the value 1, which is no string; it is stored as '1'" in caplog.text
    with pytest.raises(ValueError, match="the key 1 of labels must be a str, not int"):
        normalised_labels({1: "x"})  # type: ignore[dict-item]  # the error is what is tested
    with pytest.raises(ValueError, match="labels must be a mapping of str to str, not list"):
        normalised_labels(["a"])  # type: ignore[arg-type]  # the error is what is tested


class Color(enum.IntEnum):
    RED = 1


MOMENT = datetime.datetime(2022, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (
            {"a": "x", "b": b"x", "c": True, "d": 1, "e": 1.5, "f": 1 + 2j},
            {"a": "x", "b": b"x", "c": True, "d": 1, "e": 1.5, "f": 1 + 2j},
        ),
        ({"t": (1, [2, {"x": 3}])}, {"t": (1, [2, {"x": 3}])}),
        ({1: "a", 1.5: "b"}, {1: "a", 1.5: "b"}),
        (
            {"a": MOMENT, "b": MOMENT.date(), "c": MOMENT.time(), "d": datetime.timedelta(1)},
            {"a": MOMENT, "b": MOMENT.date(), "c": MOMENT.time(), "d": datetime.timedelta(1)},
        ),
        ({"a": np.array([[1, 2], [3, 4]])}, {"a": [[1, 2], [3, 4]]}),
        (
            {"a": np.float32(0.5), "b": np.float64(0.5), "c": np.bool_(True), "d": np.str_("x"), np.int64(3): 1},
            {"a": 0.5, "b": 0.5, "c": True, "d": "x", 3: 1},
        ),
        ({"a": np.array([b"x", 1], dtype=object)}, {"a": [b"x", 1]}),
        ({"a": pd.Series([1, 2], name="s", index=["x", "y"])}, {"a": {"s": {"x": 1, "y": 2}}}),
        ({"a": pd.Series([1.0])}, {"a": {0: {0: 1.0}}}),
        ({"a": pd.DataFrame({"c": [1, 2]})}, {"a": {"c": {0: 1, 1: 2}}}),
        ({"a": pd.array([1, 2])}, {"a": [1, 2]}),
        ({"a": pd.Timestamp(MOMENT), "b": pd.Timedelta(1, "D")}, {"a": MOMENT, "b": datetime.timedelta(1)}),
        ({"a": pd.Period("2022-01", "M")}, {"a": datetime.datetime(2022, 1, 1)}),
        ({"a": pd.Interval(1, 2)}, {"a": (1, 2)}),
        ({"a": Color.RED}, {"a": 1}),
    ],
)
def test_metadata_becomes_plain_values(given: dict[Any, Any], plain: dict[Any, Any]) -> None:
    clean = normalised_metadata(given)
    assert clean == plain
    assert all(type(clean[key]) is type(plain[key]) for key in plain)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"metadata\['a'\]\[0\] has the type builtins.NoneType, which metadata cannot hold"),
        (scipy.sparse.eye(2), r"has the type scipy.sparse"),
        (pd.NaT, r"NaTType"),
        (object(), r"builtins.object"),
        ({(1, 2): 3}, r"the key \(1, 2\) in metadata\['a'\]\[0\] must be a str, int or float, not tuple"),
        ({1}, r"builtins.set"),
    ],
)
def test_metadata_that_no_file_can_hold_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalised_metadata({"a": [value]})


def test_metadata_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(ValueError, match="contains itself"):
        normalised_metadata(loop)
    with pytest.raises(ValueError, match="metadata must be a mapping, not list"):
        normalised_metadata([1])  # type: ignore[arg-type]  # the error is what is tested


LEAVES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.dates(),
    st.datetimes(),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner), max_leaves=8)


@given(st.dictionaries(st.text("abcdef") | st.integers(), VALUES, max_size=4))
@settings(max_examples=100, deadline=None)
def test_metadata_comes_back_from_the_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, metadata: dict[Any, Any]
) -> None:
    folder = tmp_path_factory.mktemp("record")
    info = ModelInfo(
        name="iris",
        version="v1",
        metadata=normalised_metadata(metadata),
        creation_time=datetime.datetime.now(datetime.timezone.utc),
    )
    info.write(folder)
    assert ModelInfo.read(folder).metadata == metadata


def test_what_yaml_has_no_form_for_comes_back_as_text_or_list(tmp_path: Path) -> None:
    metadata = {"time": datetime.time(1, 2), "delta": datetime.timedelta(days=1), "complex": 1 + 2j, "tuple": (1, 2)}
    ModelInfo(name="iris", version="v1", metadata=metadata, creation_time=MOMENT).write(tmp_path)
    assert ModelInfo.read(tmp_path).metadata == {
        "time": "01:02:00",
        "delta": "P1D",
        "complex": "(1+2j)",
        "tuple": [1, 2],
    }


# -- the model ---------------------------------------------------------------------------------------------------------


def saved(**options: Any) -> Model:
    with models.create("iris:v1", **options) as model:
        Path(model.path_of("weights.json")).write_text("{}")
    return model


def test_a_model_is_not_made_directly() -> None:
    with pytest.raises(BentoMLException, match="a Model cannot be made directly"):
        Model(Tag("iris"), None)


def test_models_are_equal_by_tag_and_print_it(home: Path) -> None:
    model = saved()
    again = models.get("iris")
    assert model == again
    assert len({model, again}) == 1
    assert model != "iris:v1"
    assert str(model) == 'Model(tag="iris:v1")'
    assert repr(model) == f'Model(tag="iris:v1", path="{home}/models/iris/v1/")'
    assert model.path == str(home / "models" / "iris" / "v1")
    assert model.creation_time.utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize("sub", ["../x", "/etc/passwd", "a/../../x", "../v10/x"])
def test_a_path_out_of_the_model_is_refused(sub: str) -> None:
    with pytest.raises(BentoMLException, match=r"leads out of the folder of Model\(tag=\"iris:v1\"\)"):
        saved().path_of(sub)


def test_a_path_in_the_model_need_not_exist(home: Path) -> None:
    assert saved().path_of("a/../b") == str(home / "models" / "iris" / "v1" / "b")


def test_custom_objects_come_back_and_none_are_an_empty_dictionary() -> None:
    assert saved().custom_objects == {}
    with models.create("iris:v2", custom_objects={"scale": (lambda x: 2 * x)}) as model:
        pass
    assert model.custom_objects["scale"](3) == 6
    assert models.get("iris:v2").custom_objects["scale"](3) == 6


def test_custom_objects_of_a_changed_model_are_not_unpickled() -> None:
    model = saved(custom_objects={"a": 1})
    path = Path(model.path, "custom_objects.pkl")
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    with pytest.raises(CorruptedItem, match=r"the file 'custom_objects.pkl' in .* is not the one that was saved"):
        models.get("iris").custom_objects


def test_custom_objects_that_are_no_dictionary_are_refused(home: Path) -> None:
    from bentoml._pickling import dump_cloudpickle

    folder = put(home, "iris", "4tht2icroji6zput", SAMPLE)
    dump_cloudpickle([1], folder / "custom_objects.pkl")
    with pytest.raises(ValueError, match="must hold a dictionary of custom objects, not list"):
        models.get("iris").custom_objects


def test_a_model_is_verified_once_per_instance() -> None:
    model = saved()
    model.verify()
    Path(model.path_of("weights.json")).write_text("changed")
    model.verify()
    with pytest.raises(CorruptedItem):
        models.get("iris").verify()


def test_options_change_in_a_copy_only() -> None:
    model = saved(options={"a": 1})
    changed = model.with_options(b=2, self=3)
    assert changed.tag == model.tag
    assert changed.info.options.to_dict() == {"a": 1, "b": 2, "self": 3}
    assert model.info.options == ModelOptions(a=1)
    assert models.get("iris").info.options == ModelOptions(a=1)


# -- what its module makes of it ---------------------------------------------------------------------------------------


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("my_framework")
    module.load_model = lambda model, *args, **kwargs: (model.tag, args, kwargs)  # type: ignore[attr-defined]  # built here
    module.get_runnable = lambda model: type("MyRunnable", (), {"model": model})  # type: ignore[attr-defined]  # built here
    monkeypatch.setitem(sys.modules, "my_framework", module)
    return module


def test_a_model_is_loaded_by_the_module_of_its_record(framework: ModuleType) -> None:
    model = saved(module="my_framework")
    assert model.load_model(1, device="cpu") == (model.tag, (1,), {"device": "cpu"})
    assert model.to_runnable() is model.to_runnable()
    assert model.to_runnable().model is model
    assert model.with_options(a=1).to_runnable() is not model.to_runnable()


def test_a_changed_model_is_not_loaded(framework: ModuleType) -> None:
    saved(module="my_framework")
    model = models.get("iris")
    Path(model.path_of("weights.json")).write_text("changed")
    with pytest.raises(CorruptedItem, match=r"weights\.json"):
        model.load_model()


def test_the_runner_is_made_by_the_module_with_the_options_as_given(framework: ModuleType) -> None:
    framework.to_runner = lambda model, **options: (model, options)  # type: ignore[attr-defined]  # built here
    _, options = saved(module="my_framework").to_runner(
        max_batch_size=8, method_configs={"predict": {"max_latency_ms": 5}}
    )
    assert options == {
        "name": "iris",
        "max_batch_size": 8,
        "max_latency_ms": None,
        "method_configs": {"predict": {"max_latency_ms": 5}},
        "embedded": False,
        "scheduling_strategy": None,
    }


def test_a_module_without_a_runner_of_its_own_gets_the_usual_one(framework: ModuleType) -> None:
    from bentoml.runner.runnable import Runnable

    class Doubler(Runnable):
        @Runnable.method
        def predict(self, x: int) -> int:
            return 2 * x

    framework.get_runnable = lambda model: Doubler  # type: ignore[attr-defined]  # built here
    model = saved(module="my_framework")
    runner = model.to_runner()
    assert runner.name == "iris"
    assert runner.models == [model]
    assert model.to_runner("other").name == "other"


@pytest.mark.parametrize("use", [Model.load_model, Model.to_runnable, Model.to_runner])
def test_a_model_without_a_module_says_what_to_do(use: Any) -> None:
    with pytest.raises(
        BentoMLException, match=r"names no module that could load it \(hint: save it with a framework module"
    ):
        use(saved())


def test_a_module_that_is_not_there_or_lacks_the_function_is_named(framework: ModuleType) -> None:
    with models.create("iris:v2", module="not_installed_anywhere") as model:
        pass
    with pytest.raises(BentoMLException, match="names the module 'not_installed_anywhere', which cannot be imported"):
        model.load_model()
    del framework.load_model
    with pytest.raises(BentoMLException, match="the module 'my_framework', which has no function 'load_model'"):
        saved(module="my_framework").load_model()


def test_a_listing_reads_no_record(home: Path) -> None:
    put(home, "iris", "v1", "broken: [")
    assert [str(model.tag) for model in models.list()] == ["iris:v1"]
    assert open_model(Tag("iris", "v1"), home / "models" / "iris" / "v1").path


def test_signatures_in_a_wrong_form_are_named() -> None:
    with pytest.raises(InvalidArgument, match="the signature of 'predict' has the unknown key 'batchabel'"):
        saved(signatures={"predict": {"batchabel": True}})
    with pytest.raises(
        InvalidArgument, match="the signature of 'predict' must be a mapping or a ModelSignature, not bool"
    ):
        saved(signatures={"predict": True})
    assert msgspec.structs.asdict(ModelSignature.of("m", {"batch_dim": 1}))["batch_dim"] == (1, 1)
