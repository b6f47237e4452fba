"""Model: one item of the model store, and the way from it to what its framework makes of it.

The record names the framework as text (`module: bentoml.xgboost`); it is imported when it is asked for, so that the
store knows no framework and a listing imports none.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bentoml import config
from bentoml._importing import import_module_named
from bentoml._pickling import dump_cloudpickle, load_cloudpickle
from bentoml.exceptions import BentoMLException
from bentoml.store.item import Item
from bentoml.store.local import LocalStore
from bentoml.store.record import MODEL_FILE, ModelInfo
from bentoml.tag import Tag

__all__ = ["Model", "draft_model", "model_store", "open_model"]

CUSTOM_OBJECTS_FILE = "custom_objects.pkl"
#: Makes the runner of a user's module that offers `get_runnable` alone; named, as the record names a framework.
_RUNNER_MODULE = "bentoml.runner.runner"


def model_store() -> LocalStore:
    """The model store of `$BENTOML_HOME`."""
    return LocalStore(config.home() / "models", kind="model", record_file=MODEL_FILE)


class Model(Item):
    """A model in the store: its record, its files, and its custom objects. Two are equal when their tags are.

    Comes from `bentoml.models.get`, `list` and `create`, or from a framework's `save_model`.

    Attributes:
        tag: name and version.
    """

    native = "bentomodel"
    _info: ModelInfo | None
    _custom_objects: dict[str, Any] | None
    _runnable: type | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise BentoMLException(
            "a Model cannot be made directly",
            hint="use bentoml.models.get, bentoml.models.create or a framework's save_model",
        )

    @property
    def info(self) -> ModelInfo:
        """The record `model.yaml`, read at the first use.

        Raises:
            BentoMLException: the file is missing or is not the record of this model.
        """
        if self._info is None:
            info = ModelInfo.read(self._folder)
            if info.tag != self.tag:
                raise BentoMLException(
                    f"{self._folder / MODEL_FILE} is the record of {info.tag}, not of {self.tag}",
                    hint="a model is copied with `bentoml models export` and `import`",
                )
            self._info = info
        return self._info

    @property
    def creation_time(self) -> datetime.datetime:
        """When it was saved, in UTC."""
        return self.info.creation_time

    @property
    def custom_objects(self) -> dict[str, Any]:
        """What was saved beside the model: verified, then unpickled at the first use; `{}` when there is nothing.

        Raises:
            CorruptedItem: a file of the model is not the one that was saved.
            ValueError: the file does not hold a dictionary.
        """
        if self._custom_objects is None:
            path = self._folder / CUSTOM_OBJECTS_FILE
            self.verify()
            stored = load_cloudpickle(path) if path.is_file() else {}
            if not isinstance(stored, dict):
                raise ValueError(f"{path} must hold a dictionary of custom objects, not {type(stored).__name__}")
            self._custom_objects = stored
        return self._custom_objects

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        """What the framework's `load_model` makes of this model; the arguments are passed on to it."""
        self.verify()
        return self._from_module("load_model")(self, *args, **kwargs)

    def to_runnable(self) -> Any:
        """The Runnable class that the framework makes for this model; always the same one for this instance."""
        if self._runnable is None:
            self._runnable = self._from_module("get_runnable")(self)
        return self._runnable

    def to_runner(
        self,
        name: str = "",
        max_batch_size: int | None = None,
        max_latency_ms: int | None = None,
        method_configs: Mapping[str, Mapping[str, int]] | None = None,
        embedded: bool = False,
        scheduling_strategy: Any = None,
    ) -> Any:
        """A Runner for this model.

        Args:
            name: by default the name of the tag.
            max_batch_size: rows that one batch may have; None leaves it to the configuration.
            max_latency_ms: how long a request may take, waiting included; None leaves it to the configuration.
            method_configs: the two limits per method, `{"predict": {"max_batch_size": 100}}`.
            embedded: keep the model inside each API worker.
            scheduling_strategy: decides how many workers there are; None for the usual one.
        """
        options: dict[str, Any] = {
            "name": name or self.tag.name,
            "max_batch_size": max_batch_size,
            "max_latency_ms": max_latency_ms,
            "method_configs": method_configs,
            "embedded": embedded,
            "scheduling_strategy": scheduling_strategy,
        }
        module = self._module()
        if hasattr(module, "to_runner"):
            return module.to_runner(self, **options)
        runner = import_module_named(_RUNNER_MODULE, what=str(self)).Runner
        return runner(self.to_runnable(), models=[self], **options)

    def with_options(self, /, **options: Any) -> Model:
        """A copy of the same tag with these options set; the stored record does not change."""
        changed = copy.copy(self)
        changed._info = self.info.with_options(**options)
        changed._runnable = None
        return changed

    @classmethod
    def _home_store(cls) -> LocalStore:
        return model_store()

    @classmethod
    def _recorded_in(cls, folder: Path) -> Model:
        info = ModelInfo.read(folder)
        return open_model(info.tag, folder, info=info)

    @property
    def _module_name(self) -> str:
        return self.info.module

    def _module(self) -> ModuleType:
        if not self.info.module:
            raise BentoMLException(
                f"{self} names no module that could load it",
                hint="save it with a framework module such as bentoml.sklearn, or write a Runnable that reads it",
            )
        return import_module_named(self.info.module, what=str(self))

    def _from_module(self, name: str) -> Any:
        module = self._module()
        if not hasattr(module, name):
            raise BentoMLException(
                f"{self} is loaded by the module {module.__name__!r}, which has no function {name!r}",
                hint=f"add {name}(model, …) to {module.__name__}",
            )
        return getattr(module, name)

    def _write_record(self) -> None:
        """Write `model.yaml` and the custom objects into the folder of a draft."""
        if self._custom_objects:
            dump_cloudpickle(self._custom_objects, self._folder / CUSTOM_OBJECTS_FILE)
        self.info.write(self._folder)


def open_model(tag: Tag, folder: Path, *, info: ModelInfo | None = None) -> Model:
    """The model in the folder of a store; its record is read when it is needed."""
    model = Model.__new__(Model)
    model.tag, model._folder, model._info = tag, folder, info
    model._custom_objects = model._runnable = None
    model._verified = False
    return model


def draft_model(folder: Path, info: ModelInfo, custom_objects: Mapping[str, Any] | None) -> Model:
    """A model that is being written: its files come into `folder`."""
    model = open_model(info.tag, folder, info=info)
    model._custom_objects = dict(custom_objects or {})
    model._verified = True
    return model
