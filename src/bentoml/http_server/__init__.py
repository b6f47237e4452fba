"""HTTPServer: `bentoml serve` as a child of this process, started, asked and stopped from Python."""

from __future__ import annotations

import atexit
import collections
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any

from bentoml._process import describe_exit
from bentoml.client import HTTPClient
from bentoml.config import current
from bentoml.exceptions import BentoMLException, InvalidArgument, ServerStateException
from bentoml.http_server.target import target_of
from bentoml.service.service import Service
from bentoml.tag import Tag

__all__ = ["HTTPServer"]

#: How long a stopped server may finish its requests before it is killed, in seconds.
STOP_GRACE_S = 5.0
#: How often a server that starts is looked at, in seconds.
LOOK_INTERVAL_S = 0.05
#: How long the end of a server that does not come up may go unseen, in seconds.
PATIENCE_S = 0.5
#: What is kept of what the server says, for messages.
KEPT_LINES = 200
_SSL_OPTIONS = ("certfile", "keyfile", "keyfile_password", "version", "cert_reqs", "ca_certs", "ciphers")


class HTTPServer:
    """A server in a process of its own; it ends with this one.

        with bentoml.HTTPServer("service:svc", port=0).start() as client:
            client.classify({...})

    Args:
        bento: what `bentoml serve` takes: `"module:svc"`, a folder, the tag of a bento; or a `Tag`, a bento, or a
            `Service` that another process can import.
        reload: restart when a file changes; implies `production=False`.
        production: False serves with one worker.
        env: an environment for the server to be made in; there is none but the one of this process.
        host: an IPv4 or IPv6 address; default as configured (`api_server.http.host`).
        port: 0 takes a free one; default as configured.
        timeout: seconds that `get_client` waits until the server is ready.
        working_dir: where modules and files are looked up.
        api_workers: worker processes; default as configured.
        backlog: connections that may wait to be accepted; default as configured.
        ssl: `ssl_certfile`, `ssl_keyfile`, `ssl_keyfile_password`, `ssl_version`, `ssl_cert_reqs`, `ssl_ca_certs`,
            `ssl_ciphers`, as of the command.

    Attributes:
        host, port: where it listens; the port is known once it was started.
        process: the child; None before the start, and there to be asked for its `returncode` after the end.

    Raises:
        UnservableException: the Service cannot be imported by another process.
        InvalidArgument: an option that does not exist.
    """

    def __init__(
        self,
        bento: str | os.PathLike[str] | Tag | Service | Any,
        reload: bool = False,
        production: bool = True,
        env: None = None,
        host: str | None = None,
        port: int | None = None,
        timeout: float = 10,
        working_dir: str | None = None,
        api_workers: int | None = None,
        backlog: int | None = None,
        **ssl: str | int | None,
    ) -> None:
        unknown = [name for name in ssl if name.removeprefix("ssl_") not in _SSL_OPTIONS or name[:4] != "ssl_"]
        if unknown or env is not None:
            raise InvalidArgument(
                f"HTTPServer: there is no option {', '.join(unknown) or f'env={env!r}'}",
                hint=f"of TLS there are {', '.join(f'ssl_{name}' for name in _SSL_OPTIONS)}",
            )
        configured = current().config.api_server.http
        self.host = configured.host if host is None else host
        self.port = configured.port if port is None else port
        self.timeout = timeout
        self.process: subprocess.Popen[Any] | None = None
        self._target, folder = target_of(bento)
        options = {
            "working-dir": folder if working_dir is None else working_dir,
            "api-workers": api_workers,
            "backlog": backlog,
            **{name.replace("_", "-"): value for name, value in ssl.items()},
        }
        self._flags = [
            text for name, value in options.items() if value is not None for text in (f"--{name}", str(value))
        ]
        self._flags += ["--reload"] if reload else [] if production else ["--development"]
        self._certificate = ssl.get("ssl_certfile")
        self._said: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._listener: threading.Thread | None = None
        self._client: HTTPClient | None = None
        self._reserved: socket.socket | None = None

    @property
    def url(self) -> str:
        """Where a client on this machine finds it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"http{'s' if self._certificate else ''}://{shown}:{self.port}"

    @property
    def output(self) -> str:
        """The last 200 lines that it printed, where `start` was not told to send them elsewhere."""
        return "".join(self._said)

    def start(
        self,
        blocking: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool | None = None,
    ) -> HTTPServer:
        """Start the process. The result is the server itself, which in a `with` statement gives a client and stops.

        Args:
            blocking: return when it has ended; Ctrl-C stops it.
            env: variables on top of those of this process.
            stdin, stdout, stderr: as of `subprocess.Popen`. By default stdin is empty, and what it prints is shown
                where `blocking`, else read for `output`.
            text: as of `subprocess.Popen`, for pipes that you ask for.

        Raises:
            ServerStateException: it is running already.
        """
        if self.process is not None and self.process.poll() is None:
            raise ServerStateException(f"the server at {self.url} is running already; stop() it first")
        self._said.clear()
        is_captured = stdout is None and stderr is None and not blocking
        if self.port == 0:
            self._reserved = _reserve(self.host)
            self.port = self._reserved.getsockname()[1]
            if sys.platform != "linux":
                self._release()
        address = ["--host", self.host, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", self._target, *self._flags, *address],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if is_captured else stdout,
            stderr=subprocess.STDOUT if is_captured else stderr,
            text=True if is_captured else text,
            errors="replace" if is_captured else None,
        )
        atexit.register(self.stop)
        if is_captured:
            self._listener = threading.Thread(target=self._said.extend, args=(self.process.stdout,), daemon=True)
            self._listener.start()
        if blocking:
            try:
                self.process.wait()
            finally:
                self.stop()
        return self

    def get_client(self, **options: Any) -> HTTPClient:
        """A client of the server, once that is ready.

        Args:
            options: of `bentoml.client.HTTPClient.from_url`. Without any it is always the same client, which `stop`
                closes.

        Raises:
            ServerStateException: it was not started, has ended, or does not become ready in time; has its output.
        """
        if not options and self._client is not None:
            return self._client
        is_shared = not options
        if self._certificate:
            options.setdefault("verify", _trusting(str(self._certificate)))
        self._wait_until_ready(options)
        client = HTTPClient.from_url(self.url, **options)
        if is_shared:
            self._client = client
        return client

    def _wait_until_ready(self, options: Mapping[str, Any]) -> None:
        deadline_s = time.monotonic() + self.timeout
        settings = {name: options[name] for name in ("api_key", "headers", "verify") if name in options}
        while True:
            if self.process is None:
                raise ServerStateException("the server was not started; call start() first")
            if self.process.poll() is not None:
                self._finish()
                raise ServerStateException(self._with_output(f"the server {describe_exit(self.process.returncode)}"))
            try:
                HTTPClient.wait_until_server_ready(
                    url=self.url, timeout=PATIENCE_S, check_interval=LOOK_INTERVAL_S, **settings
                )
                break
            except TimeoutError as error:
                if time.monotonic() + PATIENCE_S > deadline_s:
                    text = f"the server at {self.url} did not become ready in {self.timeout:g} s"
                    raise ServerStateException(self._with_output(text)) from error
        self._release()

    def _with_output(self, message: str) -> str:
        return f"{message}; it said:\n{self.output.rstrip()}" if self.output else message

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL if it does not end in 5 seconds. Nothing happens where none is running."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._finish()

    def _finish(self) -> None:
        """What is left to do once the process has ended."""
        atexit.unregister(self.stop)
        self._release()
        if self._listener is not None:
            # A process that a worker has started may hold the other end of the pipe for longer.
            self._listener.join(1.0)
            self._listener = None

    def _release(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def __enter__(self) -> HTTPClient:
        if self.process is None or self.process.poll() is not None:
            self.start()
        try:
            return self.get_client()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _reserve(host: str) -> socket.socket:
    """A socket on a free port, which no other process gets until it is closed, but one that asks for it by number.

    Linux lets two sockets have one port if both say SO_REUSEADDR and none listens yet, and gives neither's port to
    who asks for any: so the server can bind the port that was found for it, and nobody can come between.

    Raises:
        BentoMLException: the host is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, 0))
    except OSError as error:
        sock.close()
        raise BentoMLException(f"no port of {host!r} can be had: {error.strerror}", hint="host='127.0.0.1'") from error
    return sock


def _trusting(certificate: str) -> Any:
    """A TLS context that believes this one certificate, whatever name the server is reached by."""
    import ssl

    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
