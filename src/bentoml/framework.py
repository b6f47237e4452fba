"""Framework: what saving, loading and serving a model have in common, whatever library it comes from.

    save_model ─► options_of ─► method ─► models.create { write }
    load_model ─► versions ─► verify ─► read
    to_runner ──► get_runnable;  in each worker: versions ─► verify ─► read ─► prepare ─► method

A library is one file with one subclass, which writes options_of, write and read, and where the defaults do not do,
prepare and method. `bentoml.testing.check_framework` is their contract.
"""

from __future__ import annotations

import abc
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from bentoml import models
from bentoml._importing import require, require_installed
from bentoml._model_methods import method_names, model_runnable, no_method
from bentoml._versions import check_versions
from bentoml.exceptions import InvalidArgument, NotFound
from bentoml.runner.runnable import Runnable
from bentoml.runner.runner import Runner
from bentoml.store.model import Model
from bentoml.store.record import ModelContext
from bentoml.tag import Tag
from bentoml.types import ModelSignature

__all__ = ["Framework", "to_runner", "worker_threads"]

logger = logging.getLogger("bentoml")


def worker_threads() -> int:
    """The CPU threads that one model may use in this process: `OMP_NUM_THREADS`, which a worker is given; else 1."""
    try:
        return max(int(os.environ.get("OMP_NUM_THREADS", "1")), 1)
    except ValueError:
        return 1


def to_runner(
    model: Model,
    *,
    name: str = "",
    max_batch_size: int | None = None,
    max_latency_ms: float | None = None,
    method_configs: Mapping[str, Mapping[str, Any]] | None = None,
    embedded: bool = False,
    scheduling_strategy: Any = None,
) -> Runner:
    """A runner for the model; nothing is loaded yet.

    Args:
        name: of the runner; defaults to the model's name.
        max_batch_size, max_latency_ms, method_configs, embedded, scheduling_strategy: as for `bentoml.Runner`.
    """
    return Runner(
        model.to_runnable(),
        name=name or model.tag.name,
        models=[model],
        max_batch_size=max_batch_size,
        max_latency_ms=max_latency_ms,
        method_configs=method_configs,
        embedded=embedded,
        scheduling_strategy=scheduling_strategy,
    )


