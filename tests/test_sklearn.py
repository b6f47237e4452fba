"""bentoml.sklearn: estimators and pipelines, saved, loaded and served."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import bentoml.sklearn
from bentoml import models
from bentoml.exceptions import InvalidArgument
from bentoml.testing.framework import check_framework

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(120, 4))
TARGET = (ROWS[:, 0] > ROWS[:, 1]).astype(int)
INPUTS = [ROWS[:1], ROWS[1:3], ROWS[3:50]]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_a_pipeline_keeps_the_contract() -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, TARGET)
    # BLAS may sum a joined batch in another order.
    check_framework(
        bentoml.sklearn,
        pipeline,
        inputs=INPUTS,
        methods=["predict", "predict_proba", "predict_log_proba", "decision_function"],
        rtol=1e-12,
    )


def test_a_forest_keeps_the_contract() -> None:
    forest = RandomForestClassifier(n_estimators=4, n_jobs=2).fit(ROWS, TARGET)
    check_framework(bentoml.sklearn, forest, inputs=INPUTS, methods=["predict", "predict_proba"], rtol=1e-12)


def test_transformers_with_dense_and_sparse_answers_keep_the_contract() -> None:
    check_framework(bentoml.sklearn, StandardScaler().fit(ROWS), inputs=INPUTS, methods=["transform"])
    codes = RNG.integers(0, 3, size=(40, 2))
    check_framework(bentoml.sklearn, OneHotEncoder().fit(codes), inputs=[codes[:1], codes[1:]], methods=["transform"])


def test_a_pipeline_of_dictionaries_keeps_the_contract() -> None:
    people = [{"age": age, "job": job} for age in range(20, 30) for job in ("cook", "pilot")]
    pipeline = make_pipeline(DictVectorizer(), LinearRegression()).fit(people, np.arange(20))
    check_framework(bentoml.sklearn, pipeline, inputs=[people[:1], people[1:4]], rtol=1e-12)


def test_a_model_trained_on_a_dataframe_keeps_the_contract() -> None:
    frame = pd.DataFrame(ROWS, columns=list("abcd"))
    check_framework(bentoml.sklearn, LinearRegression().fit(frame, TARGET), inputs=[frame[:1], frame[1:9]], rtol=1e-12)


def test_the_record_is_that_of_the_format_reference() -> None:
    info = bentoml.sklearn.save_model("m", LinearRegression().fit(ROWS, TARGET)).info
    assert (info.module, info.api_version, info.options.to_dict()) == ("bentoml.sklearn", "v1", {})
    assert info.context.framework_name == "scikit-learn"
    assert info.context.framework_versions == {"scikit-learn": sklearn.__version__}
    assert list(info.signatures) == ["predict"]


def test_a_transformer_is_saved_with_transform_by_default() -> None:
    assert list(bentoml.sklearn.save_model("m", StandardScaler().fit(ROWS)).info.signatures) == ["transform"]


def test_an_estimator_with_neither_names_what_to_write() -> None:
    with pytest.raises(InvalidArgument, match=r"serves predict or transform .* TSNE has no such method") as error:
        bentoml.sklearn.save_model("m", TSNE())
    assert 'signatures={"fit": {}}' in error.value.hint
    saved = bentoml.sklearn.save_model("m", TSNE(), signatures={})
    assert isinstance(bentoml.sklearn.load_model(saved), TSNE)


def test_a_method_that_only_a_setting_brings_is_a_signature_only_with_it() -> None:
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(ROWS, TARGET)
    with pytest.raises(InvalidArgument, match="'predict_proba' names no method of Pipeline"):
        bentoml.sklearn.save_model("m", pipeline, signatures={"predict_proba": {}})


def test_a_wrong_type_is_named_with_what_is_taken() -> None:
    with pytest.raises(TypeError, match=r"takes an estimator or a pipeline of scikit-learn .*, not builtins\.list"):
        bentoml.sklearn.save_model("m", [])
    with pytest.raises(TypeError, match="not the class LinearRegression itself"):
        bentoml.sklearn.save_model("m", LinearRegression)


def test_a_model_that_bentoml_saved_with_joblib_is_loaded_and_served(tmp_path: Path) -> None:
    model = LogisticRegression().fit(ROWS, TARGET)
    folder = tmp_path / "models" / "iris" / "abc"
    folder.mkdir(parents=True)
    joblib.dump(model, folder / "saved_model.pkl")
    (folder / "model.yaml").write_text(
        "name: iris\nversion: abc\nmodule: bentoml.sklearn\nlabels: {}\noptions: {}\nmetadata: {}\n"
        "context:\n  framework_name: scikit-learn\n  framework_versions:\n    scikit-learn: 1.1.2\n"
        "  bentoml_version: 1.0.7\n  python_version: 3.9.13\nsignatures:\n  predict:\n    batchable: false\n"
        "api_version: v1\ncreation_time: '2022-10-03T10:11:12.345678+00:00'\n"
    )
    np.testing.assert_array_equal(bentoml.sklearn.load_model("iris").predict(ROWS), model.predict(ROWS))
    runner = models.get("iris").to_runner()
    runner.init_local(quiet=True)
    np.testing.assert_array_equal(runner.predict.run(ROWS), model.predict(ROWS))


SCRIPT = """
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
import bentoml.sklearn

