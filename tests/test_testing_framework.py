"""check_framework finds what is wrong with a framework."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bentoml.picklable_model
from bentoml import models
from bentoml.testing.framework import check_framework


class Twice:
    def predict(self, rows: list[int]) -> list[int]:
        return [2 * row for row in rows]

    def mean(self, rows: list[int]) -> list[float]:
        return [sum(rows) / len(rows)] * len(rows)


def check(model: Any = None, *, methods: tuple[str, ...] = ("predict",), **changes: Any) -> None:
    """Check picklable_model with some of its functions exchanged."""
    functions = {name: getattr(bentoml.picklable_model, name) for name in bentoml.picklable_model.__all__}
    module: Any = SimpleNamespace(__name__="bentoml.picklable_model", **{**functions, **changes})
    check_framework(module, model or Twice(), inputs=[[1], [2, 3]], methods=methods, wrong=None)


def test_a_sound_framework_passes() -> None:
    check()


def test_the_users_store_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    check()
    assert os.environ["BENTOML_HOME"] == str(tmp_path)
    assert models.list() == []


def test_a_method_whose_joined_answers_differ_is_found() -> None:
    with pytest.raises(AssertionError, match="a runner's mean called at one time"):
        check(methods=("mean",))


def test_a_load_that_forgets_something_is_found() -> None:
    class Once(Twice):
        def predict(self, rows: list[int]) -> list[int]:
            return rows

    with pytest.raises(AssertionError, match="load_model, then predict answered with 1, not 2"):
        check(load_model=lambda tag: Once())


def test_a_module_that_takes_any_type_is_found() -> None:
    with pytest.raises(AssertionError, match="a model of the type NoModel"):
        check_framework(bentoml.picklable_model, Twice(), inputs=[[1], [2]])


def test_a_module_that_takes_another_modules_model_is_found() -> None:
    with pytest.raises(AssertionError, match="another module's model was taken; it must raise NotFound"):
        check(get=models.get)


def test_a_module_that_reads_a_changed_file_is_found() -> None:
    native = Twice()

    def load_model(tag: Any) -> Any:
        bentoml.picklable_model.get(tag)
        return native

    with pytest.raises(AssertionError, match="with a changed byte was taken; it must raise CorruptedItem"):
        check(native, load_model=load_model)


def test_a_lost_label_is_found() -> None:
    def save_model(name: str, model: Any, *, labels: Any = None, **options: Any) -> Any:
        return bentoml.picklable_model.save_model(name, model, **options)

    with pytest.raises(AssertionError, match=r"the labels came back as \{\}"):
        check(save_model=save_model)


def test_one_input_is_too_few() -> None:
    with pytest.raises(AssertionError, match="two inputs at least"):
        check_framework(bentoml.picklable_model, Twice(), inputs=[[1]], wrong=None)
