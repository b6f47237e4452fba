"""The OpenAPI 3.1 document of a service: made once at start, true to what the server answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from bentoml.service.api import InferenceAPI

__all__ = ["PROBES", "openapi_document"]

_SCHEMAS = "#/components/schemas/"
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_SERVICE_TAG = "Service APIs"
_INFRASTRUCTURE_TAG = "Infrastructure"

#: What tells whether the server lives and is ready; whoever looks after it needs no key.
PROBES = frozenset({"/livez", "/healthz", "/readyz"})
#: path → description.
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

#: What guarded servers take, in either of two ways.
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `Authorization: Bearer <key>`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key, as `X-API-Key`."},
}
_UNAUTHORIZED = "Unauthorized: No API key was sent, or none that this server knows."


def openapi_document(
    name: str,
    *,
    version: str | None,
    description: str,
    apis: Iterable[InferenceAPI],
    metrics: bool,
    guarded: bool = False,
) -> dict[str, Any]:
    """Paths, schemas and examples of a service, as a JSON-compatible mapping.

    Args:
        version: of the bento; None when the service was not loaded from one.
        metrics: whether the server offers /metrics.
        guarded: whether everything but the probes asks for an API key.
    """
    schemas: dict[str, Any] = {"Error": {"title": "Error", "type": "string", "description": "What went wrong."}}
    paths: dict[str, Any] = {}
    for api in apis:
        request = _joined(schemas, api.input.openapi_components(), api.input.openapi_request_body())
        response = _joined(schemas, api.output.openapi_components(), api.output.openapi_responses())
        paths[api.route] = {"post": _operation(name, api, request, response)}
    for path, text in _INFRASTRUCTURE.items():
        if path == "/metrics" and not metrics:
            continue
        paths[path] = {"get": _probe(path, text)}
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
            {"name": _INFRASTRUCTURE_TAG, "description": "Probes and metrics."},
        ],
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if guarded:
        _guard(document)
    return document


def _guard(document: dict[str, Any]) -> None:
    """Say of every operation but the probes that it asks for a key."""
    document["components"]["securitySchemes"] = _SECURITY_SCHEMES
    document["security"] = [{name: []} for name in _SECURITY_SCHEMES]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in PROBES:
                operation["security"] = []
            else:
                content = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Error"}}}
                operation["responses"]["401"] = {"description": _UNAUTHORIZED, "content": content}


def _joined(schemas: dict[str, Any], components: Mapping[str, Any], content: Any) -> Any:
    """Add the components of a descriptor to `schemas`; its content, with the names that they have there.

    Two modules may each have a model `Input`. The second one becomes `Input_2`; what it is made of is numbered too.
    """
    number = 1
    while True:
        names = {name: name if number == 1 else f"{name}_{number}" for name in components}
        added = {names[name]: _renamed(schema, names) for name, schema in components.items()}
        if all(schemas.get(name, schema) == schema for name, schema in added.items()):
            schemas.update(added)
            return _renamed(content, names)
        number += 1


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, names) for value in node]
    if isinstance(node, str) and node.startswith(_SCHEMAS):
        name = node.removeprefix(_SCHEMAS)
        return _SCHEMAS + names.get(name, name)
    return node


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