class Doubled(BaseEstimator):
    def fit(self, rows, target):
        self.fitted_ = True
        return self

    def predict(self, rows):
        return rows.sum(axis=1) * 2

pipeline = make_pipeline(FunctionTransformer(lambda rows: rows + 1), Doubled()).fit(np.ones((2, 3)), [1, 2])
bentoml.sklearn.save_model("script", pipeline)
"""


def test_what_a_training_script_defines_is_saved_with_the_model() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
    np.testing.assert_array_equal(bentoml.sklearn.load_model("script").predict(np.ones((2, 3))), [12.0, 12.0])


class Threads(BaseEstimator):
    """Says how many threads joblib would use for it."""

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs

    def fit(self, rows: Any, target: Any) -> Threads:
        self.fitted_ = True
        return self

    def predict(self, rows: Any) -> Any:
        return np.full(len(rows), joblib.effective_n_jobs(self.n_jobs))


@pytest.mark.parametrize(("variable", "threads"), [(None, 1), ("1", 1), ("4", 3)])
def test_n_jobs_of_the_training_counts_only_where_the_worker_has_several_threads(
    variable: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    pipeline = make_pipeline(FunctionTransformer(), Threads(n_jobs=3)).fit(ROWS, TARGET)
    runnable = bentoml.sklearn.save_model("m", pipeline).to_runner().make_runnable()
    assert runnable.predict(ROWS[:1]).tolist() == [threads]
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(runnable.predict(ROWS[:1]).tolist()))
    thread.start()
    thread.join()
    assert answers == [[threads]]


def test_a_model_without_n_jobs_is_called_directly() -> None:
    runnable = bentoml.sklearn.save_model("m", LinearRegression().fit(ROWS, TARGET)).to_runner().make_runnable()
    assert runnable.predict == runnable.model.predict


def test_further_arguments_reach_the_model() -> None:
    pipeline = make_pipeline(StandardScaler()).fit(ROWS)
    runnable = bentoml.sklearn.save_model("m", pipeline.steps[0][1]).to_runner().make_runnable()
    kept = ROWS[:2].copy()
    assert runnable.transform(kept, copy=False) is kept


class Unruly(BaseEstimator):
    """Does not keep its parameter under its name, so that get_params fails."""

    def __init__(self, factor: int) -> None:
        self._factor = factor

    def predict(self, rows: Any) -> Any:
        return rows * self._factor


def test_an_estimator_that_breaks_the_rule_for_parameters_is_saved_and_served() -> None:
    runnable = bentoml.sklearn.save_model("m", Unruly(3)).to_runner().make_runnable()
    assert runnable.predict(2) == 6