class Framework(abc.ABC):
    """How the models of one library are saved, loaded and served.

    Making an instance raises `MissingDependencyException` when the library is not installed, without importing it.

    Class attributes:
        module: the public module, recorded in `model.yaml`: `"bentoml.xgboost"`.
        library: what `import` is given: `"xgboost"`.
        install: what `pip install` is given: `"makunouchi[xgboost]"`.
        versioned: distribution, as recorded in `model.yaml`, to the module whose `__version__` is its version; the
            first is the framework's name in the record.
        api_version: of the files that `write` makes.
        readable: the api_versions that `read` knows.
        default_methods: a model saved without signatures offers the first of these that it has.
        resources: `"cpu"`, `"nvidia.com/gpu"`.
        multi_threaded: whether one call uses several cores, so that one worker is enough for all of them.
    """

    module: ClassVar[str]
    library: ClassVar[str]
    install: ClassVar[str]
    versioned: ClassVar[Mapping[str, str]]
    api_version: ClassVar[str] = "v1"
    readable: ClassVar[tuple[str, ...]] = ("v1",)
    default_methods: ClassVar[tuple[str, ...]] = ("predict",)
    resources: ClassVar[tuple[str, ...]] = ("cpu",)
    multi_threaded: ClassVar[bool] = True

    def __init__(self) -> None:
        require_installed(self.library, install=self.install, what=self.module)

    # -- what a library writes ----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def options_of(self, model: Any) -> dict[str, Any]:
        """What `read` needs to know besides the files; goes to `options` in `model.yaml`.

        Raises:
            TypeError: the model is of no type that this framework takes; make it with `wrong_type`.
        """

    @abc.abstractmethod
    def write(self, model: Any, folder: Path) -> None:
        """Write the model's files into an empty folder."""

    @abc.abstractmethod
    def read(self, record: Model, folder: Path) -> Any:
        """The native object from files whose digests were verified, also as BentoML 1.x wrote them."""

    def prepare(self, native: Any) -> None:  # noqa: B027 - most libraries have nothing to set
        """Set what only a server needs: `worker_threads()`, a GPU."""

    def method(self, native: Any, name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
        """What a runner's method `name` calls; the default is the model's method of that name.

        Args:
            native: what `read` returns, or, while saving, the model itself.
            options: of its record.

        Raises:
            InvalidArgument: there is no such method; names the model's class and similar methods.
        """
        found = getattr(native, name, None)
        if callable(found):
            return found  # type: ignore[no-any-return]  # mypy does not narrow Any
        raise no_method(native, name)

    def wrong_type(self, model: Any, takes: str) -> TypeError:
        """The error of `options_of`: `takes` describes what the framework takes."""
        kind = model if isinstance(model, type) else type(model)
        given = f"the class {kind.__name__} itself" if isinstance(model, type) else f"{kind.__module__}.{kind.__name__}"
        return TypeError(f"{self.module}.save_model takes {takes}, not {given}")

    # -- what a user calls --------------------------------------------------------------------------------------------

    def save_model(
        self,
        name: Tag | str,
        model: Any,
        *,
        signatures: Mapping[str, ModelSignature | Mapping[str, Any]] | None = None,
        labels: Mapping[str, str] | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        external_modules: Sequence[ModuleType] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Model:
        """Save a trained model in the store: whole, or not at all.

        Args:
            name: `"fraud"`, which gets a fresh version, or `"fraud:v2"`.
            model: what the framework takes stands at the top of its module's page.
            signatures: method → `{"batchable": True, "batch_dim": 0}` (the default is False): whether the requests of
                several callers may be joined into one call, and along which axis. Only the methods named here can be
                called through a runner. Default: the framework's main method, not batchable.
            labels: text → text, shown in listings.
            custom_objects: what belongs to the model and is no part of it, such as a vectorizer; pickled, and found
                again as `Model.custom_objects`.
            external_modules: modules that pickles take along by value, so that loading does not import them.
            metadata: numbers, text, dates, arrays, and lists and dictionaries of these.

        Returns:
            The saved model; its tag has the version.

        Raises:
            TypeError: this framework takes no such object; names its type.
            InvalidArgument: a signature is wrong, or names a method that the model does not have.
            ValueError: a label, a metadata value or the name breaks a rule.
            BentoMLException: the store has this version already.
        """
        options = self.options_of(model)
        methods = self._signatures(model, signatures, options)
        with models.create(
            name,
            module=self.module,
            api_version=self.api_version,
            signatures=methods,
            labels=labels,
            options=options,
            custom_objects=custom_objects,
            external_modules=external_modules,
            metadata=metadata,
            context=ModelContext(framework_name=next(iter(self.versioned)), framework_versions=self.versions()),
        ) as saved:
            self.write(model, Path(saved.path))
        return saved

    def get(self, tag_like: Tag | str) -> Model:
        """The model of that tag; `"name"` and `"name:latest"` are the newest version.

        Raises:
            NotFound: the store has no such model, or another module saved it.
        """
        return self._own(models.get(tag_like))

    def load_model(self, tag_like: Tag | str | Model) -> Any:
        """The object that was saved, in this process, with its digests verified.

        Raises:
            NotFound: the store has no such model, or another module saved it.
            CorruptedItem: a file is not the one that was saved; names it.
            BentoMLException: the versions differ from those of the save, and `models.version_check` is `error`.
        """
        record = self._own(tag_like if isinstance(tag_like, Model) else models.get(tag_like))
        if record.info.api_version not in self.readable:
            logger.warning("%s has api_version %s, unknown to %s; trying", record, record.info.api_version, self.module)
        check_versions(record, self.versions())
        record.verify()
        return self.read(record, Path(record.path))

    def get_runnable(self, model: Model) -> type[Runnable]:
        """The class of which a runner's workers make one instance each; its methods are those of the signatures.

        Raises:
            NotFound: another module saved the model.
            InvalidArgument: it has no signatures, or its option `partial_kwargs` names a method without one.
        """
        own = self._own(model)

        def load() -> tuple[Any, dict[str, Callable[..., Any]]]:
            native, options = self.load_model(own), own.info.options.to_dict()
            self.prepare(native)
            return native, {name: self.method(native, name, options) for name in own.info.signatures}

        return model_runnable(own, load, resources=self.resources, multi_threaded=self.multi_threaded)

    def versions(self) -> dict[str, str]:
        """The versions of the library in this process, whichever distribution brought it; imports it."""
        return {
            distribution: str(require(module, install=self.install, what=self.module).__version__)
            for distribution, module in self.versioned.items()
        }

    # -- names of BentoML before 1.0 ----------------------------------------------------------------------------------

    def save(self, name: Tag | str, model: Any, **options: Any) -> Model:
        """Deprecated: `save_model`."""
        self._deprecated("save", "save_model")
        return self.save_model(name, model, **options)

    def load(self, tag_like: Tag | str | Model, **options: Any) -> Any:
        """Deprecated: `load_model`."""
        self._deprecated("load", "load_model")
        return self.load_model(tag_like, **options)

    def load_runner(self, tag_like: Tag | str, *args: Any, **kwargs: Any) -> Runner:
        """Deprecated: `get(tag).to_runner()`; further arguments are ignored, with an error in the log."""
        self._deprecated("load_runner", "get().to_runner")
        if args or kwargs:
            given = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
            logger.error('"%s.load_runner" ignores the arguments %s', self.module, given)
        return to_runner(self.get(tag_like))

    def _deprecated(self, old: str, new: str) -> None:
        logger.warning('The "%s.%s" method is deprecated. Use "%s.%s" instead.', self.module, old, self.module, new)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _own(self, record: Model) -> Model:
        if record.info.module != self.module:
            raise NotFound(
                f"Model {record.tag} was saved with module {record.info.module}, not with {self.module}",
                hint=f"use {record.info.module or 'bentoml.models'}.get({str(record.tag)!r})",
            )
        return record

    def _signatures(
        self, model: Any, given: Mapping[str, ModelSignature | Mapping[str, Any]] | None, options: Mapping[str, Any]
    ) -> dict[str, ModelSignature]:
        if given is None:
            name = next((method for method in self.default_methods if callable(getattr(model, method, None))), None)
            if name is None:
                example = next(iter(method_names(model)), "method")
                raise InvalidArgument(
                    f"{self.module} serves {' or '.join(self.default_methods)} unless told otherwise, and "
                    f"{type(model).__name__} has no such method",
                    hint=f'name the methods to serve: signatures={{"{example}": {{}}}}; signatures={{}} saves it '
                    "to be loaded only",
                )
            logger.info("Saving with the default signature of %s: %s, not batchable", self.module, name)
            given = {name: ModelSignature()}
        for method in given:
            self.method(model, method, options)
        return {method: ModelSignature.of(method, signature) for method, signature in given.items()}
