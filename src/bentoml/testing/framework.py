"""check_framework: the contract that every framework module keeps."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bentoml import models
from bentoml._importing import require
from bentoml.config import LoadedConfig
from bentoml.exceptions import BentoMLException, CorruptedItem, InvalidArgument, NotFound
from bentoml.runner.placements.in_process import InProcess
from bentoml.runner.runner import Runner
from bentoml.store.model import Model

__all__ = ["check_framework"]

#: Calls the method of a native object (before the save or after `load_model`) as a user of the library does.
Call = Callable[[Any, str, Any], Any]

_NAME = "check_framework"
_LABELS = {"stage": "check"}
_METADATA = {"accuracy": 0.75, "classes": ["no", "yes"]}
_CUSTOM_OBJECTS = {"thresholds": {"no": 0.3}}


class NoModel:
    """What no framework takes that knows its models."""


_NO_MODEL = NoModel()


def _called(native: Any, method: str, rows: Any) -> Any:
    return getattr(native, method)(rows)


def check_framework(
    module: ModuleType,
    model: Any,
    *,
    inputs: Sequence[Any],
    methods: Sequence[str] = ("predict",),
    call: Call = _called,
    wrong: Any = _NO_MODEL,
    batchable: bool = True,
    rtol: float = 0.0,
) -> None:
    """Save, find, load, serve and spoil a model of a framework in a store of its own, and compare what comes out.

    Args:
        module: `bentoml.xgboost`, or one of your own with `get`, `get_runnable`, `load_model` and `save_model`.
        model: a small trained model; it is not changed.
        inputs: arguments of single calls, at least two, with rows along axis 0; they may differ in rows, not in type.
        methods: the methods to serve, each called with one argument.
        call: (native, method, input) → what a runner must answer; defaults to `getattr(native, method)(input)`.
        wrong: an object that the framework must refuse with an error that names its type; None if it takes any.
        batchable: whether the methods' calls can be joined.
        rtol: by what part answers may differ; by default they are the same numbers.

    Raises:
        AssertionError: the contract is broken; says which part of it.
    """
    assert len(inputs) >= 2, "check_framework needs two inputs at least: one call alone cannot be joined"
    signatures = {method: {"batchable": batchable, "batch_dim": 0} for method in methods}
    expected = {method: [call(model, method, rows) for rows in inputs] for method in methods}
    with _own_store():
        saved = module.save_model(
            _NAME,
            model,
            signatures=signatures,
            labels=_LABELS,
            metadata=_METADATA,
            custom_objects=_CUSTOM_OBJECTS,
        )
        assert isinstance(saved, Model), f"save_model returned {saved!r}, not a Model"
        _check_record(module, saved, signatures)

        native = module.load_model(saved.tag)
        for method in methods:
            for rows, answer in zip(inputs, expected[method], strict=True):
                _check_equal(call(native, method, rows), answer, rtol, f"load_model, then {method}")

        for name, answers in _served(saved, methods, inputs).items():
            for answer, wanted in zip(answers, expected[name.split()[0]], strict=True):
                _check_equal(answer, wanted, rtol, f"a runner's {name}")

        _check_refusals(module, model, wrong)
        _check_spoiled(module, saved)


@contextlib.contextmanager
def _own_store() -> Iterator[None]:
    """A store in a temporary folder, so that nothing is left behind and nothing that is there is seen."""
    before = os.environ.get("BENTOML_HOME")
    with tempfile.TemporaryDirectory(prefix="check_framework_") as home:
        os.environ["BENTOML_HOME"] = home
        try:
            yield
        finally:
            os.environ.pop("BENTOML_HOME")
            if before is not None:
                os.environ["BENTOML_HOME"] = before


def _check_record(module: ModuleType, saved: Model, signatures: Mapping[str, Mapping[str, Any]]) -> None:
    assert [found.tag for found in models.list(_NAME)] == [saved.tag], "the model is not in the listing"
    record = module.get(f"{_NAME}:latest")
    info = record.info
    assert record.tag == saved.tag, f"get(…:latest) returned {record}, not {saved}"
    assert info.module == module.__name__, f"the record names the module {info.module!r}, not {module.__name__!r}"
    assert info.context.framework_name, "the record does not name the framework"
    assert info.context.framework_versions, "the record does not hold the framework's version"
    assert dict(info.labels) == _LABELS, f"the labels came back as {info.labels!r}"
    assert dict(info.metadata) == _METADATA, f"the metadata came back as {info.metadata!r}"
    assert record.custom_objects == _CUSTOM_OBJECTS, f"the custom objects came back as {record.custom_objects!r}"
    offered = record.to_runnable().bentoml_runnable_methods__
    assert set(offered) == set(signatures), f"the runnable offers {sorted(offered)}, not {sorted(signatures)}"
    for name, method in offered.items():
        batchable = signatures[name]["batchable"]
        assert method.signature.batchable is batchable, f"the signature of {name!r} came back as {method.signature}"


def _served(saved: Model, methods: Sequence[str], inputs: Sequence[Any]) -> dict[str, list[Any]]:
    """What a runner answers: to one call after the other, and to all at one time."""
    runner = saved.to_runner()
    assert isinstance(runner, Runner), f"to_runner returned {runner!r}"
    assert runner.name == _NAME, f"the runner is called {runner.name!r}, not like its model"
    handles = {handle.name: handle for handle in runner.runner_methods}
    answers: dict[str, list[Any]] = {}

    runner.init_local(quiet=True)
    for method in methods:
        answers[f"{method} called one by one"] = [handles[method].run(rows) for rows in inputs]
    runner.destroy()

    async def all_at_once() -> None:
        placement = InProcess(runner.engine(LoadedConfig({}, {}).runner(runner.name)))
        runner.attach(placement)
        await placement.start()
        try:
            for method in methods:
                calls = [handles[method].async_run(rows) for rows in inputs]
                answers[f"{method} called at one time"] = list(await asyncio.gather(*calls))
        finally:
            await placement.close()

    asyncio.run(all_at_once())
    return answers


def _check_refusals(module: ModuleType, model: Any, wrong: Any) -> None:
    before = models.list()
    if wrong is not None:
        kind = type(wrong).__name__
        error = _raised(TypeError, lambda: module.save_model(_NAME, wrong), f"a model of the type {kind}")
        assert kind in str(error), f"the error for a wrong type does not name {kind}: {error}"
    error = _raised(
        InvalidArgument,
        lambda: module.save_model(_NAME, model, signatures={"no_such_method": {}}),
        "a signature that is no method of the model",
    )
    assert "no_such_method" in str(error), f"the error for a wrong signature does not name it: {error}"
    assert models.list() == before, "a save that was refused left a model behind"

    with models.create("foreign", module="some.where_else") as foreign:
        Path(foreign.path_of("file.txt")).write_text("")
    text = f"Model {foreign.tag} was saved with module some.where_else, "
    for function in (module.get, module.load_model):
        error = _raised(NotFound, functools.partial(function, foreign.tag), "another module's model")
        assert str(error).startswith(text), f"the error for another module's model must begin {text!r}: {error}"


def _check_spoiled(module: ModuleType, saved: Model) -> None:
    """One changed byte in any file that holds the model keeps it from being loaded."""
    for path in sorted(Path(saved.path).rglob("*")):
        if not path.is_file() or path.name in ("model.yaml", "SHA256SUMS"):
            continue
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        fresh = models.get(saved.tag)
        for load in (functools.partial(module.load_model, saved.tag), fresh.to_runner().make_runnable):
            error = _raised(CorruptedItem, load, f"{path.name} with a changed byte")
            assert path.name in str(error), f"the error for a changed byte does not name {path.name}: {error}"
        path.write_bytes(content)
    module.load_model(saved.tag)


def _raised(kind: type[Exception], function: Callable[[], Any], what: str) -> Exception:
    try:
        function()
    except kind as error:
        return error
    except (BentoMLException, TypeError, ValueError) as error:
        raise AssertionError(f"{what} raised {type(error).__name__} instead of {kind.__name__}: {error}") from error
    raise AssertionError(f"{what} was taken; it must raise {kind.__name__}")


def _check_equal(answer: Any, expected: Any, rtol: float, what: str) -> None:
    assert type(answer) is type(expected), f"{what} answered with a {type(answer)}, not with a {type(expected)}"
    if isinstance(expected, (list, tuple)):
        assert len(answer) == len(expected), f"{what} answered with {len(answer)} items, not with {len(expected)}"
        for one, other in zip(answer, expected, strict=True):
            _check_equal(one, other, rtol, what)
    elif hasattr(expected, "shape"):
        testing = require("numpy.testing")
        same = functools.partial(testing.assert_allclose, rtol=rtol) if rtol else testing.assert_array_equal
        same(_dense(answer), _dense(expected), err_msg=what)
    else:
        assert answer == expected, f"{what} answered with {answer!r}, not {expected!r}"


def _dense(value: Any) -> Any:
    """A sparse matrix as an array, anything else as it is."""
    return value.toarray() if hasattr(value, "toarray") else value
