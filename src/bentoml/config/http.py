"""The configuration's keys of HTTP: where the server listens, who may ask, and what answers carry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from bentoml.config.section import MASK, PositiveInt, Section

__all__ = ["Auth", "Cors", "Gzip", "Http", "HttpResponse", "Tls", "listed"]

#: `scheme://host[:port]`, as browsers send it.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s,]+")
_OTHER_ORIGINS = ("*", "null")


def listed(value: str | Sequence[str] | None) -> list[str]:
    """A list, or a text whose parts are separated by commas, as a list."""
    parts = value.split(",") if isinstance(value, str) else value or ()
    return [part.strip() for part in parts if part.strip()]


class Cors(Section, frozen=True):
    """Which pages of other sites may read answers, in a browser."""

    enabled: Annotated[bool, Meta(description="Permit browsers to show answers to pages of other sites.")] = False
    access_control_allow_origins: Annotated[
        str | list[str] | None,
        Meta(description="The sites whose pages may, such as https://app.example.com; `*` for all."),
    ] = None
    access_control_allow_origin_regex: Annotated[
        str | None, Meta(description="Regular expression that the whole origin of a site matches that may as well.")
    ] = None
    access_control_allow_credentials: Annotated[
        bool | None, Meta(description="Let browsers send cookies and their own credentials along.")
    ] = None
    access_control_allow_methods: Annotated[
        str | list[str] | None, Meta(description="Methods that may be used; `*` for all. Unset: GET, HEAD and POST.")
    ] = None
    access_control_allow_headers: Annotated[
        str | list[str] | None,
        Meta(
            description="Header fields that may be sent; `*` for all. Always: Accept, Accept-Language, "
            "Content-Language, Content-Type; unset and with `api_server.auth`: Authorization and X-API-Key as well."
        ),
    ] = None
    access_control_max_age: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Seconds that a browser may remember what is permitted. Unset: 600."),
    ] = None
    access_control_expose_headers: Annotated[
        str | list[str] | None, Meta(description="Header fields of answers that a page may read beside the usual ones.")
    ] = None

    def __post_init__(self) -> None:
        if not self.enabled:
            return
        origins = listed(self.access_control_allow_origins)
        if not origins and not self.access_control_allow_origin_regex:
            raise ValueError(
                "it is enabled, and no site is permitted: set access_control_allow_origins, or ..._origin_regex"
            )
        for origin in origins:
            if origin not in _OTHER_ORIGINS and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: expected scheme://host or scheme://host:port in lower case, with "
                    "nothing behind it, such as https://app.example.com"
                )
        try:
            re.compile(self.access_control_allow_origin_regex or "")
        except re.error as error:
            raise ValueError(f"access_control_allow_origin_regex is no regular expression: {error}") from None


class Gzip(Section, frozen=True):
    """Compressed answers, for clients that accept them."""

    enabled: Annotated[bool, Meta(description="Compress answers of text and JSON for clients that accept gzip.")] = (
        False
    )
    min_bytes: Annotated[int, Meta(ge=0, description="Smaller bodies are sent as they are.")] = 1024
    level: Annotated[int, Meta(ge=1, le=9, description="From 1, fastest, to 9, smallest.")] = 1


class HttpResponse(Section, frozen=True):
    """What answers carry beside their content."""

    trace_id: Annotated[bool, Meta(description="Send the trace id as X-BentoML-Trace-ID and in traceresponse.")] = False
    server_timing: Annotated[
        bool, Meta(description="Send Server-Timing: wait, batch size and compute time of each model call.")
    ] = False
    gzip: Gzip = msgspec.field(default_factory=Gzip)


class Http(Section, frozen=True):
    """Where the server listens, and what it takes."""

    host: Annotated[str, Meta(description="Address to listen on: an IPv4 or IPv6 literal.")] = "0.0.0.0"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")] = 3000
    unix_socket: Annotated[
        str | None, Meta(description="Path of a unix socket to listen on in place of host and port.")
    ] = None
    max_body_size: Annotated[
        PositiveInt, Meta(description="Largest request body in bytes; a larger one is answered with 413.")
    ] = 100 * 1024 * 1024
    cors: Cors = msgspec.field(default_factory=Cors)
    response: HttpResponse = msgspec.field(default_factory=HttpResponse)

    def __post_init__(self) -> None:
        if self.unix_socket == "":
            raise ValueError("unix_socket is empty: expected a path, or null to listen on host and port")


class Auth(Section, frozen=True):
    """Who may use the server: everybody, whoever has a key, or whom a function of yours lets in."""

    SECRETS: ClassVar[tuple[str, ...]] = ("api_keys",)

    api_keys: Annotated[
        list[str] | None,
        Meta(description="Keys of which a request must carry one, as `Authorization: Bearer` or `X-API-Key`."),
    ] = None
    callable: Annotated[
        str | None,
        Meta(description="`module:function` that is asked in place of a list of keys whether a request may pass."),
    ] = None

    def __post_init__(self) -> None:
        if self.api_keys is not None:
            if self.callable is not None:
                raise ValueError("api_keys and callable exclude each other: the function can look at keys as well")
            if not self.api_keys:
                raise ValueError("api_keys is an empty list, which nobody could pass: list a key, or leave it out")
            for index, key in enumerate(self.api_keys):
                if not key:
                    raise ValueError(f"api_keys[{index}] is empty: everybody would know it")
                if key == MASK:
                    raise ValueError(f"api_keys[{index}] is what `bentoml config` shows in place of a key, not a key")
                # What is not ASCII, or begins or ends with a space, does not come through a header as it was typed.
                if not key.isascii() or not key.isprintable() or key != key.strip():
                    raise ValueError(f"api_keys[{index}] has a character that a header cannot carry: use visible ASCII")
        if self.callable is not None and not re.fullmatch(r"[\w.]+:[\w.]+", self.callable):
            raise ValueError("callable must be of the form module:function")

    @property
    def is_on(self) -> bool:
        """Whether requests are asked who they are."""
        return self.api_keys is not None or self.callable is not None


class Tls(Section, frozen=True):
    """HTTPS: the certificate of the server, and whether clients must show one."""

    SECRETS: ClassVar[tuple[str, ...]] = ("keyfile_password",)

    enabled: Annotated[bool | None, Meta(description="Speak TLS. Unset: if there is a certificate.")] = None
    certfile: Annotated[
        str | None, Meta(description="PEM file of the server's certificate, followed by those that vouch for it.")
    ] = None
    keyfile: Annotated[
        str | None, Meta(description="PEM file of the private key. Unset: it is in the certificate's file.")
    ] = None
    keyfile_password: Annotated[str | None, Meta(description="Password of the private key.")] = None
    version: Annotated[
        int | str | None,
        Meta(description="Oldest version that is spoken: TLSv1.2 or TLSv1.3, or a number of Python's ssl.PROTOCOL_*."),
    ] = None
    cert_reqs: Annotated[
        int | str | None,
        Meta(description="Certificates of clients: none (0), optional (1) or required (2)."),
    ] = None
    ca_certs: Annotated[
        str | None, Meta(description="PEM file of the authorities whose certificates of clients are believed.")
    ] = None
    ciphers: Annotated[
        str | None, Meta(description="Ciphers of TLS 1.2 as OpenSSL names them. Unset: those of Python.")
    ] = None

    def __post_init__(self) -> None:
        if self.enabled and not self.certfile:
            raise ValueError("it is enabled, and there is no certificate: set certfile")
        if self.enabled is None and self.keyfile and not self.certfile:
            raise ValueError("there is a keyfile and no certificate: set certfile")
        if self.keyfile_password == MASK:
            raise ValueError("keyfile_password is what `bentoml config` shows in place of a password, not one")

    @property
    def is_on(self) -> bool:
        """Whether the server speaks TLS."""
        return bool(self.certfile) if self.enabled is None else self.enabled
