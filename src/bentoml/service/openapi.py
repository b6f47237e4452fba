"""The OpenAPI 3.1 document of a service: made once at start, true to what the server answers."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from bentoml.service.api import InferenceAPI
from bentoml.service.components import Components, renamed
from bentoml.service.mount import Mount
from bentoml.service.openapi_mounts import add_mounts

__all__ = ["openapi_document"]

_SERVICE_TAG = "Service APIs"
_INFRASTRUCTURE_TAG = "Infrastructure"
_REQUEST_ID = "X-BentoML-Request-ID"

#: The errors that every API may answer with, and when; at 404 and 422 it is the function that raised.
_ERRORS = {
    HTTPStatus.BAD_REQUEST: "The input breaks a rule; the text names the field and the rule.",
    HTTPStatus.NOT_FOUND: "The service did not find what the input names.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than the server takes.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The input has a content type that this API does not take.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The input is well-formed, and the service cannot use it.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The service failed; its log has the details under the request id.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Refused now; try again after the seconds in `Retry-After`.",
    HTTPStatus.GATEWAY_TIMEOUT: "The answer took too long.",
}


def openapi_document(
    name: str,
    *,
    version: str | None,
    description: str,
    apis: Iterable[InferenceAPI],
    metrics: bool,
    mounts: Iterable[Mount] = (),
) -> dict[str, Any]:
    """Paths, schemas and examples of a service, as a JSON-compatible mapping.

    Args:
        version: of the bento; None when the service was not loaded from one.
        metrics: whether the server offers /metrics.
        mounts: applications, whose operations are added where they can tell them.
    """
    components = Components(_shared_components())
    paths: dict[str, Any] = {}
    for api in apis:
        request = _added(components, api.input.openapi_components(), api.input.openapi_request_body())
        response = _added(components, api.output.openapi_components(), api.output.openapi_responses())
        response.setdefault("headers", {})[_REQUEST_ID] = {"$ref": "#/components/headers/RequestId"}
        path = quote(api.route, safe="/:@!$&'()*+,;=~")
        paths[path] = {"post": _operation(name, api, request, response)}
    for path, operation in _infrastructure(metrics=metrics).items():
        paths[path] = {"get": operation}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version or "None",
            "description": description,
        },
        "servers": [{"url": "."}],
        "tags": [
            {"name": _SERVICE_TAG, "description": "What the service offers."},
            {"name": _INFRASTRUCTURE_TAG, "description": "Probes, metrics and this document."},
        ],
        "paths": paths,
    }
    add_mounts(document, components, mounts)
    return {**document, "components": components.kinds}


def _added(components: Components, schemas: dict[str, Any], content: Any) -> Any:
    """Take in the schemas of a descriptor; its content, with the names that they have here."""
    return renamed(content, components.add({"schemas": schemas}))


def _operation(service: str, api: InferenceAPI, request: Any, response: Any) -> dict[str, Any]:
    return {
        "tags": [_SERVICE_TAG],
        "summary": f"InferenceAPI({type(api.input).__name__} → {type(api.output).__name__})",
        "description": api.doc,
        "operationId": f"{service}__{api.name}",
        "x-bentoml-name": api.name,
        "requestBody": request,
        "responses": {
            "200": response,
            **{str(status.value): {"$ref": f"#/components/responses/{_name_of(status)}"} for status in _ERRORS},
        },
    }


def _shared_components() -> dict[str, dict[str, Any]]:
    """What every document has: the errors, and the header that all answers of an API carry."""
    error = {
        "title": "Error",
        "type": "string",
        "description": "What went wrong; empty where only the log of the server says it.",
        "examples": ["BentoService error handling API request: Invalid JSON input received: the body is empty"],
    }
    responses = {_name_of(status): _error(status, text) for status, text in _ERRORS.items()}
    headers = {
        "RequestId": {
            "description": "The number under which the log of the server has this request.",
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        },
        "RetryAfter": {
            "description": "Seconds after which a retry makes sense.",
            "schema": {"type": "integer", "minimum": 1},
        },
    }
    return {"schemas": {"Error": error}, "responses": responses, "headers": headers}


def _name_of(status: HTTPStatus) -> str:
    return status.phrase.replace(" ", "")


def _error(status: HTTPStatus, text: str) -> dict[str, Any]:
    headers = {_REQUEST_ID: {"$ref": "#/components/headers/RequestId"}}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if status is HTTPStatus.GATEWAY_TIMEOUT:
        content = _text("Not able to process the request in 60 seconds")
    else:
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": f"{status.phrase}: {text}", "headers": headers, "content": content}


def _infrastructure(*, metrics: bool) -> dict[str, Any]:
    """The operations of the server's own pages, by path."""
    alive = "answers as long as the process lives"
    found = {
        "/healthz": _page(f"Health: {alive}. The same as /livez.", "healthz", _text("\n")),
        "/livez": _page(f"Liveness: {alive}; a failure means that it should be restarted.", "livez", _text("\n")),
        "/readyz": _page(
            "Readiness: 200 when requests can be answered, 503 while a model is not loaded yet.", "readyz", _text("\n")
        ),
        "/docs.json": _page("This document.", "openapi", {"application/json": {"schema": {"type": "object"}}}),
    }
    found["/readyz"]["responses"]["503"] = {
        "description": "Not ready; the text says why.",
        "headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
        "content": _text("Runners are not ready.\n"),
    }
    if metrics:
        sample = "# TYPE bentoml_api_server_request_in_progress gauge\n"
        found["/metrics"] = _page("Metrics in the Prometheus text format 0.0.4.", "metrics", _text(sample))
    return found


def _page(description: str, operation_id: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": [_INFRASTRUCTURE_TAG],
        "description": description,
        "operationId": operation_id,
        "responses": {"200": {"description": "Successful Response", "content": content}},
    }


def _text(example: str) -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}, "example": example}}
