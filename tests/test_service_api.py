"""The rules of `@svc.api`: names, routes, signatures, and which of them a function breaks."""

from __future__ import annotations

import functools
from typing import Any, Optional, Union

import numpy as np
import pytest

import bentoml
from bentoml.exceptions import InvalidArgument
from bentoml.io import JSON, Multipart, NumpyNdarray, Text
from bentoml.service.api import RESERVED_NAMES, InferenceAPI


def predict(value):
    """What it does.

    And how.
    """


def api(function: Any = predict, **options: Any) -> InferenceAPI:
    return InferenceAPI(function, **{"input": JSON(), "output": JSON(), **options})


def test_name_route_and_doc_come_from_the_function() -> None:
    made = api()
    assert (made.name, made.route, made.doc) == ("predict", "/predict", "What it does.\n\nAnd how.")
    assert (made.is_async, made.is_streaming, made.needs_context) == (False, False, False)
    assert repr(made) == "InferenceAPI(POST /predict: JSON → JSON, sync)"


def test_name_route_and_doc_may_be_given() -> None:
    made = api(name="other", route="api/v1/with_prefix", doc="")
    assert (made.name, made.route, made.doc) == ("other", "/api/v1/with_prefix", "")


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "class", "a.b", "ä b"])
def test_a_name_must_be_an_identifier(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"the API name .* is not a Python identifier \(hint: pass name='...' to"):
        api(name=name)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(InvalidArgument, match="'<lambda>' is not a Python identifier"):
        api(lambda value: value)
    assert api(lambda value: value, name="shown").route == "/shown"


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_the_names_of_the_servers_pages_are_reserved(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the API name '{name}' is reserved"):
        api(name=name)
    with pytest.raises(InvalidArgument, match=f"the route '/{name}/' is reserved"):
        api(route=f"/{name}/")


@pytest.mark.parametrize("route", ["a?b", "a#b", "//a", ":a", "users/{name}", "a/\n"])
def test_a_route_must_be_a_path(route: str) -> None:
    with pytest.raises(InvalidArgument, match="must be a path without"):
        api(route=route)


@pytest.mark.parametrize("route", ["", "/", "static_content/swagger-ui.css", "docs.json", "/docs.json"])
def test_a_route_must_not_hide_a_page(route: str) -> None:
    with pytest.raises(InvalidArgument, match="is reserved for the server's own pages"):
        api(route=route)


@pytest.mark.parametrize("descriptor", [None, JSON, dict])
def test_a_descriptor_must_be_one(descriptor: Any) -> None:
    with pytest.raises(
        InvalidArgument, match=r"the input of the API 'predict' must be a descriptor of bentoml.io, not"
    ):
        api(input=descriptor)


def test_a_descriptor_class_is_told_to_be_called() -> None:
    with pytest.raises(InvalidArgument, match=r"\(hint: output=JSON\(\)\)"):
        api(output=JSON)


def none(): ...
def three(a, b, c): ...
def with_context(value, ctx): ...
def with_annotated_context(value: dict, ctx: bentoml.Context) -> dict: ...
def with_options(value, *, flag=False, **more): ...
async def asynchronous(value): ...
async def streaming(value):
    yield ""


class Callable:
    """An object that is called."""

    def __call__(self, value): ...


class AsyncCallable:
    __name__ = "predict"

    async def __call__(self, value, ctx): ...


@pytest.mark.parametrize(("function", "count"), [(none, 0), (three, 3)])
def test_a_function_takes_one_or_two_parameters(function: Any, count: int) -> None:
    with pytest.raises(ValueError, match=f"must take one parameter .* it takes {count}"):
        api(function)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (with_context, (False, True)),
        (with_annotated_context, (False, True)),
        (with_options, (False, False)),
        (asynchronous, (True, False)),
        (functools.partial(asynchronous), (True, False)),
        (functools.partial(with_context, ctx=None), (False, False)),
        (functools.wraps(asynchronous)(lambda value: asynchronous(value)), (True, False)),
        (AsyncCallable(), (True, True)),
    ],
)
def test_how_a_function_is_called_is_found_out(function: Any, expected: tuple[bool, bool]) -> None:
    made = api(function, name="predict")
    assert (made.is_async, made.needs_context) == expected


def test_an_object_and_a_method_may_be_offered() -> None:
    assert api(Callable(), name="predict").is_async is False
    assert api(Callable().__call__, name="predict").is_async is False


def test_an_async_generator_streams() -> None:
    assert api(streaming, output=Text()).is_streaming


