"""XGBoost: a Booster, or an estimator of its scikit-learn interface.

    bentoml.xgboost.save_model("credit_risk_model", booster, signatures={"predict": {"batchable": True}})
    runner = bentoml.xgboost.get("credit_risk_model:latest").to_runner()
    runner.predict.run(rows)

For a Booster, `predict` takes an (n, features) array, DataFrame or sparse matrix, with NaN for what is missing, or a
`xgboost.DMatrix`; it answers as `booster.predict(xgboost.DMatrix(rows))` does: float32 of shape (n,) or (n, outputs).
Further arguments go to `Booster.predict`. For an estimator every method can be a signature (`predict`, `predict_proba`,
`apply`, …); arguments and results are those of the estimator. The default is `predict`.

A runner uses as many threads as `OMP_NUM_THREADS` says, else one; and the GPU where `CUDA_VISIBLE_DEVICES` names one.

The file is `saved_model.ubj`: data, no code. Subclasses of the estimators are not taken, as their code would be lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bentoml._importing import require
from bentoml._model_methods import rows_only
from bentoml._xgboost_dense import dense_predict
from bentoml.exceptions import BentoMLException
from bentoml.framework import Framework, worker_threads
from bentoml.store.model import Model

__all__ = ["get", "get_runnable", "load", "load_model", "load_runner", "save", "save_model"]

MODEL_FILE = "saved_model.ubj"


class XGBoost(Framework):
    """Boosters and estimators, in XGBoost's own binary format."""

    module = "bentoml.xgboost"
    library = "xgboost"
    install = "makunouchi[xgboost]"
    versioned = {"xgboost": "xgboost"}
    api_version = "v2"
    readable = ("v1", "v2")
    resources = ("nvidia.com/gpu", "cpu")

    def options_of(self, model: Any) -> dict[str, Any]:
        classes = self._classes()
        if type(model) not in classes.values():
            raise self.wrong_type(model, "a Booster of xgboost or one of its estimators (XGBClassifier, …)")
        options: dict[str, Any] = {"model_class": type(model).__name__}
        missing = getattr(model, "missing", None)
        # The file does not hold which number the estimator takes for a missing value; NaN is the default.
        if missing is not None and missing == missing:
            options["missing"] = float(missing)
        return options

    def write(self, model: Any, folder: Path) -> None:
        model.save_model(folder / MODEL_FILE)

    def read(self, record: Model, folder: Path) -> Any:
        options = record.info.options.to_dict()
        # Before v2 there were Boosters only.
        name = "Booster" if record.info.api_version == "v1" else options.get("model_class", "Booster")
        classes = self._classes()
        if name not in classes:
            raise BentoMLException(
                f"{record} was saved as xgboost.{name}, which this version does not have; it has {', '.join(classes)}"
            )
        native = classes[name](missing=options["missing"]) if "missing" in options else classes[name]()
        native.load_model(folder / MODEL_FILE)
        return native

    def prepare(self, native: Any) -> None:
        xgboost = self._xgboost()
        threads, device = worker_threads(), "cuda" if _sees_gpu(xgboost) else "cpu"
        if isinstance(native, xgboost.Booster):
            native.set_param({"nthread": threads, "device": device})
        else:
            native.set_params(n_jobs=threads, device=device)

    def method(self, native: Any, name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
        function = super().method(native, name, options)
        xgboost = self._xgboost()
        return rows_only(
            _predict(xgboost, native) if name == "predict" and isinstance(native, xgboost.Booster) else function
        )

    def _xgboost(self) -> Any:
        return require(self.library, install=self.install, what=self.module)

    def _classes(self) -> dict[str, type]:
        """What can be saved: the record is data, so it may name these and nothing else."""
        xgboost = self._xgboost()
        estimators = (value for value in vars(xgboost).values() if isinstance(value, type))
        return {
            kind.__name__: kind for kind in estimators if kind is xgboost.Booster or issubclass(kind, xgboost.XGBModel)
        }


def _sees_gpu(xgboost: Any) -> bool:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible not in ("", "-1") and bool(xgboost.build_info().get("USE_CUDA"))


def _predict(xgboost: Any, booster: Any) -> Callable[..., Any]:
    """`Booster.predict` for data that is no DMatrix yet."""
    dmatrix, predict = xgboost.DMatrix, booster.predict
    threads = json.loads(booster.save_config())["learner"]["generic_param"]["nthread"]
    dense = dense_predict(xgboost, booster)

    def call(data: Any, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs:
            answer = dense(data)
            if answer is not None:
                return answer
        matrix = data if isinstance(data, dmatrix) else dmatrix(data, nthread=int(threads))
        return predict(matrix, *args, **kwargs)

    return call


_xgboost = XGBoost()

get = _xgboost.get
get_runnable = _xgboost.get_runnable
load = _xgboost.load
load_model = _xgboost.load_model
load_runner = _xgboost.load_runner
save = _xgboost.save
save_model = _xgboost.save_model
