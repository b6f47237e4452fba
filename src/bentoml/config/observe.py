"""The sections `tracing` and `monitoring`: where spans go, and the rows of `bentoml.monitor`."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from bentoml.config.section import PositiveInt, PositiveSeconds, Section

__all__ = ["OTLP_TAKERS", "Monitoring", "Tracing"]

#: What becomes of those who used another exporter.
OTLP_TAKERS = "Jaeger takes OTLP itself, Zipkin by way of an OpenTelemetry collector"
#: Options of the monitors that are ours: their types take no others.
MONITOR_OPTIONS = {"default": ("log_path", "log_config_file"), "otlp": ("endpoint", "headers", "timeout")}


class OtlpHttp(Section, frozen=True):
    """OTLP over HTTP."""

    SECRETS: ClassVar[tuple[str, ...]] = ("headers",)

    headers: Annotated[
        dict[str, str] | None, Meta(description="Header fields of each export, for instance a key of the collector.")
    ] = None
    certificate_file: Annotated[
        str | None, Meta(description="File with the certificates that the collector's is checked with.")
    ] = None


class OtlpGrpc(Section, frozen=True):
    """OTLP over gRPC."""

    SECRETS: ClassVar[tuple[str, ...]] = ("headers",)

    headers: Annotated[dict[str, str] | None, Meta(description="Metadata of each export.")] = None
    insecure: Annotated[
        bool | None, Meta(description="Without TLS; unset: as the scheme of the endpoint says, http or https.")
    ] = None


class Otlp(Section, frozen=True):
    """How spans are sent to an OpenTelemetry collector."""

    protocol: Annotated[Literal["http", "grpc"] | None, Meta(description="What it speaks; unset: http.")] = None
    endpoint: Annotated[
        str | None,
        Meta(description="Its address; unset: port 4318 (http) or 4317 (grpc) of this machine. http adds /v1/traces."),
    ] = None
    compression: Annotated[
        Literal["none", "gzip", "deflate"] | None, Meta(description="How exports are compressed; unset: not at all.")
    ] = None
    http: OtlpHttp = msgspec.field(default_factory=OtlpHttp)
    grpc: OtlpGrpc = msgspec.field(default_factory=OtlpGrpc)


class Tracing(Section, frozen=True):
    """Which requests are traced, and where their spans go."""

    exporter_type: Annotated[
        Literal["otlp", "jaeger", "zipkin"] | None,
        Meta(description="How spans are exported: otlp, the others are refused. Unset: requests are not traced."),
    ] = None
    sample_rate: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Share of the requests that are traced; where a caller sends `traceparent`, it decides."),
    ] = None
    excluded_urls: Annotated[
        str | list[str] | None,
        Meta(description="Regular expressions, in a list or joined by commas; routes in which one is found: no spans."),
    ] = None
    timeout: Annotated[PositiveSeconds | None, Meta(description="Seconds that one export may take.")] = None
    max_tag_value_length: Annotated[
        PositiveInt | None, Meta(description="Characters of an attribute's text that are kept; unset: all.")
    ] = None
    otlp: Otlp = msgspec.field(default_factory=Otlp)

    def __post_init__(self) -> None:
        if self.exporter_type not in (None, "otlp"):
            raise ValueError(
                f"exporter_type {self.exporter_type} is gone from OpenTelemetry: set it to otlp, as {OTLP_TAKERS}"
            )
        for pattern in self.excluded_patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"excluded_urls: {pattern!r} is no regular expression: {error}") from None

    @property
    def excluded_patterns(self) -> list[str]:
        """The regular expressions of `excluded_urls`."""
        urls = self.excluded_urls or []
        return [url.strip() for url in (urls.split(",") if isinstance(urls, str) else urls) if url.strip()]


class Monitoring(Section, frozen=True):
    """What becomes of the rows of `bentoml.monitor`."""

    SECRETS: ClassVar[tuple[str, ...]] = ("options",)  # a class of the user's may take a key

    enabled: Annotated[bool, Meta(description="Write them; false: `bentoml.monitor` does nothing.")] = True
    type: Annotated[
        str, Meta(description="Where to: `default` (files), `otlp`, or the import string of a class of your own.")
    ] = "default"
    options: Annotated[
        dict[str, Any] | None,
        Meta(
            description="For `default` log_path and log_config_file; for `otlp` endpoint, headers and timeout; else "
            "what the class takes."
        ),
    ] = None

    def __post_init__(self) -> None:
        known = MONITOR_OPTIONS.get(self.type)
        if known is None:
            return
        for name in self.options or ():
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                instead = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise ValueError(f"options.{name} is unknown to the type {self.type}: {instead}")
