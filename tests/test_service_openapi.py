"""The OpenAPI document: valid, true to the routes, with schemas and examples."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel, ConfigDict, Field

import bentoml
from bentoml._http import Request
from bentoml.io import JSON, NumpyNdarray, PandasDataFrame, Text
from tests._server import Server


class Ingredient(BaseModel):
    name: str
    grams: float = Field(gt=0)


class Dish(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"name": "soup", "parts": []}})

    name: str
    parts: list[Ingredient]
    kind: Literal["hot", "cold"] = "hot"
    next: Dish | None = None


class Oven(msgspec.Struct):
    celsius: float


@dataclasses.dataclass
class Table:
    seats: int


def service(**inputs: Any) -> bentoml.Service:
    made = bentoml.Service("kitchen")
    for name, descriptor in inputs.items():
        made.api(input=descriptor, output=descriptor, name=name, doc=f"What {name} does.")(lambda value: value)
    return made


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return service(
        free=JSON(),
        sampled=JSON.from_sample({"a": [1, 2]}),
        dish=JSON(pydantic_model=Dish),
        dishes=JSON(type=list[Dish]),
        oven=JSON(type=Oven),
        table=JSON(type=Table),
        words=JSON(type=dict[str, list[int]]),
        array=NumpyNdarray(),
        matrix=NumpyNdarray(dtype="int64", shape=(-1, 3)),
        arrays=NumpyNdarray.from_sample(np.array([[1.5, 2.5]])),
        text=Text(),
        greeting=Text.from_sample("hello"),
        stream=Text(content_type="text/event-stream"),
    ).openapi()


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_every_route_of_the_server_stands_in_it(document: dict[str, Any]) -> None:
    assert set(document["paths"]) >= {"/free", "/dish", "/livez", "/readyz", "/healthz", "/metrics"}
    assert "/metrics" not in service().openapi(metrics=False)["paths"]
    assert document["info"] == {
        "title": "kitchen", "version": "None", "description": "The service `kitchen`: 13 APIs."
    }  # fmt: skip
    assert document["servers"] == [{"url": "."}]


def test_an_operation_says_what_its_api_is(document: dict[str, Any]) -> None:
    operation = document["paths"]["/dish"]["post"]
    assert operation["tags"] == ["Service APIs"]
    assert operation["operationId"] == "kitchen__dish"
    assert operation["x-bentoml-name"] == "dish"
    assert operation["description"] == "What dish does."
    assert operation["summary"] == "InferenceAPI(JSON → JSON)"
    assert set(operation["responses"]) == {"200", "400", "404", "413", "415", "422", "500", "503", "504"}
    assert operation["requestBody"]["x-bentoml-io-descriptor"]["id"] == "bentoml.io.JSON"


def test_models_are_components_with_their_examples(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert document["paths"]["/dish"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Dish"
    }
    assert schemas["Dish"]["example"] == {"name": "soup", "parts": []}
    assert schemas["Dish"]["properties"]["parts"]["items"] == {"$ref": "#/components/schemas/Ingredient"}
    assert {"Oven", "Table"} <= set(schemas)


def test_samples_are_examples(document: dict[str, Any]) -> None:
    def example(route: str, content_type: str) -> Any:
        return document["paths"][route]["post"]["requestBody"]["content"][content_type]["example"]

    assert example("/sampled", "application/json") == {"a": [1, 2]}
    assert example("/arrays", "application/json") == [[1.5, 2.5]]
    assert example("/greeting", "text/plain") == "hello"


def test_each_error_has_an_example_of_its_own(document: dict[str, Any]) -> None:
    responses = document["components"]["responses"]
    told = [next(iter(response["content"].values()))["example"] for response in responses.values()]
    assert len(told) == len(set(told)) == 8


def test_the_form_that_a_person_can_type_comes_first() -> None:
    first = service(
        array=NumpyNdarray(), table=PandasDataFrame(default_format="parquet"), csv=PandasDataFrame(default_format="csv")
    ).openapi()["paths"]
    for route, expected in (("/array", "application/json"), ("/table", "application/json"), ("/csv", "text/csv")):
        assert next(iter(first[route]["post"]["requestBody"]["content"])) == expected
        assert next(iter(first[route]["post"]["responses"]["200"]["content"])) == expected


def test_examples_of_arrays_with_any_number_of_axes_are_taken() -> None:
    for dtype in (None, "bool", "int8", "uint16", "float32", "complex64", "str"):
        descriptor = NumpyNdarray(dtype=dtype, enforce_dtype=dtype is not None)
        [schema] = descriptor.openapi_components().values()
        for example in schema["examples"]:
            assert descriptor.from_http_request(Request(body=json.dumps(example).encode())).tolist() == example


def _two_inputs() -> tuple[type[BaseModel], type[BaseModel]]:
    class Part(BaseModel):
        a: int

    class Input(BaseModel):
        part: Part

    first = Input

    class Input(BaseModel):  # type: ignore[no-redef]  # as another module would define it
        part: Part
        next: Input | None = None

    Input.model_rebuild()
    return first, Input


def test_two_models_of_one_name_do_not_collide() -> None:
    first, second = _two_inputs()
    document = service(
        one=JSON(pydantic_model=first), two=JSON(pydantic_model=second), again=JSON(type=list[second])
    ).openapi()
    validate(document)
    schemas = document["components"]["schemas"]
    assert set(schemas) == {"Error", "Input", "Part", "Input_2"}
    assert list(schemas["Input"]["properties"]) == ["part"]
    assert schemas["Input_2"]["properties"]["part"] == {"$ref": "#/components/schemas/Part"}
    assert schemas["Input_2"]["properties"]["next"]["anyOf"][0] == {"$ref": "#/components/schemas/Input_2"}

    def schema(route: str) -> Any:
        return document["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert schema("/two") == {"$ref": "#/components/schemas/Input_2"}
    assert schema("/again")["items"] == {"$ref": "#/components/schemas/Input_2"}


def test_a_model_may_be_called_error() -> None:
    class Error(BaseModel):
        code: int

    document = service(one=JSON(pydantic_model=Error)).openapi()
    assert document["components"]["schemas"]["Error"]["type"] == "string"
    assert document["components"]["schemas"]["Error_2"]["properties"]["code"] == {"title": "Code", "type": "integer"}


def test_the_served_document_is_valid_and_lists_every_api(kitchen: Server) -> None:
    document = kitchen.get("/docs.json").value
    validate(document)
    assert "/kitchen/order" in document["paths"]
    assert document["components"]["schemas"]["Order"]["required"] == ["dish", "count"]


@pytest.mark.parametrize("route", ["/livez", "/readyz", "/healthz", "/metrics"])
def test_the_pages_answer_as_the_document_says(kitchen: Server, route: str) -> None:
    described = kitchen.get("/docs.json").value["paths"][route]["get"]["responses"]["200"]
    assert kitchen.get(route).headers.get_content_type() in described["content"]
