"""TLS: what is wrong with its files is said by name, and a server that speaks it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bentoml.config.http import Tls
from bentoml.exceptions import BentoMLConfigException
from bentoml.server.tls import client_certificates, oldest_version, server_context
from tests._server import PATIENCE_S, Server, started
from tests._serving import LAST_GET, LOOPS, echo, serve

LIGHT = Path(__file__).parent / "services" / "light"
SAN = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate and its key, in every form that can go wrong, and those of a client."""
    folder = tmp_path_factory.mktemp("tls")
    for name, subject in (("server", "/CN=localhost"), ("client", "/CN=client"), ("stranger", "/CN=stranger")):
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        openssl(folder, *new, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", subject, "-addext", SAN)
    openssl(folder, "pkcs8", "-topk8", "-in", "server.key", "-passout", "pass:right", "-out", "locked.key")
    openssl(folder, "ec", "-in", "server.key", "-aes256", "-passout", "pass:right", "-out", "locked-old.key")
    openssl(folder, "x509", "-in", "server.pem", "-outform", "der", "-out", "server.der")
    (folder / "both.pem").write_text((folder / "server.pem").read_text() + (folder / "server.key").read_text())
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    return folder


def tls(folder: Path, **settings: Any) -> Tls:
    files = {name: str(folder / settings.pop(name)) for name in ("certfile", "keyfile", "ca_certs") if name in settings}
    return Tls(**{"certfile": str(folder / "server.pem"), "keyfile": str(folder / "server.key"), **files, **settings})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"certfile": "no.pem"}, "`api_server.ssl.certfile`: {}/no.pem cannot be read: No such file or directory"),
        ({"keyfile": "no.key"}, "`api_server.ssl.keyfile`: {}/no.key cannot be read: No such file or directory"),
        (
            {"certfile": "server.der"},
            "`api_server.ssl.certfile`: {}/server.der is no PEM file "
            "(hint: `openssl x509 -inform der -in FILE` makes one of a DER file)",
        ),
        ({"certfile": "server.key"}, "`api_server.ssl.certfile`: {}/server.key holds no certificate"),
        ({"keyfile": "server.pem"}, "`api_server.ssl.keyfile`: {}/server.pem holds no private key"),
        (
            {"keyfile": "client.key"},
            "`api_server.ssl.keyfile`: the private key in {}/client.key is not that of the certificate in {}/server.pem",
        ),
        (
            {"keyfile": "locked.key"},
            "`api_server.ssl.keyfile_password`: the password is missing: it protects the private key in {}/locked.key",
        ),
        (
            {"keyfile": "locked-old.key"},
            "`api_server.ssl.keyfile_password`: the password is missing: it protects the private key in "
            "{}/locked-old.key",
        ),
        (
            {"keyfile": "locked.key", "keyfile_password": "wrong"},
            "`api_server.ssl.keyfile_password`: the password is not that of the private key in {}/locked.key",
        ),
        ({"ciphers": "NONSENSE"}, "`api_server.ssl.ciphers`: OpenSSL knows no cipher of 'NONSENSE'"),
        (
            {"cert_reqs": 2},
            "`api_server.ssl.cert_reqs`: certificates of clients are asked for, and nobody says whose: set ca_certs",
        ),
        ({"ca_certs": "server.key"}, "`api_server.ssl.ca_certs`: {}/server.key holds no certificate"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_reason(pems: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BentoMLConfigException) as raised:
        server_context(tls(pems, **settings))
    assert str(raised.value) == said.replace("{}", str(pems))


@pytest.mark.parametrize("settings", [{"certfile": "broken.pem"}, {"ca_certs": "broken.pem"}])
def test_a_broken_certificate_is_named(pems: Path, settings: dict[str, str]) -> None:
    with pytest.raises(BentoMLConfigException, match=r"broken\.pem .*cannot be read: "):
        server_context(tls(pems, **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"certfile": "both.pem", "keyfile": "both.pem"},
        {"keyfile": "locked.key", "keyfile_password": "right"},
        {"keyfile": "locked-old.key", "keyfile_password": "right"},
        {"version": 17, "cert_reqs": 0, "ciphers": "TLSv1"},
        {"ciphers": "ECDHE+AESGCM"},
    ],
)
def test_what_is_right_is_a_context_of_tls_1_2_at_least(pems: Path, settings: dict[str, Any]) -> None:
    context = server_context(tls(pems, **settings))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    # The word that BentoML writes for the default must not bring back what OpenSSL calls by that name.
    assert not any(cipher["name"] == "AES128-SHA" for cipher in context.get_ciphers())


def test_a_key_may_stand_in_the_file_of_the_certificate(pems: Path) -> None:
    assert server_context(Tls(certfile=str(pems / "both.pem"))) is not None


def test_without_a_certificate_there_is_no_context() -> None:
    assert server_context(Tls()) is None
    assert server_context(Tls(enabled=False, certfile="no.pem")) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "TLSv1_2"), (2, "TLSv1_2"), (5, "TLSv1_2"), (17, "TLSv1_2"), ("17", "TLSv1_2"), ("1.2", "TLSv1_2"),
        ("TLSv1.2", "TLSv1_2"), ("TLSv1_2", "TLSv1_2"), ("PROTOCOL_TLS_SERVER", "TLSv1_2"), ("TLS", "TLSv1_2"),
        ("PROTOCOL_TLSv1_2", "TLSv1_2"), ("tlsv1.3", "TLSv1_3"), ("TLSv1_3", "TLSv1_3"),
    ],
)  # fmt: skip
def test_a_version_may_be_a_number_or_a_name(value: Any, expected: str) -> None:
    assert oldest_version(value).name == expected