def _annotated(annotation: Any) -> Any:
    def function(value): ...

    function.__annotations__["value"] = annotation
    return function


@pytest.mark.parametrize(
    ("descriptor", "annotation"),
    [
        (NumpyNdarray(), np.ndarray),
        (NumpyNdarray(), object),
        (NumpyNdarray(), "anything as text"),
        (NumpyNdarray(), Optional[np.ndarray]),  # noqa: UP045 - users write it so
        (NumpyNdarray(), Union[str, np.ndarray]),  # noqa: UP007
        (NumpyNdarray(), str | np.ndarray),
        (JSON(), dict),
        (JSON(), dict[str, int]),
        (JSON(type=list[int]), list),
        (Text(), str),
        (Text(), Any),
    ],
)
def test_annotations_that_may_meet_are_taken(descriptor: Any, annotation: Any) -> None:
    api(_annotated(annotation), input=descriptor)


@pytest.mark.parametrize(
    ("descriptor", "annotation"),
    [
        (NumpyNdarray(), str),
        (NumpyNdarray(), dict[str, int]),
        (NumpyNdarray(), Optional[int]),  # noqa: UP045
        (Text(), bytes),
        (JSON(type=list[int]), dict),
    ],
)
def test_an_annotation_that_contradicts_the_descriptor_is_refused(descriptor: Any, annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"the API function 'function' expects .* gives it"):
        api(_annotated(annotation), input=descriptor)


def test_the_second_parameter_must_be_a_context() -> None:
    def function(value, other): ...

    function.__annotations__["other"] = int
    with pytest.raises(
        TypeError, match=r"the second parameter of the API function 'function' must be a bentoml.Context"
    ):
        api(function)


def test_annotations_of_a_module_with_postponed_evaluation_are_not_resolved() -> None:
    def function(value: int, ctx: "str"): ...  # noqa: UP037

    assert api(function, input=NumpyNdarray()).needs_context


# -- the fields of a form ----------------------------------------------------------------------------------------------

FORM = Multipart(a=JSON(type=dict), b=Text())


def fields(a, b): ...
def fields_the_other_way(b: str, a: dict): ...
def fields_by_name(*, a, b): ...
def fields_and_ctx(a, b, ctx): ...
def fields_and_context(context, b, a): ...
def fields_and_annotated(a, b, whatever): ...
def fields_and_postponed(a, whatever: bentoml.Context, b): ...
def fields_and_option(a, b, limit=5): ...
def any_fields(**values): ...


fields_and_annotated.__annotations__["whatever"] = bentoml.Context  # this module's own are text


def fields_and_more(a, *, ctx, **others): ...


@pytest.mark.parametrize(
    ("function", "context_name"),
    [
        (fields, None),
        (fields_the_other_way, None),
        (fields_by_name, None),
        (fields_and_ctx, "ctx"),
        (fields_and_context, "context"),
        (fields_and_annotated, "whatever"),
        (fields_and_postponed, "whatever"),
        (fields_and_option, None),
        (any_fields, None),
        (fields_and_more, "ctx"),
    ],
)
def test_a_form_is_taken_field_by_field_and_the_context_beside_it(function: Any, context_name: str | None) -> None:
    made = api(function, input=FORM)
    assert (made.context_name, made.needs_context) == (context_name, context_name is not None)


def test_a_field_may_be_called_like_a_context() -> None:
    def function(ctx, context): ...

    assert api(function, input=Multipart(ctx=Text())).context_name == "context"


def whole(form): ...
def too_few(a): ...
def too_many(a, b, c): ...
def two_contexts(a, b, ctx, context): ...
def in_order_only(a, b, /): ...
def no_context(a, b, ctx): ...


no_context.__annotations__["ctx"] = int


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (whole, "as parameters: a, b; it does not take a, b; no field is called form$"),
        (too_few, "; it does not take b$"),
        (too_many, "; no field is called c$"),
        (two_contexts, "; it takes two contexts$"),
        (in_order_only, "; it does not take a, b$"),
        (no_context, "; no field is called ctx$"),
    ],
)
def test_a_function_that_does_not_take_the_fields_is_refused(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"the API function '{function.__name__}' must take the fields .*{message}"):
        api(function, input=FORM)


def test_an_annotation_that_contradicts_a_field_is_refused() -> None:
    def function(a, b): ...

    function.__annotations__["b"] = bytes
    with pytest.raises(TypeError, match="'function' expects <class 'bytes'> for 'b', and Text gives it <class 'str'>"):
        api(function, input=FORM)


def test_a_form_may_be_the_output_of_any_function() -> None:
    assert api(output=FORM).context_name is None
