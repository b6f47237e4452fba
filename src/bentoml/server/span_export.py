"""What sends spans to a collector: the exporter of OpenTelemetry, as configured; its complaints are said once."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from bentoml._importing import require
from bentoml.config import Tracing

__all__ = ["INSTALL", "say_each_complaint_once", "span_exporter"]

logger = logging.getLogger("bentoml")

#: What `pip install` is given for tracing.
INSTALL = "makunouchi[tracing]"
#: Where a collector takes spans over HTTP; what an endpoint without a path means.
TRACES_PATH = "/v1/traces"


def span_exporter(config: Tracing) -> Any:
    """What sends spans to the collector.

    Raises:
        MissingDependencyException: the library for the protocol is not installed.
    """
    otlp = config.otlp
    given: dict[str, Any] = {}
    if config.timeout is not None:
        given["timeout"] = config.timeout
    if otlp.protocol == "grpc":
        package, install = "opentelemetry.exporter.otlp.proto.grpc", "opentelemetry-exporter-otlp-proto-grpc"
        module = require(f"{package}.trace_exporter", install=install, what="tracing.otlp.protocol: grpc")
        if otlp.compression in ("gzip", "deflate"):
            grpc = require("grpc", install=install, what="tracing.otlp.protocol: grpc")
            given["compression"] = getattr(grpc.Compression, otlp.compression.capitalize())
        return module.OTLPSpanExporter(
            endpoint=otlp.endpoint, insecure=otlp.grpc.insecure, headers=otlp.grpc.headers, **given
        )
    package = "opentelemetry.exporter.otlp.proto.http"
    module = require(f"{package}.trace_exporter", install=INSTALL, what="tracing.exporter_type: otlp")
    if otlp.compression is not None:
        given["compression"] = require(package).Compression(otlp.compression)
    return module.OTLPSpanExporter(
        endpoint=_with_path(otlp.endpoint),
        certificate_file=otlp.http.certificate_file,
        headers=otlp.http.headers,
        **given,
    )


def _with_path(endpoint: str | None) -> str | None:
    if endpoint is None or urlsplit(endpoint).path not in ("", "/"):
        return endpoint
    return endpoint.rstrip("/") + TRACES_PATH


class _OnceEach(logging.Handler):
    """Passes on what a part of the library complains about, and lets it complain no more, unless it is of worse.

    While a collector is down there is a complaint for each span that finds no room, and making it would take longer
    than making the span.
    """

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).setLevel(record.levelno + 1)
        logger.warning("tracing: %s (said once)", record.getMessage())


def say_each_complaint_once() -> None:
    """Let the log of the server have what the library complains about; it would repeat itself with each export."""
    library = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _OnceEach) for handler in library.handlers):
        library.addHandler(_OnceEach(logging.WARNING))
        library.propagate = False
