"""bentoml.xgboost: Boosters and estimators, saved, loaded and served with the answers that xgboost itself gives."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xgboost as xgb

import bentoml.xgboost
from bentoml import models
from bentoml._xgboost_dense import _never, dense_predict
from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.testing.framework import check_framework

RNG = np.random.default_rng(0)
FEATURES = 7
ROWS = RNG.normal(size=(300, FEATURES))
ROWS[RNG.random(ROWS.shape) < 0.1] = np.nan
FILLED = np.nan_to_num(ROWS)
BINARY = (FILLED[:, 0] + FILLED[:, 1] * FILLED[:, 2] > 0).astype(int)
THREE = (FILLED[:, 0] * 3).astype(int) % 3
NUMBERS = FILLED[:, 0] - FILLED[:, 3]
COLUMNS = list("abcdefg")

#: Boosters of every kind that answers by another path inside xgboost.
KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "logistic": ({"objective": "binary:logistic"}, BINARY),
    "margins": ({"objective": "binary:logitraw"}, BINARY),
    "probabilities of classes": ({"objective": "multi:softprob", "num_class": 3}, THREE),
    "classes": ({"objective": "multi:softmax", "num_class": 3}, THREE),
    "regression": ({"objective": "reg:squarederror"}, NUMBERS),
    "several targets": ({"objective": "reg:squarederror"}, np.stack([NUMBERS, -NUMBERS], axis=1)),
    "random forest": ({"objective": "binary:logistic", "num_parallel_tree": 3, "subsample": 0.7}, BINARY),
    "dart": ({"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.3}, BINARY),
    "linear": ({"objective": "reg:squarederror", "booster": "gblinear"}, NUMBERS),
}
FAST = set(KINDS) - {"dart", "linear"}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def matrix_of(rows: Any, **options: Any) -> xgb.DMatrix:
    # One thread: on a busy machine two wait for each other far longer than they work.
    return xgb.DMatrix(rows, nthread=1, **options)


def trained(kind: str = "logistic", rows: Any = ROWS, **matrix: Any) -> xgb.Booster:
    parameters, target = KINDS[kind]
    return xgb.train(
        {"max_depth": 3, "nthread": 1, "verbosity": 0, **parameters}, matrix_of(rows, label=target, **matrix), 12
    )


def served(model: Any, *methods: str) -> Any:
    """The runnable of a runner's worker."""
    saved = bentoml.xgboost.save_model("m", model, signatures={method: {} for method in methods} or None)
    return saved.to_runner().make_runnable()


