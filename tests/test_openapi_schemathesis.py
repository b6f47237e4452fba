"""What the document says of a service holds for what the server answers: requests that schemathesis makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests._server import Server, serving

#: Media types that schemathesis does not know, and of which a schema cannot say what they look like.
BINARY = [
    "application/pdf",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
    "application/x-npy",
    *(f"image/{kind}" for kind in ("avif", "bmp", "gif", "jpeg", "png", "tiff", "webp")),
]


@schemathesis.serializer(*BINARY)
def bytes_as_they_are(_: Any, value: Any) -> bytes:
    """What it makes of a binary string."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


DESCRIPTORS = Path(__file__).parent / "services" / "descriptors"
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
#: Where the schema says all that there is to say: not that the rows of an array have one length, or what an image is.
EXACT = {"/json", "/json_pydantic", "/json_typed", "/text", "/array_booleans", "/classify"}
#: Enough to meet each kind of value; the fuzzer of tests/fuzz runs for longer.
EXAMPLES = 12


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service with one API for each descriptor."""
    folder = tmp_path_factory.mktemp("descriptors")
    arguments = ("service:svc", "--working-dir", str(DESCRIPTORS), "--api-workers", "1")
    with serving(*arguments, folder=folder, home=folder / "home") as server:
        yield server


def check(server: Server, mode: GenerationMode) -> None:
    """Send requests to every operation, and compare the answers with the document."""
    url = f"http://127.0.0.1:{server.port}"
    schema = schemathesis.openapi.from_url(f"{url}/docs.json")
    with requests.Session() as session:
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.method == "post" or mode is GenerationMode.POSITIVE:  # pages take nothing that could be wrong
                check_operation(operation, mode, url, session)


def check_operation(operation: Any, mode: GenerationMode, url: str, session: requests.Session) -> None:
    is_page = operation.method == "get"
    must_be_taken = mode is GenerationMode.POSITIVE and (operation.path in EXACT or is_page)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=1 if is_page else EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answers_as_documented(case: Any) -> None:
        response = case.call_and_validate(base_url=url, session=session, checks=CHECKS)
        taken = response.status_code == 200
        assert taken or not must_be_taken or case.media_type in BINARY, (case.body, response.content)

    with contextlib.suppress(Unsatisfiable):  # where any body fits the schema there is none that does not
        answers_as_documented()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_descriptors_answer_as_their_document_says(descriptors: Server, mode: GenerationMode) -> None:
    validate(descriptors.get("/docs.json").value)
    check(descriptors, mode)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_example_answers_as_its_document_says(example: Server, mode: GenerationMode) -> None:
    validate(example.get("/docs.json").value)
    check(example, mode)