@pytest.mark.parametrize("value", [3, 4, 16, "TLSv1", "TLSv1.1", "SSLv3", "newest"])
def test_an_old_or_unknown_version_is_refused(value: Any) -> None:
    with pytest.raises(BentoMLConfigException) as raised:
        oldest_version(value)
    assert str(raised.value) == (
        f"`api_server.ssl.version`: {value!r} is none that is spoken here "
        "(hint: TLSv1.2 or TLSv1.3; older ones can be broken)"
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((None, 0, "0", "none", "CERT_NONE"), ssl.CERT_NONE),
        ((1, "1", "optional", "CERT_OPTIONAL"), ssl.CERT_OPTIONAL),
        ((2, "2", "Required", "CERT_REQUIRED"), ssl.CERT_REQUIRED),
    ],
)
def test_certificates_of_clients_may_be_a_number_or_a_name(values: tuple[Any, ...], expected: ssl.VerifyMode) -> None:
    assert {client_certificates(value) for value in values} == {expected}
    with pytest.raises(BentoMLConfigException, match=r"3 is none of none \(0\), optional \(1\), required \(2\)"):
        client_certificates(3)


# Handshakes


def trusting(folder: Path, client: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "server.pem"))
    if client is not None:
        context.load_cert_chain(folder / f"{client}.pem", folder / f"{client}.key")
    return context


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("cert_reqs", "client", "welcome"),
    [
        ("required", "client", True),
        ("required", "stranger", False),
        ("required", None, False),
        ("optional", None, True),
        ("optional", "stranger", False),
        ("none", None, True),
    ],
)
def test_clients_are_asked_for_their_certificate(
    pems: Path, loop: str, cert_reqs: str, client: str | None, welcome: bool
) -> None:
    context = server_context(tls(pems, cert_reqs=cert_reqs, ca_certs="client.pem"))
    answer = b""
    with (
        serve(echo, loop=loop, ssl=context) as served,
        socket.create_connection(served.address, PATIENCE_S) as sock,
        # In TLS 1.3 the server's refusal comes after the client has sent its request.
        contextlib.suppress(ssl.SSLError, ConnectionError),
        trusting(pems, client).wrap_socket(sock, server_hostname="localhost") as secured,
    ):
        secured.sendall(LAST_GET)
        answer = secured.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 ") is welcome


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_tls_1_1_is_not_spoken(pems: Path) -> None:
    with serve(echo, loop="asyncio", ssl=server_context(tls(pems))) as served:
        context = trusting(pems)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with (
            socket.create_connection(served.address, PATIENCE_S) as sock,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            context.wrap_socket(sock, server_hostname="localhost")


# A server


@pytest.fixture(scope="module")
def secure(pems: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secure")
    files = ["--ssl-certfile", str(pems / "server.pem"), "--ssl-keyfile", str(pems / "locked.key")]
    extra = {
        "BENTOML_API_WORKERS": "2",
        "BENTOML_CONFIG_OPTIONS": "api_server.ssl.keyfile_password=${PASSWORD}",
        "PASSWORD": "right",
    }
    arguments = ["service:svc", "--working-dir", str(LIGHT), *files]
    with started(*arguments, folder=folder, home=folder, extra=extra) as server:
        server.tls = trusting(pems)
        yield server.wait_until_ready()


def test_a_server_with_a_certificate_answers_curl_and_says_https(secure: Server, pems: Path) -> None:
    url = f"https://localhost:{secure.port}"
    curl = ["curl", "-sf", "--cacert", str(pems / "server.pem")]
    got = subprocess.run([*curl, f"{url}/docs.json"], capture_output=True, check=True)
    assert got.stdout.startswith(b"{")
    assert f"running on https://127.0.0.1:{secure.port} (" in secure.log
    assert f"open https://127.0.0.1:{secure.port}" in secure.log
    assert f"https://127.0.0.1:{secure.port}/metrics." in secure.log
    secure.said("(scheme=https,method=GET,path=/docs.json,")
    assert "right" not in secure.log


def test_who_does_not_trust_the_certificate_gets_nothing(secure: Server) -> None:
    refused = subprocess.run(["curl", "-sS", f"https://localhost:{secure.port}/livez"], capture_output=True, text=True)
    assert refused.returncode == 60
    assert "certificate" in refused.stderr


def test_plain_http_gets_no_answer_and_harms_nobody(secure: Server) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), PATIENCE_S) as sock:
        sock.sendall(LAST_GET)
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/" not in sock.makefile("rb").read()
    assert secure.get("/livez").status == 200


@pytest.mark.parametrize(
    ("certfile", "said"),
    [("missing.pem", "missing.pem cannot be read: No such file or directory"), ("server.der", "is no PEM file")],
)
def test_a_server_whose_certificate_is_none_ends_before_any_worker_starts(
    pems: Path, tmp_path: Path, certfile: str, said: str
) -> None:
    arguments = ["service:svc", "--working-dir", str(LIGHT), "--ssl-certfile", str(pems / certfile)]
    with started(*arguments, folder=tmp_path, home=tmp_path) as server:
        assert server.wait() == 1
        [line] = server.log.splitlines()
    assert line.startswith("Error: `serve` failed: `api_server.ssl.certfile`: ")
    assert said in line
