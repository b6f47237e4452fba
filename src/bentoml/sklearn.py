"""scikit-learn: any estimator, transformer or pipeline.

    bentoml.sklearn.save_model("iris_clf", pipeline, signatures={"predict_proba": {"batchable": True}})
    runner = bentoml.sklearn.get("iris_clf:latest").to_runner()
    runner.predict_proba.run(rows)   # (n, features) array, DataFrame or sparse matrix → (n, classes) float64

Every method of the model can be a signature (`predict`, `predict_proba`, `transform`, `decision_function`, …); its
arguments and results are those of the model. The default is `predict`, or `transform` for a transformer.

The file is `saved_model.pkl`, a pickle: it is read only after its digest was verified, and should be read with the
versions of Python and scikit-learn that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bentoml._importing import require
from bentoml._pickling import dump_cloudpickle, load_joblib
from bentoml.framework import Framework, worker_threads
from bentoml.store.model import Model

__all__ = ["get", "get_runnable", "load", "load_model", "load_runner", "save", "save_model"]

MODEL_FILE = "saved_model.pkl"


class Sklearn(Framework):
    """Estimators, kept as pickles."""

    module = "bentoml.sklearn"
    library = "sklearn"
    install = "makunouchi[sklearn]"
    versioned = {"scikit-learn": "sklearn"}
    default_methods = ("predict", "transform")

    def options_of(self, model: Any) -> dict[str, Any]:
        base = require("sklearn.base", install=self.install, what=self.module)
        if not isinstance(model, base.BaseEstimator):
            raise self.wrong_type(model, "an estimator or a pipeline of scikit-learn (sklearn.base.BaseEstimator)")
        return {}

    def write(self, model: Any, folder: Path) -> None:
        # joblib.load reads it, as it reads joblib's own files. Unlike joblib, cloudpickle takes along what a pipeline
        # got from the training script (a lambda, a class of __main__) or from `external_modules`; it is also faster.
        dump_cloudpickle(model, folder / MODEL_FILE)

    def read(self, record: Model, folder: Path) -> Any:
        return load_joblib(folder / MODEL_FILE)

    def method(self, native: Any, name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
        function = super().method(native, name, options)
        # No `loky` around each call, as BentoML has it: estimators that use joblib in `predict` ask for shared memory,
        # so it never started a process, and every call paid for the context and for starting threads.
        return _in_this_thread(function) if worker_threads() == 1 and _is_parallel(native) else function


def _is_parallel(native: Any) -> bool:
    """Whether a part of the model was trained with n_jobs other than 1."""
    try:
        parameters = native.get_params(deep=True)
    except (AttributeError, RuntimeError, TypeError):
        return False  # an estimator that breaks scikit-learn's rule for __init__ still predicts
    return any(
        value not in (None, 1) for key, value in parameters.items() if key == "n_jobs" or key.endswith("__n_jobs")
    )


def _in_this_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """n_jobs was chosen for the training: the threads that it would start for each request cost more than they save."""
    parallel_backend = require("joblib").parallel_backend

    def call(*args: Any, **kwargs: Any) -> Any:
        with parallel_backend("sequential"):
            return function(*args, **kwargs)

    return call


_sklearn = Sklearn()

get = _sklearn.get
get_runnable = _sklearn.get_runnable
load = _sklearn.load
load_model = _sklearn.load_model
load_runner = _sklearn.load_runner
save = _sklearn.save
save_model = _sklearn.save_model
