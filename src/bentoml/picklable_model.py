"""Any Python object with methods: rules, ensembles, a model of a library that has no module here.

    bentoml.picklable_model.save_model("rules", Rules(), signatures={"decide": {"batchable": False}})
    runner = bentoml.picklable_model.get("rules:latest").to_runner()
    runner.decide.run(application)

Arguments and results are those of the object's methods, `async` ones included. The default signature is `__call__`, for
what is callable; a runner with it has `runner.run(...)`. Keyword arguments that every call shall get:
`model.with_options(partial_kwargs={"decide": {"limit": 0.5}}).to_runner()`.

The file is `saved_model.pkl`, written by cloudpickle: classes and functions of the training script are in it, those of
an imported module only if it is one of `external_modules`. It is read only after its digest was verified; Pythons of
different minor versions cannot be relied upon to read each other's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bentoml._pickling import dump_cloudpickle, load_cloudpickle
from bentoml.framework import Framework
from bentoml.store.model import Model

__all__ = ["get", "get_runnable", "load", "load_model", "load_runner", "save", "save_model"]

MODEL_FILE = "saved_model.pkl"


class PicklableModel(Framework):
    """Objects that cloudpickle can write."""

    module = "bentoml.picklable_model"
    library = "cloudpickle"
    install = "cloudpickle"
    versioned = {"cloudpickle": "cloudpickle"}
    default_methods = ("__call__",)
    # Unknown code holds the GIL until shown otherwise: one worker for each CPU.
    multi_threaded = False

    def options_of(self, model: Any) -> dict[str, Any]:
        return {}

    def write(self, model: Any, folder: Path) -> None:
        dump_cloudpickle(model, folder / MODEL_FILE)

    def read(self, record: Model, folder: Path) -> Any:
        return load_cloudpickle(folder / MODEL_FILE)


_picklable = PicklableModel()

get = _picklable.get
get_runnable = _picklable.get_runnable
load = _picklable.load
load_model = _picklable.load_model
load_runner = _picklable.load_runner
save = _picklable.save
save_model = _picklable.save_model
