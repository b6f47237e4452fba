"""The OpenAPI 3.1 document of a service: made once at start, true to what the server answers."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from bentoml.io._components import Components, renamed
from bentoml.service.api import InferenceAPI
from bentoml.service.mount import Mount
from bentoml.service.openapi_mounts import add_mounts

__all__ = ["PROBES", "openapi_document"]

_SERVICE_TAG = "Service APIs"
_INFRASTRUCTURE_TAG = "Infrastructure"
_REQUEST_ID = "X-BentoML-Request-ID"

#: What tells whether the server lives and is ready; whoever looks after it needs no key.
PROBES = frozenset({"/livez", "/healthz", "/readyz"})

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

#: What each of them says, so or similarly; 503 says it by its header field.
_TOLD = "BentoService error handling API request: "
_EXAMPLES = {
    HTTPStatus.BAD_REQUEST: f"{_TOLD}Invalid JSON input received: the body is empty",
    HTTPStatus.UNAUTHORIZED: "this server asks for an API key: "
    "expected `Authorization: Bearer <key>` or `X-API-Key: <key>`",
    HTTPStatus.NOT_FOUND: f"{_TOLD}there is no customer 4711",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is larger than 20971520 bytes",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: f"{_TOLD}expected a form, but the content type is 'text/plain'",
    HTTPStatus.UNPROCESSABLE_ENTITY: f"{_TOLD}the customer has no history to judge by",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An error has occurred in BentoML user code when handling this request; "
    "the server's log has the details under the request id 14695545439042760282",
    HTTPStatus.SERVICE_UNAVAILABLE: "",
}

#: What guarded servers take, in either of two ways.
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `Authorization: Bearer <key>`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key, as `X-API-Key`."},
}
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def openapi_document(
    name: str,
    *,
    version: str | None,
    description: str,
    apis: Iterable[InferenceAPI],
    metrics: bool,
    guarded: bool = False,
    mounts: Iterable[Mount] = (),
) -> dict[str, Any]:
    """Paths, schemas and examples of a service, as a JSON-compatible mapping.

    Args:
        version: of the bento; None when the service was not loaded from one.
        metrics: whether the server offers /metrics.
        guarded: whether everything but the probes asks for an API key.
        mounts: applications, whose operations are added where they can tell them.
    """
    components = Components(_shared_components(guarded=guarded))
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
    document["components"] = components.kinds
    if guarded:
        _guard(document)
    return document


def _guard(document: dict[str, Any]) -> None:
    """Say of every operation but the probes that it asks for a key, beside whatever it asks for itself."""
    keys: list[dict[str, list[str]]] = [{name: []} for name in _SECURITY_SCHEMES]
    document["security"] = keys
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method not in _METHODS:
                continue
            if path in PROBES:
                operation["security"] = []
                continue
            own = operation.get("security")
            if own:
                operation["security"] = [{**key, **each} for key in keys for each in own]
            elif own is not None:
                del operation["security"]
            operation["responses"].setdefault("401", {"$ref": "#/components/responses/Unauthorized"})


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


def _shared_components(*, guarded: bool) -> dict[str, dict[str, Any]]:
    """What every document has: errors, the header of all answers of an API, the keys of a guarded server."""
    error = {
        "title": "Error",
        "type": "string",
        "description": "What went wrong; empty where only the log of the server says it.",
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
    found = {"schemas": {"Error": error}, "responses": responses, "headers": headers}
    if guarded:
        text = "No API key was sent, or none that this server knows."
        responses[_name_of(HTTPStatus.UNAUTHORIZED)] = _error(HTTPStatus.UNAUTHORIZED, text)
        found["securitySchemes"] = _SECURITY_SCHEMES
    return found


def _name_of(status: HTTPStatus) -> str:
    return status.phrase.replace(" ", "")


def _error(status: HTTPStatus, text: str) -> dict[str, Any]:
    headers = {_REQUEST_ID: {"$ref": "#/components/headers/RequestId"}}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if status is HTTPStatus.GATEWAY_TIMEOUT:
        content = _text("Not able to process the request in 60 seconds")
    else:
        schema = {"$ref": "#/components/schemas/Error"}
        content = {"application/json": {"schema": schema, "example": _EXAMPLES[status]}}
    return {"description": f"{status.phrase}: {text}", "headers": headers, "content": content}


def _infrastructure(*, metrics: bool) -> dict[str, Any]:
    """The operations of the server's own pages, by path."""
    alive = "Answers as long as the process lives"
    found = {
        "/healthz": _page("Health", f"{alive}. The same as /livez.", "healthz", _text("\n")),
        "/livez": _page("Liveness", f"{alive}; a failure means that it should be restarted.", "livez", _text("\n")),
        "/readyz": _page(
            "Readiness",
            "200 when requests can be answered, 503 while a model is not loaded yet.",
            "readyz",
            _text("\n"),
        ),
        "/docs.json": _page(
            "OpenAPI", "This document.", "openapi", {"application/json": {"schema": {"type": "object"}}}
        ),
    }
    found["/readyz"]["responses"]["503"] = {
        "description": "Not ready; the text says why.",
        "headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
        "content": _text("Runners are not ready.\n"),
    }
    if metrics:
        sample = "# TYPE bentoml_api_server_request_in_progress gauge\n"
        found["/metrics"] = _page("Metrics", "In the Prometheus text format 0.0.4.", "metrics", _text(sample))
    return found


def _page(summary: str, description: str, operation_id: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": [_INFRASTRUCTURE_TAG],
        "summary": summary,
        "description": description,
        "operationId": operation_id,
        "responses": {"200": {"description": "Successful Response", "content": content}},
    }


def _text(example: str) -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}, "example": example}}
