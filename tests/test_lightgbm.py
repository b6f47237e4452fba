"""bentoml.lightgbm: Boosters and estimators, saved, loaded and served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import bentoml.lightgbm
from bentoml import models
from bentoml.exceptions import InvalidArgument
from bentoml.testing.framework import check_framework

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 5))
BINARY = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
THREE = (np.abs(ROWS[:, 0]) * 3).astype(int) % 3
INPUTS = [ROWS[:1], ROWS[1:3], ROWS[3:70]]
QUIET = {"verbose": -1, "num_threads": 1}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def trained(objective: str = "binary", target: Any = BINARY, rows: Any = ROWS, **parameters: Any) -> lgb.Booster:
    return lgb.train({**QUIET, "objective": objective, **parameters}, lgb.Dataset(rows, label=target), 8)


def classifier(target: Any = BINARY, **parameters: Any) -> lgb.LGBMClassifier:
    return lgb.LGBMClassifier(n_estimators=8, n_jobs=1, verbose=-1, **parameters).fit(ROWS, target)


def booster_method(native: Any, method: str, rows: Any) -> Any:
    """What a runner answers with for an estimator: its Booster's predictions."""
    return getattr(getattr(native, "booster_", native), method)(rows)


@pytest.mark.parametrize(
    "booster",
    [trained(), trained("multiclass", THREE, num_class=3), trained("regression"), trained(boosting="dart")],
    ids=["binary", "multiclass", "regression", "dart"],
)
def test_a_booster_keeps_the_contract(booster: lgb.Booster) -> None:
    check_framework(bentoml.lightgbm, booster, inputs=INPUTS)


@pytest.mark.parametrize(
    "estimator",
    [classifier(), classifier(THREE), lgb.LGBMRegressor(n_estimators=8, n_jobs=1, verbose=-1).fit(ROWS, ROWS[:, 2])],
    ids=["binary", "multiclass", "regression"],
)
def test_an_estimator_keeps_the_contract_as_its_booster(estimator: Any) -> None:
    check_framework(bentoml.lightgbm, estimator, inputs=INPUTS, call=booster_method)


@pytest.mark.parametrize("target", [BINARY, THREE], ids=["two classes", "three classes"])
def test_predict_proba_of_a_classifier_answers_as_the_classifier_does(target: Any) -> None:
    model = classifier(target)
    saved = bentoml.lightgbm.save_model("m", model, signatures={"predict_proba": {"batchable": True}, "predict": {}})
    assert saved.info.options.to_dict() == {"model_class": "LGBMClassifier"}
    runnable = saved.to_runner().make_runnable()
    np.testing.assert_array_equal(runnable.predict_proba(ROWS), model.predict_proba(ROWS))
    np.testing.assert_array_equal(
        runnable.predict_proba(ROWS, raw_score=True), model.predict_proba(ROWS, raw_score=True)
    )
    np.testing.assert_array_equal(runnable.predict(ROWS), model.booster_.predict(ROWS))


def test_what_has_no_probabilities_has_no_predict_proba() -> None:
    def gradients(target: Any, predicted: Any) -> Any:
        return predicted - target, np.ones_like(predicted)

    for model in (
        trained(),
        lgb.LGBMRegressor(n_jobs=1, verbose=-1).fit(ROWS, BINARY),
        classifier(objective=gradients),
    ):
        with pytest.raises(InvalidArgument, match="'predict_proba' names no method of Booster"):
            bentoml.lightgbm.save_model("m", model, signatures={"predict_proba": {}})


def test_a_method_that_the_booster_lacks_is_refused_although_the_estimator_has_it() -> None:
    with pytest.raises(InvalidArgument, match="'score' names no method of Booster"):
        bentoml.lightgbm.save_model("m", classifier(), signatures={"score": {}})


def test_sparse_matrices_and_dataframes_are_taken() -> None:
    booster = trained()
    runnable = bentoml.lightgbm.save_model("m", booster).to_runner().make_runnable()
    for given in (sp.csr_matrix(ROWS[:9]), pd.DataFrame(ROWS[:9])):
        np.testing.assert_array_equal(runnable.predict(given), booster.predict(given))


