"""bentoml.picklable_model: any object with methods."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bentoml.picklable_model
from bentoml import models
from bentoml._pickling import dump_cloudpickle
from bentoml.exceptions import InvalidArgument
from bentoml.testing.framework import check_framework


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))


class Rules:
    """Decides by a limit."""

    limit = 0.5

    def decide(self, rows: Any, limit: float | None = None, *, strict: bool = False) -> Any:
        limit = self.limit if limit is None else limit
        return [row > limit if strict else row >= limit for row in rows]

    def count(self, rows: Any) -> Any:
        return np.array([len(str(row)) for row in rows])

    def broken(self, rows: Any) -> Any:
        raise ValueError("no rule for this")


def double(rows: Any) -> Any:
    return [2 * row for row in rows]


class Awaited:
    async def predict(self, rows: Any) -> Any:
        await asyncio.sleep(0)
        return rows


def runnable_of(model: Any, *methods: str) -> Any:
    saved = bentoml.picklable_model.save_model("m", model, signatures={method: {} for method in methods} or None)
    return saved.to_runner().make_runnable()


def test_an_object_keeps_the_contract() -> None:
    check_framework(
        bentoml.picklable_model,
        Rules(),
        inputs=[[0.1], [0.5, 0.9], [0.3, 0.7, 0.5]],
        methods=["decide", "count"],
        wrong=None,
    )


def test_a_function_keeps_the_contract() -> None:
    check_framework(bentoml.picklable_model, double, inputs=[[1], [2, 3]], methods=["__call__"], wrong=None)


def test_what_is_callable_is_saved_with_call_and_its_runner_is_run_directly() -> None:
    saved = bentoml.picklable_model.save_model("m", double)
    assert list(saved.info.signatures) == ["__call__"]
    runner = saved.to_runner()
    runner.init_local(quiet=True)
    assert runner.run([1, 2]) == [2, 4]
    assert saved.to_runnable()()([1]) == [2]


def test_what_is_not_callable_needs_signatures() -> None:
    with pytest.raises(InvalidArgument, match="serves __call__ unless told otherwise, and Rules has no such") as error:
        bentoml.picklable_model.save_model("m", Rules())
    assert 'signatures={"broken": {}}' in error.value.hint
    with pytest.raises(InvalidArgument, match="list has no such method"):
        bentoml.picklable_model.save_model("m", [1, 2])


def test_signatures_may_be_empty_for_what_is_only_loaded() -> None:
    saved = bentoml.picklable_model.save_model("m", {"a": 1}, signatures={})
    assert bentoml.picklable_model.load_model(saved.tag) == {"a": 1}
    with pytest.raises(InvalidArgument, match="was saved without signatures, so a runner has nothing to call"):
        saved.to_runner()


def test_partial_kwargs_are_given_to_every_call() -> None:
    saved = bentoml.picklable_model.save_model("m", Rules(), signatures={"decide": {}, "count": {}})
    bound = saved.with_options(partial_kwargs={"decide": {"limit": 0.9, "strict": True}}).to_runner()
    bound.init_local(quiet=True)
    assert bound.decide.run([0.9, 1.0]) == [False, True]
    assert bound.decide.run([0.9, 1.0], strict=False) == [True, True]
    assert bound.count.run([0.9]).tolist() == [3]
    unbound = saved.to_runner()
    unbound.init_local(quiet=True)
    assert unbound.decide.run([0.9]) == [True]


def test_partial_kwargs_name_methods_that_are_served() -> None:
    saved = bentoml.picklable_model.save_model("m", Rules(), signatures={"decide": {}})
    with pytest.raises(InvalidArgument, match=r"names 'count', which is no signature of .*; it has decide"):
        saved.with_options(partial_kwargs={"count": {}}).to_runnable()
    with pytest.raises(InvalidArgument, match=r"must be \{method: \{argument: value\}\}, not 3"):
        saved.with_options(partial_kwargs=3).to_runnable()


def test_an_error_of_the_model_is_the_callers() -> None:
    with pytest.raises(ValueError, match="no rule for this"):
        runnable_of(Rules(), "broken").broken([1])


def test_coroutine_methods_are_awaited() -> None:
    runner = bentoml.picklable_model.save_model("m", Awaited(), signatures={"predict": {}}).to_runner()
    runner.init_local(quiet=True)
    assert runner.predict.run([1]) == [1]


def test_one_call_is_taken_to_use_one_core() -> None:
    runnable = bentoml.picklable_model.save_model("m", double).to_runnable()
    assert runnable.SUPPORTED_RESOURCES == ("cpu",)
    assert not runnable.SUPPORTS_CPU_MULTI_THREADING


def test_what_cannot_be_pickled_leaves_nothing_behind() -> None:
    class Holding:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __call__(self) -> None: ...

    with pytest.raises(TypeError, match="cannot pickle"):
        bentoml.picklable_model.save_model("m", Holding())
    assert models.list() == []


LOADER = """
import sys, bentoml.picklable_model
assert bentoml.picklable_model.load_model(sys.argv[1]).answer() == 42
"""


@pytest.mark.parametrize("by_value", [True, False])
def test_external_modules_are_saved_with_the_model(
    by_value: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_rules.py").write_text("class Rules:\n    def answer(self):\n        return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_rules  # type: ignore[import-not-found]  # made above

    saved = bentoml.picklable_model.save_model(
        "m", own_rules.Rules(), signatures={"answer": {}}, external_modules=[own_rules] if by_value else None
    )
    del sys.modules["own_rules"]
    loaded = subprocess.run([sys.executable, "-c", LOADER, str(saved.tag)], capture_output=True, text=True, timeout=60)
    assert (loaded.returncode == 0) is by_value, loaded.stderr
    if not by_value:
        assert "No module named 'own_rules'" in loaded.stderr


def test_a_model_that_bentoml_saved_is_loaded_and_served(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "old" / "abc"
    folder.mkdir(parents=True)
    dump_cloudpickle(double, folder / "saved_model.pkl")
    (folder / "model.yaml").write_text(
        "name: old\nversion: abc\nmodule: bentoml.picklable_model\nlabels: {}\noptions:\n"
        "  partial_kwargs: {}\nmetadata: {}\n"
        "context:\n  framework_name: cloudpickle\n  framework_versions:\n    cloudpickle: 2.2.0\n"
        "  bentoml_version: 1.1.11\n  python_version: 3.9.13\nsignatures:\n  __call__:\n    batchable: false\n"
        "api_version: v1\ncreation_time: '2022-10-03T10:11:12.345678+00:00'\n"
    )
    runner = models.get("old").to_runner()
    runner.init_local(quiet=True)
    assert runner.run([4]) == [8]
