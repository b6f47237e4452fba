"""The supervisor: binds the port once, plans, starts the workers, says what runs where, drains on SIGTERM.

bind ─► API workers import the service ─► the first describes it ─► plan ─► runner workers ready ─► Go ─► announce
                    │ fails: say why, exit 1
SIGTERM, SIGINT ─► API workers drain ─► runner workers end ─► exit 0         SIGINT again: SIGKILL
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bentoml import _metrics
from bentoml._process import ProcessSpec
from bentoml._resources import whole_cpus
from bentoml.config import ApiServer, LoadedConfig, home
from bentoml.exceptions import BentoMLException
from bentoml.server.child import Child
from bentoml.server.control import Described, Go, Start
from bentoml.server.crew import Crew
from bentoml.server.plan import Plan, api_worker_specs, make_plan
from bentoml.server.reload import changes
from bentoml.server.sockets import UnixSocket, bind, bind_unix
from bentoml.server.tls import server_context

__all__ = ["ServeOptions", "serve"]

logger = logging.getLogger("bentoml")


#: Wrappers (make, timeout, a shell) send a signal once more, to the whole process group; no hand is that fast.
SAME_SIGNAL_S = 0.5


class ServeOptions(NamedTuple):
    """What `bentoml serve` was asked for.

    Attributes:
        identifier: as given by the user.
        development: one API worker.
        reload: restart the workers when a file of the working directory changes.
        name: how the log calls what is served; by default the identifier.
    """

    identifier: str
    working_dir: str | None
    loaded: LoadedConfig
    development: bool = False
    reload: bool = False
    name: str = ""


def serve(options: ServeOptions) -> int:
    """Serve until SIGTERM or SIGINT; the exit code.

    Raises:
        BentoMLException: the port is taken, or the service cannot be started; says why.
    """
    server = options.loaded.config.api_server
    # The workers make their own of it; here it is made to hear now, and once, what is wrong with its files.
    server_context(server.ssl)
    door = _open_door(server)
    # Made with mode 0700: nobody else may reach the runners' sockets or read the metrics.
    run_dir = tempfile.mkdtemp(prefix="bentoml-")
    try:
        return asyncio.run(_Supervisor(options, door, Path(run_dir)).run())
    finally:
        door.close()
        shutil.rmtree(run_dir, ignore_errors=True)


class _Door(NamedTuple):
    """The socket that clients come to, and what they type to get there.

    Attributes:
        file: of a unix socket.
        url: as it is bound.
        local_url: as it is reached from this machine; where it is a unix socket, the name of its file.
    """

    sock: socket.socket
    file: UnixSocket | None
    url: str
    local_url: str

    def close(self) -> None:
        """Let nobody new in; who waits is left to those who have the socket as well."""
        if self.file is not None:
            self.file.remove()
        self.sock.close()


def _open_door(server: ApiServer) -> _Door:
    http = server.http
    scheme = "https" if server.ssl.is_on else "http"
    if http.unix_socket is not None:
        file = bind_unix(http.unix_socket, backlog=server.backlog)
        return _Door(file.sock, file, f"{scheme}+unix:{file.path}", f"{scheme}+unix:{file.path}")
    sock = bind(http.host, http.port, backlog=server.backlog)
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    local = "localhost" if host in ("0.0.0.0", "::") else shown
    return _Door(sock, None, f"{scheme}://{shown}:{port}", f"{scheme}://{local}:{port}")


class _Supervisor:
    def __init__(self, options: ServeOptions, door: _Door, run_dir: Path) -> None:
        self.options = options
        self.config = options.loaded.config
        self.door = door
        self.metrics_dir = run_dir / "metrics"
        self.metrics_dir.mkdir()
        _metrics.use(self.metrics_dir)
        self.run_dir = run_dir
        self.started_s = time.monotonic()
        self.stopping = asyncio.Event()
        self.asked_at_s = 0.0
        self.cause: BentoMLException | None = None
        self.api_specs = api_worker_specs(
            workers=1 if options.development else self.config.api_server.workers or whole_cpus(),
            cpus=whole_cpus(),
            development=options.development,
            environment=os.environ,
        )
        self.plan: Plan | None = None
        self.planning = asyncio.Lock()
        self.runner_sockets: dict[str, socket.socket] = {}
        self.runners_ready = asyncio.Event()
        self.crew = Crew(
            start_message=self._start_message,
            inherited_fds=lambda spec: [self._listening_socket(spec).fileno()],
            bring_up=self._bring_up,
            on_give_up=self._give_up,
            metrics_dir=self.metrics_dir,
            patient=options.reload,
        )

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        self.crew.add(self.api_specs)
        reloading = asyncio.create_task(self._reload_on_change()) if self.options.reload else None
        await self.stopping.wait()
        # Not a moment later than the workers: while it is open here, clients that nobody accepts would wait for ever.
        self.door.close()
        grace_s = self.config.api_server.shutdown_grace
        # The runners last, as the requests in flight still need them.
        clean = [await self.crew.stop("api_server", grace_s), await self.crew.stop("runner", grace_s)]
        if reloading is not None:
            reloading.cancel()
        await self.crew.disband()
        for sock in self.runner_sockets.values():
            sock.close()
        if self.cause is not None:
            raise self.cause
        return 0 if all(clean) else 1

    async def _reload_on_change(self) -> None:
        named = Path(self.options.identifier).expanduser()
        folders = [Path(self.options.working_dir or (named if named.is_dir() else ".")), home() / "models"]
        async for files in changes(folders, self.stopping):
            logger.info("%s changed: reloading", ", ".join(os.path.relpath(file) for file in files[:3]))
            self.crew.restart()

    # -- bringing workers up ------------------------------------------------------------------------------------------

    def _listening_socket(self, spec: ProcessSpec) -> socket.socket:
        return self.runner_sockets[spec.name] if spec.kind == "runner" else self.door.sock

    def _start_message(self, spec: ProcessSpec) -> Start:
        loaded = self.options.loaded
        return Start(
            name=spec.name,
            index=spec.index,
            identifier=self.options.identifier,
            working_dir=self.options.working_dir,
            config=loaded.tree,
            origins=loaded.origins,
            listen_fd=self._listening_socket(spec).fileno(),
            metrics_dir=str(self.metrics_dir),
            log_level=logger.level,
            runner=spec.runner,
        )

    async def _bring_up(self, child: Child) -> None:
        description = await child.described()
        if description is None:
            return
        if child.spec.kind == "runner":
            if await child.become_ready(Go()):
                self._say_it_is_back(child)
                if self.plan is not None and self.crew.ready(self.plan.runner_specs):
                    self.runners_ready.set()
            return
        async with self.planning:
            if self.plan is None:
                # First of all, as the models may be what the hooks fetch. If one failed the server is about to end.
                if description.has_deployment_hooks and (self.crew.failed or not await child.deploy()):
                    return
                self._start_runners(description)
        await self.runners_ready.wait()
        sockets: dict[str, list[str]] = {}
        for spec in self.plan.runner_specs if self.plan is not None else ():
            sockets.setdefault(spec.runner, []).append(self._socket_path(spec))
        if not await child.become_ready(Go(sockets=sockets, settled=self.crew.settled)) or self.stopping.is_set():
            return
        self._say_it_is_back(child)
        if not self.crew.settled and self.crew.ready(self.api_specs):
            self.crew.settle(self.api_specs)
            self._announce()

    def _start_runners(self, description: Described) -> None:
        loaded = self.options.loaded
        self.plan = make_plan(
            description.runners,
            {facts.name: loaded.runner(facts.name) for facts in description.runners},
            api_workers=len(self.api_specs),
            development=self.options.development,
        )
        for name in loaded.unknown_runners([facts.name for facts in description.runners]):
            logger.warning("the configuration has a section for the runner %s, which this service does not have", name)
        for line in self.plan.lines(description, self.api_specs):
            logger.info("%s", line)
        for spec in self.plan.runner_specs:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(self._socket_path(spec))
            sock.listen(128)
            self.runner_sockets[spec.name] = sock
        if not self.plan.runner_specs:
            self.runners_ready.set()
        self.crew.add(self.plan.runner_specs)

    def _socket_path(self, spec: ProcessSpec) -> str:
        """A short name, as the path of a unix socket may have 107 bytes and a runner's name 63."""
        assert self.plan is not None
        return str(self.run_dir / f"runner-{self.plan.runner_specs.index(spec)}")

    # -- what a human sees --------------------------------------------------------------------------------------------

    def _say_it_is_back(self, child: Child) -> None:
        if self.crew.settled:
            logger.info("%s (pid %d) is ready again", child.spec.name, child.pid)

    def _announce(self) -> None:
        door, name = self.door, self.options.name or self.options.identifier
        if self.config.api_server.metrics.enabled:
            logger.info(
                'Prometheus metrics for HTTP BentoServer from "%s" can be accessed at %s/metrics.',
                name,
                door.local_url,
            )
        logger.info(
            'Starting %s HTTP BentoServer from "%s" running on %s (Press CTRL+C to quit)',
            "development" if self.options.development else "production",
            name,
            door.url,
        )
        logger.info("ready after %.1f s; open %s", time.monotonic() - self.started_s, door.local_url)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _on_signal(self, number: signal.Signals) -> None:
        if not self.stopping.is_set():
            logger.info("stopping: finishing the requests in flight (Ctrl-C again: stop at once)")
            self.asked_at_s = time.monotonic()
            self.stopping.set()
        elif number is signal.SIGINT and time.monotonic() - self.asked_at_s > SAME_SIGNAL_S:
            logger.warning("stopping at once: requests in flight are lost")
            self.crew.kill()

    def _give_up(self, cause: BentoMLException, details: str) -> None:
        if details:
            logger.debug("%s", details)
        if self.cause is None:
            self.cause = cause
        self.stopping.set()