def predict_with_dmatrix(native: Any, method: str, rows: Any) -> Any:
    return getattr(native, method)(matrix_of(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_a_booster_keeps_the_contract(kind: str) -> None:
    check_framework(bentoml.xgboost, trained(kind), inputs=[ROWS[:1], ROWS[1:3], ROWS[3:70]], call=predict_with_dmatrix)


@pytest.mark.parametrize(
    ("estimator", "target", "methods"),
    [
        (xgb.XGBClassifier(n_jobs=1, n_estimators=5), BINARY, ["predict", "predict_proba", "apply"]),
        (xgb.XGBClassifier(n_jobs=1, n_estimators=5), THREE, ["predict", "predict_proba"]),
        (xgb.XGBRegressor(n_jobs=1, n_estimators=5), NUMBERS, ["predict"]),
        (xgb.XGBRFClassifier(n_jobs=1, n_estimators=5), BINARY, ["predict", "predict_proba"]),
        (xgb.XGBRFRegressor(n_jobs=1, n_estimators=5), NUMBERS, ["predict"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, xgb.XGBModel) else "",
)
def test_an_estimator_keeps_the_contract(estimator: Any, target: Any, methods: list[str]) -> None:
    check_framework(
        bentoml.xgboost, estimator.fit(ROWS, target), inputs=[ROWS[:1], ROWS[1:3], ROWS[3:70]], methods=methods
    )


def test_a_ranker_keeps_the_contract() -> None:
    ranker = xgb.XGBRanker(n_jobs=1, n_estimators=5).fit(ROWS, BINARY, qid=np.arange(300) // 30)
    check_framework(bentoml.xgboost, ranker, inputs=[ROWS[:1], ROWS[1:3]])


@pytest.mark.parametrize("kind", KINDS)
def test_dense_arrays_are_answered_as_a_dmatrix_is(kind: str) -> None:
    booster = trained(kind)
    runnable = served(booster)
    for dtype in ("f4", "f8", "i4", "i8", "u1", "?", "f2", "O", ">f4", ">f8"):
        source = ROWS if np.dtype(dtype).kind in "fO" else np.abs(FILLED * 10)
        for rows in (1, 2, 64, 65, 300):
            given = source[:rows].astype(dtype)
            try:
                expected = booster.predict(matrix_of(given))
            except xgb.core.XGBoostError as error:
                with pytest.raises(type(error)):
                    runnable.predict(given)
                continue
            answer = runnable.predict(given)
            assert answer.dtype == expected.dtype
            np.testing.assert_array_equal(answer, expected, err_msg=f"{rows} rows of {dtype}")


@pytest.mark.parametrize(
    "given",
    [
        np.asfortranarray(ROWS[:9]),
        ROWS[:20:3],
        ROWS[:0],
        ROWS[:5, :4],
        np.hstack([ROWS, ROWS])[:2],
        ROWS[0],
        ROWS[None, :2],
        np.full((1, FEATURES), np.inf),
        np.full((2, FEATURES), 2**53 + 1),
        np.array([["a"] * FEATURES]),
        ROWS[:4].tolist(),
        np.matrix(FILLED[:3]),
    ],
    ids=[
        *("column-major", "strided", "empty", "fewer columns", "more columns", "one dimension", "three dimensions"),
        *("infinite", "large integers", "texts", "lists", "matrix"),
    ],
)
def test_odd_arrays_are_answered_or_refused_as_a_dmatrix_is(given: Any) -> None:
    booster = trained()
    runnable = served(booster)
    try:
        expected = booster.predict(matrix_of(given))
    except (ValueError, xgb.core.XGBoostError) as error:
        with pytest.raises(type(error)):
            runnable.predict(given)
    else:
        np.testing.assert_array_equal(runnable.predict(given), expected)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_number_beyond_float32_is_refused_as_a_dmatrix_refuses_it() -> None:
    runnable = served(trained())
    with pytest.raises(xgb.core.XGBoostError, match="inf"):
        runnable.predict(np.full((1, FEATURES), 1e300))


def test_sparse_matrices_and_dataframes_and_dmatrices_are_taken() -> None:
    booster = trained()
    runnable = served(booster)
    for given in (sp.csr_matrix(FILLED[:9]), sp.csc_matrix(FILLED[:9]), pd.DataFrame(ROWS[:9])):
        np.testing.assert_array_equal(runnable.predict(given), booster.predict(matrix_of(given)))
    matrix = matrix_of(ROWS[:9])
    np.testing.assert_array_equal(runnable.predict(matrix), booster.predict(matrix))


def test_a_booster_with_feature_names_takes_dataframes_and_refuses_arrays_as_xgboost_does() -> None:
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    booster = trained(rows=frame)
    runnable = served(booster)
    np.testing.assert_array_equal(runnable.predict(frame[:5]), booster.predict(matrix_of(frame[:5])))
    with pytest.raises(ValueError, match="did not contain feature names"):
        runnable.predict(ROWS[:5])
    with pytest.raises(ValueError, match="feature_names mismatch"):
        runnable.predict(frame[COLUMNS[::-1]])


def test_categories_are_answered_as_a_dmatrix_does() -> None:
    coded = FILLED.copy()
    coded[:, 6] = RNG.integers(0, 4, len(coded))
    booster = trained("regression", rows=coded, feature_types=["q"] * 6 + ["c"], enable_categorical=True)
    np.testing.assert_array_equal(served(booster).predict(coded[:9]), booster.predict(matrix_of(coded[:9])))


def test_further_arguments_reach_booster_predict() -> None:
    booster = trained()
    runnable = served(booster)
    matrix = matrix_of(ROWS[:9])
    np.testing.assert_array_equal(
        runnable.predict(ROWS[:9], output_margin=True), booster.predict(matrix, output_margin=True)
    )
    np.testing.assert_array_equal(
        runnable.predict(ROWS[:9], iteration_range=(0, 2)), booster.predict(matrix, iteration_range=(0, 2))
    )


def test_early_stopping_is_kept() -> None:
    matrix = matrix_of(ROWS[:200], label=BINARY[:200])
    held_out = matrix_of(ROWS[200:], label=BINARY[200:])
    booster = xgb.train(
        {"objective": "binary:logistic", "max_depth": 6, "eta": 1.0, "nthread": 1},
        matrix,
        50,
        evals=[(held_out, "held_out")],
        early_stopping_rounds=2,
        verbose_eval=False,
    )
    assert booster.num_boosted_rounds() > booster.best_iteration + 1
    np.testing.assert_array_equal(served(booster).predict(ROWS), booster.predict(matrix_of(ROWS)))
    estimator = xgb.XGBClassifier(n_jobs=1, n_estimators=50, learning_rate=1.0, early_stopping_rounds=2)
    estimator.fit(ROWS[:200], BINARY[:200], eval_set=[(ROWS[200:], BINARY[200:])], verbose=False)
    np.testing.assert_array_equal(served(estimator, "predict_proba").predict_proba(ROWS), estimator.predict_proba(ROWS))


def test_the_number_that_an_estimator_takes_for_missing_is_kept() -> None:
    estimator = xgb.XGBRegressor(n_jobs=1, n_estimators=5, missing=0.0).fit(FILLED, NUMBERS)
    np.testing.assert_array_equal(served(estimator).predict(FILLED), estimator.predict(FILLED))
    assert models.get("m").info.options.to_dict() == {"model_class": "XGBRegressor", "missing": 0.0}
    loaded = bentoml.xgboost.load_model("m")
    np.testing.assert_array_equal(loaded.predict(FILLED), estimator.predict(FILLED))


def test_an_estimator_trained_on_categories_in_a_dataframe_is_kept() -> None:
    frame = pd.DataFrame(FILLED, columns=COLUMNS)
    frame["g"] = pd.Categorical.from_codes(RNG.integers(0, 3, len(frame)), ["x", "y", "z"])
    estimator = xgb.XGBRegressor(n_jobs=1, n_estimators=5, enable_categorical=True).fit(frame, NUMBERS)
    np.testing.assert_array_equal(served(estimator).predict(frame[:9]), estimator.predict(frame[:9]))


def test_the_record_is_that_of_the_format_reference() -> None:
    info = bentoml.xgboost.save_model("m", trained()).info
    assert (info.module, info.api_version) == ("bentoml.xgboost", "v2")
    assert info.options.to_dict() == {"model_class": "Booster"}
    assert info.context.framework_name == "xgboost"
    assert info.context.framework_versions == {"xgboost": xgb.__version__}
    assert [(name, signature.batchable) for name, signature in info.signatures.items()] == [("predict", False)]


@pytest.mark.parametrize(("variable", "threads"), [(None, 1), ("3", 3), ("0", 1), ("many", 1)])
def test_a_runner_uses_the_threads_of_its_worker(
    variable: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    for model in (trained(), xgb.XGBRegressor(n_jobs=1, n_estimators=2).fit(ROWS, NUMBERS)):
        native = served(model).model
        booster = native if isinstance(native, xgb.Booster) else native.get_booster()
        settings = json.loads(booster.save_config())["learner"]["generic_param"]
        assert (settings["nthread"], settings["device"]) == (str(threads), "cpu")


def test_a_visible_gpu_is_left_alone_by_a_build_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    if xgb.build_info()["USE_CUDA"]:
        pytest.skip("this build has CUDA")
    native = served(trained()).model
    assert json.loads(native.save_config())["learner"]["generic_param"]["device"] == "cpu"


def test_a_runner_may_be_placed_on_a_gpu_or_on_cpus_and_uses_several_threads() -> None:
    runnable = bentoml.xgboost.get_runnable(bentoml.xgboost.save_model("m", trained()))
    assert runnable.SUPPORTED_RESOURCES == ("nvidia.com/gpu", "cpu")
    assert runnable.SUPPORTS_CPU_MULTI_THREADING


@pytest.mark.parametrize("kind", KINDS)
def test_the_short_way_is_taken_where_it_is_exact_and_nowhere_else(kind: str) -> None:
    booster = trained(kind)
    booster.set_param({"device": "cpu"})
    assert (dense_predict(xgb, booster) is not _never) == (kind in FAST)


def test_without_the_c_function_the_usual_way_is_taken() -> None:
    booster = trained()
    library = SimpleNamespace(core=SimpleNamespace(), DMatrix=xgb.DMatrix)
    assert dense_predict(library, booster) is _never
    library.core._LIB = {}
    assert dense_predict(library, booster) is _never


def test_a_c_function_that_answers_otherwise_is_not_used() -> None:
    otherwise = SimpleNamespace(core=xgb.core, DMatrix=lambda rows: matrix_of(rows + 1))
    assert dense_predict(otherwise, trained()) is _never


def test_threads_get_their_own_answers() -> None:
    booster = trained()
    predict = served(booster).predict
    expected = predict(ROWS)

    def check(start: int) -> None:
        for row in range(start, 300, 4):
            assert predict(ROWS[row : row + 1]) == expected[row]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(4)))


def test_an_answer_can_be_changed_and_outlives_the_next_call() -> None:
    booster = trained()
    predict = served(booster).predict
    first = predict(ROWS[:2])
    kept = first.copy()
    predict(ROWS[2:4])
    np.testing.assert_array_equal(first, kept)
    first[:] = 0


@pytest.mark.parametrize("path", ["rows.csv", b"rows.csv", Path("rows.csv")])
def test_a_path_is_no_data(path: Any) -> None:
    for runnable in (served(trained()), served(xgb.XGBRegressor(n_jobs=1, n_estimators=2).fit(ROWS, NUMBERS))):
        with pytest.raises(InvalidArgument, match="a model is called with rows, not with"):
            runnable.predict(path)
        with pytest.raises(InvalidArgument, match="a model is called with rows, not with"):
            runnable.predict(**{"data" if isinstance(runnable.model, xgb.Booster) else "X": path})


def test_a_wrong_type_is_named_with_what_is_taken() -> None:
    with pytest.raises(TypeError, match=r"takes a Booster of xgboost or one of its estimators .*, not builtins\.dict"):
        bentoml.xgboost.save_model("m", {})
    with pytest.raises(TypeError, match="not the class XGBRegressor itself"):
        bentoml.xgboost.save_model("m", xgb.XGBRegressor)

    class Mine(xgb.XGBRegressor):
        pass

    with pytest.raises(TypeError, match="Mine"):
        bentoml.xgboost.save_model("m", Mine().fit(ROWS, NUMBERS))


def test_an_untrained_model_is_not_saved() -> None:
    for model in (xgb.Booster(), xgb.XGBRegressor()):
        with pytest.raises((ValueError, xgb.core.XGBoostError)):
            bentoml.xgboost.save_model("m", model)
    assert models.list() == []


def as_bentoml_wrote_it(home: Path, model: xgb.Booster, record: str) -> None:
    folder = home / "models" / "old" / "4tht2icroji6zput"
    folder.mkdir(parents=True)
    (folder.parent / "latest").write_text(folder.name)
    model.save_model(folder / "saved_model.ubj")
    (folder / "model.yaml").write_text(record)


RECORD_OF_1_0 = f"""\
name: old
version: 4tht2icroji6zput
module: bentoml.xgboost
labels: {{}}
options:
  model_class: Booster
metadata: {{}}
context:
  framework_name: xgboost
  framework_versions:
    xgboost: {xgb.__version__}
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


@pytest.mark.parametrize("change", [("", ""), ("api_version: v2", "api_version: v1"), ("model_class: Booster", "a: b")])
def test_a_booster_that_bentoml_saved_is_loaded_and_served(change: tuple[str, str], tmp_path: Path) -> None:
    booster = trained()
    as_bentoml_wrote_it(tmp_path, booster, RECORD_OF_1_0.replace(*change))
    expected = booster.predict(matrix_of(ROWS))
    np.testing.assert_array_equal(bentoml.xgboost.load_model("old:4tht").predict(matrix_of(ROWS)), expected)
    runner = bentoml.xgboost.get("old:latest").to_runner()
    runner.init_local(quiet=True)
    np.testing.assert_array_equal(runner.predict.run(ROWS), expected)


@pytest.mark.parametrize("name", ["train", "core", "Nothing", "DMatrix"])
def test_a_record_cannot_name_anything_but_a_model_class(name: str, tmp_path: Path) -> None:
    as_bentoml_wrote_it(tmp_path, trained(), RECORD_OF_1_0.replace("model_class: Booster", f"model_class: {name}"))
    with pytest.raises(BentoMLException, match=f"xgboost.{name}, which this version does not have"):
        bentoml.xgboost.load_model("old")


def test_a_model_of_a_newer_format_is_tried_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    as_bentoml_wrote_it(tmp_path, trained(), RECORD_OF_1_0.replace("api_version: v2", "api_version: v9"))
    bentoml.xgboost.load_model("old")
    assert "has api_version v9, unknown to bentoml.xgboost" in caplog.text


def test_a_missing_file_of_a_model_without_digests_is_an_error_of_xgboost(tmp_path: Path) -> None:
    as_bentoml_wrote_it(tmp_path, trained(), RECORD_OF_1_0)
    shutil.move(tmp_path / "models/old/4tht2icroji6zput/saved_model.ubj", tmp_path)
    with pytest.raises(xgb.core.XGBoostError, match="No such file"):
        bentoml.xgboost.load_model("old")
