"""The OpenAPI 3.1 document of a service: made once at start, true to what the server answers."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from bentoml.io._components import joined
from bentoml.service.api import InferenceAPI

__all__ = ["openapi_document"]

_SCHEMAS = "#/components/schemas/"
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_SERVICE_TAG = "Service APIs"
_INFRASTRUCTURE_TAG = "Infrastructure"

#: path → (description, content type of the answer).
_INFRASTRUCTURE = {
    "/healthz": "Health: answers as long as the process lives. The same as /livez.",
    "/livez": "Liveness: answers as long as the process lives; a failure means that it should be restarted.",
    "/readyz": "Readiness: 200 when requests can be answered, 503 while a model is not loaded yet.",
    "/metrics": "Metrics in the Prometheus text format.",
}

#: The errors that every API may answer with, and when.
_ERRORS = {
    HTTPStatus.BAD_REQUEST: "The input breaks a rule; the text names the field and the rule.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than the server takes.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The input has a content type that this API does not take.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The service failed; its log has the details under the request id.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Refused now; try again after the seconds in `Retry-After`.",
}


def openapi_document(
    name: str, *, version: str | None, description: str, apis: Iterable[InferenceAPI], metrics: bool
) -> dict[str, Any]:
    """Paths, schemas and examples of a service, as a JSON-compatible mapping.

    Args:
        version: of the bento; None when the service was not loaded from one.
        metrics: whether the server offers /metrics.
    """
    schemas: dict[str, Any] = {"Error": {"title": "Error", "type": "string", "description": "What went wrong."}}
    paths: dict[str, Any] = {}
    for api in apis:
        request = joined(schemas, api.input.openapi_components(), api.input.openapi_request_body())
        response = joined(schemas, api.output.openapi_components(), api.output.openapi_responses())
        paths[api.route] = {"post": _operation(name, api, request, response)}
    for path, text in _INFRASTRUCTURE.items():
        if path == "/metrics" and not metrics:
            continue
        paths[path] = {"get": _probe(path, text)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version or "None",
            "description": description,
        },
        "servers": [{"url": "."}],
        "tags": [
            {"name": _SERVICE_TAG, "description": "What the service offers."},
            {"name": _INFRASTRUCTURE_TAG, "description": "Probes and metrics."},
        ],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(service: str, api: InferenceAPI, request: Any, response: Any) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Error"}}}
    return {
        "tags": [_SERVICE_TAG],
        "summary": f"InferenceAPI({type(api.input).__name__} → {type(api.output).__name__})",
        "description": api.doc,
        "operationId": f"{service}__{api.name}",
        "x-bentoml-name": api.name,
        "requestBody": request,
        "responses": {
            "200": response,
            **{
                str(status.value): {"description": f"{status.phrase}: {text}", "content": error}
                for status, text in _ERRORS.items()
            },
            "504": {"description": "Gateway Timeout: The answer took too long.", "content": _TEXT},
        },
    }


def _probe(path: str, description: str) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "Successful Response", "content": _TEXT}}
    if path == "/readyz":
        responses["503"] = {"description": "Not ready", "content": _TEXT}
    return {
        "tags": [_INFRASTRUCTURE_TAG],
        "description": description,
        "operationId": path.strip("/"),
        "responses": responses,
    }
