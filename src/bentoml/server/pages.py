"""The pages that need no model: Swagger UI and its assets, the OpenAPI document, probes; made once, at start."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import msgspec

from bentoml._http import Request, Response
from bentoml.service.service import Service

__all__ = ["Page", "pages"]

#: Answers GET and HEAD.
Page = Callable[[Request], Response]

_STATIC = Path(__file__).parent / "static"
_ASSETS = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "favicon-32x32.png": b"image/png",
}

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title}</title>
  <link rel="stylesheet" href="./static_content/swagger-ui.css">
  <link rel="icon" type="image/png" href="./static_content/favicon-32x32.png">
  <style>
    body {{ margin: 0 }}
    .swagger-ui .info {{ margin: 24px 0 }}
    /* There is one server: the one that the page came from; only a guarded one needs the box, for Authorize. */
    .swagger-ui .scheme-container:not(:has(.auth-wrapper)),
    .swagger-ui .scheme-container .schemes .schemes-server-container {{ display: none }}
    .swagger-ui .responses-table:not(:has(.operation-link)) .response-col_links {{ display: none }}
    /* Errors of an API are texts: a line for each says when it comes. */
    [id^="operations-Service_APIs-"] .response:is([data-code^="4"], [data-code^="5"])
      .response-col_description > :not(.response-col_description__inner) {{ display: none }}
    .swagger-ui .response-col_description__inner p {{ margin: 0 0 6px }}
    {version_style}
  </style>
</head>
<body>
  <div id="swagger-ui">
    <noscript>The description of this service is at <a href="./docs.json">docs.json</a>.</noscript>
  </div>
  <script src="./static_content/swagger-ui-bundle.js"></script>
  <script>
    SwaggerUIBundle({{
      url: "./docs.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true,
      defaultModelsExpandDepth: 0, validatorUrl: null,
      // The operations that a visitor came for stand open above the probes.
      docExpansion: "list",
      // An image is shown; other clients are told to save it.
      responseInterceptor: (response) => {{
        if (response.headers?.["content-type"]?.startsWith("image/")) delete response.headers["content-disposition"];
        return response;
      }},
    }});
  </script>
</body>
</html>
"""


def pages(service: Service, *, metrics: bool, guarded: bool = False) -> dict[str, Page]:
    """Path → page, for everything that does not depend on the state of the server."""
    document = msgspec.json.encode(service.openapi(metrics=metrics, guarded=guarded))
    # The document says "None" of a service that is no part of a bento, as BentoML has it; that is no version to show.
    version_style = ".swagger-ui .info .title small:first-child { display: none }" if service.tag is None else ""
    index = _INDEX.format(title=html.escape(service.name), version_style=version_style).encode()
    found: dict[str, Page] = {
        "/": _constant(index, b"text/html; charset=utf-8"),
        "/docs.json": _constant(document, b"application/json"),
        "/livez": _constant(b"\n", b"text/plain; charset=utf-8"),
        "/healthz": _constant(b"\n", b"text/plain; charset=utf-8"),
    }
    for name, content_type in _ASSETS.items():
        found[f"/static_content/{name}"] = _asset(_STATIC / name, content_type)
    return found


def _constant(body: bytes, content_type: bytes) -> Page:
    return lambda request: Response(body, content_type=content_type)


def _asset(path: Path, content_type: bytes) -> Page:
    """Read when first asked for: most workers never show the page, and it is two megabytes."""
    body = b""

    def page(request: Request) -> Response:
        nonlocal body
        body = body or path.read_bytes()
        return Response(body, content_type=content_type, raw_headers=[(b"cache-control", b"max-age=3600")])

    return page
