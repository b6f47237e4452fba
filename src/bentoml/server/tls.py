"""The TLS context of `api_server.ssl`; what is wrong with its files is said by name, before any worker starts."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from bentoml.config.http import Tls
from bentoml.exceptions import BentoMLConfigException

__all__ = ["client_certificates", "oldest_version", "server_context"]

#: Numbers of Python's ssl.PROTOCOL_* and names → the oldest version that is spoken. BentoML takes the numbers; 17, its
#: default, and 2 leave the choice to both sides.
_VERSIONS = {
    "2": ssl.TLSVersion.TLSv1_2,
    "17": ssl.TLSVersion.TLSv1_2,
    "5": ssl.TLSVersion.TLSv1_2,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_CERT_REQS = {
    "0": ssl.CERT_NONE,
    "1": ssl.CERT_OPTIONAL,
    "2": ssl.CERT_REQUIRED,
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
#: What BentoML 1.1 writes where it means the default; by OpenSSL's book it is a list of ciphers of 1999.
_DEFAULT_CIPHERS = "TLSv1"


def server_context(settings: Tls) -> ssl.SSLContext | None:
    """The context of a server, None where TLS is off.

    Raises:
        BentoMLConfigException: a file is missing or not what it should be, or a value is none that is known.
    """
    if not settings.is_on:
        return None
    assert settings.certfile is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = oldest_version(settings.version)
    context.set_alpn_protocols(["http/1.1"])
    if settings.ciphers and settings.ciphers != _DEFAULT_CIPHERS:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise _wrong("ciphers", f"OpenSSL knows no cipher of {settings.ciphers!r}") from None
    _load_certificate(context, settings)
    context.verify_mode = client_certificates(settings.cert_reqs)
    if settings.ca_certs is not None:
        authorities = _read("ca_certs", settings.ca_certs, "CERTIFICATE")
        try:
            context.load_verify_locations(authorities)
        except ssl.SSLError as error:
            raise _wrong("ca_certs", f"{authorities} has a certificate that cannot be read: {error.reason}") from None
    elif context.verify_mode is not ssl.CERT_NONE:
        raise _wrong("cert_reqs", "certificates of clients are asked for, and nobody says whose: set ca_certs")
    return context


def oldest_version(value: int | str | None) -> ssl.TLSVersion:
    """The oldest version that is spoken: 1.2 unless `value` says otherwise."""
    if value is None:
        return ssl.TLSVersion.TLSv1_2
    name = re.sub(r"(PROTOCOL_)?TLS(_SERVER\Z)?v?", "", str(value), flags=re.IGNORECASE).replace("_", ".") or "2"
    if name in _VERSIONS:
        return _VERSIONS[name]
    raise _wrong("version", f"{value!r} is none that is spoken here", "TLSv1.2 or TLSv1.3; older ones can be broken")


def client_certificates(value: int | str | None) -> ssl.VerifyMode:
    """Whether certificates of clients are ignored, looked at, or required."""
    if value is None:
        return ssl.CERT_NONE
    name = str(value).lower().removeprefix("cert_")
    if name in _CERT_REQS:
        return _CERT_REQS[name]
    raise _wrong("cert_reqs", f"{value!r} is none of none (0), optional (1), required (2)")


def _load_certificate(context: ssl.SSLContext, settings: Tls) -> None:
    assert settings.certfile is not None
    certificate = _read("certfile", settings.certfile, "CERTIFICATE")
    key_name = "certfile" if settings.keyfile is None else "keyfile"
    key = _read(key_name, settings.keyfile or settings.certfile, "PRIVATE KEY")
    password = settings.keyfile_password
    try:
        # Without a password OpenSSL would ask for one at the terminal, and a server would wait for ever.
        context.load_cert_chain(certificate, key, password=password or "")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        if reason == "KEY_VALUES_MISMATCH":
            raise _wrong(
                key_name, f"the private key in {key} is not that of the certificate in {certificate}"
            ) from None
        if re.search(r"ENCRYPTED", key.read_text("latin-1")):
            wrong = "is not that of the private key in" if password else "is missing: it protects the private key in"
            raise _wrong("keyfile_password", f"the password {wrong} {key}") from None
        raise _wrong("certfile", f"{certificate} and {key} cannot be read: {reason}") from None


def _read(field: str, name: str, label: str) -> Path:
    """The path of a PEM file in which something of this label stands."""
    path = Path(name).expanduser().resolve()
    try:
        content = path.read_text("latin-1")
    except OSError as error:
        raise _wrong(field, f"{path} cannot be read: {error.strerror}") from None
    if re.search(rf"-----BEGIN [A-Z ]*{label}-----", content):
        return path
    if "-----BEGIN " in content:
        raise _wrong(field, f"{path} holds no {label.lower()}")
    raise _wrong(field, f"{path} is no PEM file", "`openssl x509 -inform der -in FILE` makes one of a DER file")


def _wrong(field: str, what: str, hint: str = "") -> BentoMLConfigException:
    return BentoMLConfigException(f"`api_server.ssl.{field}`: {what}", hint=hint)