def test_categories_of_a_dataframe_are_kept() -> None:
    frame = pd.DataFrame(ROWS, columns=list("abcde"))
    frame["e"] = pd.Categorical.from_codes(RNG.integers(0, 3, len(frame)), ["x", "y", "z"])
    booster = trained(rows=frame)
    runnable = bentoml.lightgbm.save_model("m", booster).to_runner().make_runnable()
    np.testing.assert_array_equal(runnable.predict(frame[:9]), booster.predict(frame[:9]))


def test_further_arguments_reach_booster_predict() -> None:
    booster = trained()
    runnable = bentoml.lightgbm.save_model("m", booster).to_runner().make_runnable()
    np.testing.assert_array_equal(runnable.predict(ROWS, raw_score=True), booster.predict(ROWS, raw_score=True))
    np.testing.assert_array_equal(runnable.predict(ROWS, 0, 2), booster.predict(ROWS, 0, 2))


def test_the_best_iteration_is_kept() -> None:
    matrix = lgb.Dataset(ROWS[:150], label=BINARY[:150])
    booster = lgb.train(
        {**QUIET, "objective": "binary", "learning_rate": 0.9},
        matrix,
        60,
        valid_sets=[lgb.Dataset(ROWS[150:], label=BINARY[150:], reference=matrix)],
        callbacks=[lgb.early_stopping(2, verbose=False)],
        keep_training_booster=True,
    )
    assert booster.best_iteration < booster.current_iteration()
    runnable = bentoml.lightgbm.save_model("m", booster).to_runner().make_runnable()
    np.testing.assert_array_equal(runnable.predict(ROWS), booster.predict(ROWS))


@pytest.mark.parametrize(("variable", "threads"), [(None, 1), ("3", 3)])
def test_a_runner_uses_the_threads_of_its_worker(
    variable: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    seen = []

    def predict(self: Any, data: Any, **parameters: Any) -> Any:
        seen.append(parameters)
        return np.zeros(len(data))

    monkeypatch.setattr(lgb.Booster, "predict", predict)
    bentoml.lightgbm.save_model("m", trained()).to_runner().make_runnable().predict(ROWS)
    assert seen == [{"num_threads": threads}]


@pytest.mark.parametrize("path", ["rows.csv", Path("rows.csv")])
def test_a_path_is_no_data(path: Any) -> None:
    runnable = bentoml.lightgbm.save_model("m", trained()).to_runner().make_runnable()
    with pytest.raises(InvalidArgument, match="a model is called with rows, not with"):
        runnable.predict(path)


def test_a_wrong_type_is_named_with_what_is_taken() -> None:
    with pytest.raises(TypeError, match=r"takes a Booster of lightgbm or one of its estimators .*, not builtins\.dict"):
        bentoml.lightgbm.save_model("m", {})


def test_an_unfitted_estimator_is_not_saved() -> None:
    with pytest.raises(ValueError, match="fit"):
        bentoml.lightgbm.save_model("m", lgb.LGBMRegressor())
    assert models.list() == []


def test_a_model_that_bentoml_saved_is_loaded_and_served(tmp_path: Path) -> None:
    booster = trained()
    folder = tmp_path / "models" / "old" / "abc"
    folder.mkdir(parents=True)
    booster.save_model(folder / "saved_model.ubj")
    (folder / "model.yaml").write_text(
        "name: old\nversion: abc\nmodule: bentoml.lightgbm\nlabels: {}\noptions: {}\nmetadata: {}\n"
        "context:\n  framework_name: lightgbm\n  framework_versions:\n    lightgbm: 3.3.2\n"
        "  bentoml_version: 1.0.7\n  python_version: 3.9.13\nsignatures:\n  predict:\n    batchable: false\n"
        "api_version: v1\ncreation_time: '2022-10-03T10:11:12.345678+00:00'\n"
    )
    assert isinstance(bentoml.lightgbm.load_model("old"), lgb.Booster)
    runner = bentoml.lightgbm.get("old").to_runner()
    runner.init_local(quiet=True)
    np.testing.assert_array_equal(runner.predict.run(ROWS), booster.predict(ROWS))
