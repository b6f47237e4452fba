"""LightGBM: a Booster, or an estimator of its scikit-learn interface, which is kept as its Booster.

    bentoml.lightgbm.save_model("fraud", booster, signatures={"predict": {"batchable": True}})
    runner = bentoml.lightgbm.get("fraud:latest").to_runner()
    runner.predict.run(rows)   # (n, features) array, DataFrame or sparse matrix → (n,) or (n, classes) float64

`predict` is `Booster.predict`, also for an estimator: a classifier's answers with probabilities, not with classes. A
classifier may have the signature `predict_proba` as well, which answers as the estimator does: (n, classes). To keep
its classes too, save the whole estimator with `bentoml.sklearn`. Every other method of a Booster can be a signature.

A runner uses as many threads as `OMP_NUM_THREADS` says, else one.

The file is `saved_model.ubj`; in spite of the name, which BentoML gave it, it is LightGBM's text format: data, no code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bentoml._importing import require
from bentoml._model_methods import rows_only
from bentoml.framework import Framework, worker_threads
from bentoml.store.model import Model

__all__ = ["get", "get_runnable", "load", "load_model", "load_runner", "save", "save_model"]

MODEL_FILE = "saved_model.ubj"


class LightGBM(Framework):
    """Boosters, in LightGBM's own text format."""

    module = "bentoml.lightgbm"
    library = "lightgbm"
    install = "makunouchi[lightgbm]"
    versioned = {"lightgbm": "lightgbm"}

    def options_of(self, model: Any) -> dict[str, Any]:
        lightgbm = require(self.library, install=self.install, what=self.module)
        if isinstance(model, lightgbm.Booster):
            return {}
        if not isinstance(model, lightgbm.LGBMModel):
            raise self.wrong_type(model, "a Booster of lightgbm or one of its estimators (LGBMClassifier, …)")
        # With an objective of the user's own there are raw scores and no probabilities.
        is_classifier = isinstance(model, lightgbm.LGBMClassifier) and not callable(model.objective)
        return {"model_class": "LGBMClassifier"} if is_classifier else {}

    def write(self, model: Any, folder: Path) -> None:
        _booster(model).save_model(folder / MODEL_FILE)

    def read(self, record: Model, folder: Path) -> Any:
        lightgbm = require(self.library, install=self.install, what=self.module)
        return lightgbm.Booster(model_file=folder / MODEL_FILE)

    def method(self, native: Any, name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
        booster = _booster(native)
        proba = name == "predict_proba" and options.get("model_class") == "LGBMClassifier"
        function = super().method(booster, "predict" if proba else name, options)
        if name not in ("predict", "predict_proba"):
            return function
        # Threads are no property of a loaded Booster, only of a call.
        predict = functools.partial(function, num_threads=worker_threads())
        return rows_only(functools.partial(_probabilities, predict) if proba else predict)


def _booster(model: Any) -> Any:
    """The Booster itself, or that of a fitted estimator; raises LightGBM's own error if it is not fitted."""
    return model.booster_ if hasattr(type(model), "booster_") else model


def _probabilities(predict: Callable[..., Any], data: Any, **kwargs: Any) -> Any:
    """What `LGBMClassifier.predict_proba` makes of `Booster.predict`: two classes have two columns."""
    import numpy

    answer = predict(data, **kwargs)
    if answer.ndim > 1 or kwargs.get("raw_score"):
        return answer
    return numpy.stack([1.0 - answer, answer], axis=1)


_lightgbm = LightGBM()

get = _lightgbm.get
get_runnable = _lightgbm.get_runnable
load = _lightgbm.load
load_model = _lightgbm.load_model
load_runner = _lightgbm.load_runner
save = _lightgbm.save
save_model = _lightgbm.save_model
