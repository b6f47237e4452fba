"""`bentoml serve`: flags become configuration, and the supervisor does the rest."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bentoml.cli.group import Command

if TYPE_CHECKING:
    from bentoml.config import LoadedConfig
    from bentoml.server.supervisor import ServeOptions

__all__ = ["serve", "serve_options"]

logger = logging.getLogger("bentoml")

#: Parameter → the configuration keys that it sets.
KEYS = {
    "port": ("api_server.http.port",),
    "host": ("api_server.http.host",),
    "api_workers": ("api_server.workers",),
    "timeout": ("api_server.traffic.timeout", "runners.traffic.timeout"),
    "backlog": ("api_server.backlog",),
    "uds": ("api_server.http.unix_socket",),
    "ssl_certfile": ("api_server.ssl.certfile",),
    "ssl_keyfile": ("api_server.ssl.keyfile",),
    "ssl_keyfile_password": ("api_server.ssl.keyfile_password",),
    "ssl_version": ("api_server.ssl.version",),
    "ssl_cert_reqs": ("api_server.ssl.cert_reqs",),
    "ssl_ca_certs": ("api_server.ssl.ca_certs",),
    "ssl_ciphers": ("api_server.ssl.ciphers",),
}
#: Files that are unpacked before they are served.
ARCHIVES = frozenset({".bento", ".tar", ".gz", ".bz2", ".xz", ".zip"})
HOST_KEY = "api_server.http.host"


@click.command(cls=Command)
@click.argument("bento", default=".", type=click.Path())
@click.option("--production", is_flag=True, help="Serve for production. This is the default.")
@click.option("--development", is_flag=True, help="Serve with one API worker, in which all runners live.")
@click.option(
    "-p", "--port", type=int, envvar="BENTOML_PORT", show_envvar=True, help="TCP port to listen on.  [default: 3000]"
)
@click.option(
    "--host", envvar="BENTOML_HOST", show_envvar=True, help="IPv4 or IPv6 address to listen on.  [default: 0.0.0.0]"
)
@click.option(
    "--api-workers",
    type=int,
    envvar="BENTOML_API_WORKERS",
    show_envvar=True,
    help="API worker processes.  [default: one for each CPU]",
)
@click.option(
    "--timeout",
    type=float,
    envvar="BENTOML_TIMEOUT",
    show_envvar=True,
    help="Seconds that a request, and the call of a runner, may take.  [default: 60 and 900]",
)
@click.option("--backlog", type=int, help="Connections that may wait to be accepted.  [default: 2048]")
@click.option("--uds", metavar="PATH", help="Unix socket to listen on, in place of host and port.")
@click.option("--ssl-certfile", metavar="FILE", help="The server's certificate, PEM: answer with HTTPS.")
@click.option("--ssl-keyfile", metavar="FILE", help="Its private key, PEM.  [default: in the file of the certificate]")
@click.option(
    "--ssl-keyfile-password",
    metavar="TEXT",
    help="Password of the private key. Others can see it in the list of processes: better in a configuration file, "
    "as `${VARIABLE}`.",
)
@click.option("--ssl-version", metavar="VERSION", help="Oldest version: TLSv1.2 or TLSv1.3.  [default: TLSv1.2]")
@click.option(
    "--ssl-cert-reqs", metavar="WHICH", help="Clients' certificates: none, optional or required.  [default: none]"
)
@click.option("--ssl-ca-certs", metavar="FILE", help="Authorities whose certificates of clients are believed, PEM.")
@click.option("--ssl-ciphers", metavar="LIST", help="Ciphers of TLS 1.2, as OpenSSL names them.")
@click.option(
    "--reload", is_flag=True, help="Restart when a file of the working directory changes; implies --development."
)
@click.option(
    "--working-dir",
    type=click.Path(exists=True, file_okay=False),
    help="Where modules and files are looked up.  [default: BENTO if it is a folder, else this one]",
)
@click.pass_context
def serve(ctx: click.Context, /, **_: Any) -> None:
    """Serve a service over HTTP until Ctrl-C.

    BENTO is `module:variable`, `file.py:variable`, or a folder with a bentofile.yaml or a service.py; by default this
    folder. It may as well be the tag of a bento, its folder, or an archive that `bentoml export` wrote, which is
    unpacked for as long as it is served. `bentoml serve-http` is the same command.
    """
    from bentoml import _logging
    from bentoml.server import supervisor

    _logging.configure("cli", level=logging.getLogger("bentoml").level)
    with _unpacked(ctx.params["bento"]) as folder:
        ctx.exit(supervisor.serve(serve_options(ctx, folder)))


@contextlib.contextmanager
def _unpacked(named: str) -> Iterator[str | None]:
    """The folder of the bento in the archive `named`; None: it is no archive."""
    path = Path(named).expanduser()
    if path.suffix not in ARCHIVES or not path.is_file():
        yield None
        return
    from bentoml.store import bento

    with bento.unpacked(path) as found:
        yield found.path


def serve_options(ctx: click.Context, folder_of_bento: str | None = None) -> ServeOptions:
    """What the parameters of the command ask for; makes it the configuration of this process.

    Args:
        folder_of_bento: where an archive was unpacked.

    Raises:
        UsageError: --production and --development.
        BentoMLConfigException: a value breaks a limit, or the host is not an address.
    """
    from bentoml import config
    from bentoml.server.supervisor import ServeOptions
    from bentoml.service.locate import bento_named

    given = ctx.params
    if given["production"] and given["development"]:
        raise click.UsageError("--production and --development exclude each other.", ctx)
    if given["production"] and given["reload"]:
        logger.warning("--production has no effect: --reload serves for development")
    bento = bento_named(folder_of_bento or given["bento"], given["working_dir"])
    named = Path(given["bento"]).expanduser()
    folder = Path(bento.path, "src") if bento else Path(given["working_dir"] or (named if named.is_dir() else "."))
    if given["host"] == "localhost":
        logger.warning("localhost is taken for 127.0.0.1: only this machine can connect")
        given["host"] = "127.0.0.1"
    flags = {key: (given[name], _origin(ctx, name)) for name in KEYS if given[name] is not None for key in KEYS[name]}
    loaded = config.from_environment(working_dir=folder, flags=flags)
    _check_host(loaded)
    config.use(loaded)
    found = None if os.environ.get("BENTOML_CONFIG") else config.sources.discover(folder)
    if found is not None:
        logger.info("using the configuration file %s", found.resolve())
    return ServeOptions(
        # Found once: a server that is up goes on with its bento when another one becomes the latest.
        identifier=bento.path if bento else given["bento"],
        working_dir=given["working_dir"],
        name=str(bento.tag) if bento else "",
        loaded=loaded,
        development=given["development"] or given["reload"],
        reload=given["reload"],
    )


def _origin(ctx: click.Context, name: str) -> str:
    """Who set a parameter: `--port` or `BENTOML_PORT`."""
    option = next(param for param in ctx.command.params if param.name == name)
    if ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
        return str(option.envvar)
    return max(option.opts, key=len)


def _check_host(loaded: LoadedConfig) -> None:
    import ipaddress

    from bentoml.exceptions import BentoMLConfigException

    host = loaded.config.api_server.http.host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise BentoMLConfigException(
            f"`{HOST_KEY}` must be an IPv4 or IPv6 address, not {host!r} (set by {loaded.origins[HOST_KEY]})",
            hint="0.0.0.0 for every network of this machine, 127.0.0.1 for this machine alone",
        ) from None
