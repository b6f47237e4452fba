"""Runnable: classes whose marked methods a runner offers."""

from __future__ import annotations

import types
from typing import Any

import pytest

from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.runner.runnable import Runnable, RunnableMethod
from bentoml.types import ModelSignature


class Base(Runnable):
    SUPPORTED_RESOURCES = ("cpu", "nvidia.com/gpu")
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    @Runnable.method
    def bare(self, x: int) -> int:
        """Multiply."""
        return x * self.factor

    @Runnable.method(batchable=True, batch_dim=(0, 1), input_spec="in", output_spec="out")
    def batched(self, x: Any) -> Any:
        return x

    @Runnable.method()
    def stream(self) -> Any:
        yield 1

    @Runnable.method
    async def astream(self) -> Any:
        yield 1

    @Runnable.method
    async def coroutine(self) -> int:
        return 1


def test_marked_methods_are_listed_with_their_signatures() -> None:
    methods = Base.bentoml_runnable_methods__
    assert list(methods) == ["bare", "batched", "stream", "astream", "coroutine"]
    assert methods["bare"].signature == ModelSignature(batchable=False, batch_dim=(0, 0))
    assert methods["batched"].signature == ModelSignature(
        batchable=True, batch_dim=(0, 1), input_spec="in", output_spec="out"
    )
    assert [name for name, method in methods.items() if method.streaming] == ["stream", "astream"]


def test_an_instance_is_called_like_any_object() -> None:
    instance = Base(factor=3)
    assert instance.bare(2) == 6
    assert isinstance(instance.bare, types.MethodType)
    assert instance.bare.__doc__ == "Multiply."
    assert isinstance(Base.bare, RunnableMethod)
    assert Base.bare(instance, 3) == 9


def test_one_axis_stands_for_inputs_and_outputs() -> None:
    class Columns(Runnable):
        @Runnable.method(batchable=True, batch_dim=1)
        def predict(self, x: Any) -> Any:
            return x

    assert Columns.bentoml_runnable_methods__["predict"].signature.batch_dim == (1, 1)


@pytest.mark.parametrize("axis", [-1, "0", (0,), (0, 1, 2), True, 1.0])
def test_a_wrong_axis_is_refused_with_the_name_of_the_method(axis: Any) -> None:
    with pytest.raises(InvalidArgument, match="'batch_dim' in the signature of 'predict' must be an axis"):

        @Runnable.method(batchable=True, batch_dim=axis)
        def predict(self: Any, x: Any) -> Any:
            return x


def test_a_subclass_adds_to_a_table_of_its_own() -> None:
    class Child(Base):
        @Runnable.method
        def extra(self) -> None:
            pass

        @Runnable.method(batchable=True)
        def bare(self, x: int) -> int:
            return x

    class Other(Base):
        pass

    assert set(Child.bentoml_runnable_methods__) == set(Base.bentoml_runnable_methods__) | {"extra"}
    assert Child.bentoml_runnable_methods__["bare"].signature.batchable
    assert not Base.bentoml_runnable_methods__["bare"].signature.batchable
    assert Other.bentoml_runnable_methods__ == Base.bentoml_runnable_methods__
    assert Runnable.bentoml_runnable_methods__ == {}


def test_methods_can_be_added_from_outside() -> None:
    class Empty(Runnable):
        pass

    def double(self: Any, x: int) -> int:
        return 2 * x

    Empty.add_method(double, "predict", batchable=True, batch_dim=(0, 0))
    assert Empty().predict(4) == 8  # type: ignore[attr-defined]
    assert Empty.bentoml_runnable_methods__["predict"].signature.batchable
    assert Empty.bentoml_runnable_methods__["predict"].name == "predict"
    assert Runnable.bentoml_runnable_methods__ == {}


@pytest.mark.parametrize("name", ["SUPPORTED_RESOURCES", "SUPPORTS_CPU_MULTI_THREADING"])
def test_what_is_read_from_the_class_cannot_be_set_on_an_instance(name: str) -> None:
    with pytest.raises(BentoMLException) as caught:
        setattr(Base(), name, ())
    assert str(caught.value) == f"{name} is read from the class Base before any instance exists; set it there"


@pytest.mark.parametrize("name", ["method", "add_method"])
def test_what_belongs_to_the_class_cannot_be_reached_through_an_instance(name: str) -> None:
    with pytest.raises(BentoMLException) as caught:
        getattr(Base(), name)
    assert str(caught.value) == f"Base.{name} belongs to the class, not to its instances"


def test_a_method_may_be_declared_idempotent_and_is_not_by_default() -> None:
    class Model(Runnable):
        @Runnable.method(idempotent=True)
        def again(self) -> None: ...

        @Runnable.method
        def once(self) -> None: ...

    Model.add_method(lambda self: None, "added", idempotent=True)
    methods = Model.bentoml_runnable_methods__
    assert {name: method.idempotent for name, method in methods.items()} == {
        "again": True,
        "once": False,
        "added": True,
    }
