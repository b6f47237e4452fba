"""One worker as its supervisor sees it: started, talked to, waited for, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from bentoml._process import ProcessSpec
from bentoml.server.control import (
    Channel,
    Deploy,
    Deployed,
    Described,
    Failed,
    FromWorker,
    Go,
    Ready,
    Settled,
    Start,
    Stop,
)

__all__ = ["Child"]

#: The module that each kind of worker runs.
_MODULES = {"api_server": "bentoml.server.api_worker", "runner": "bentoml.server.runner_worker"}


#: OpenMP threads that have nothing to do sleep instead of spinning: on a busy machine a spinning one keeps the thread
#: that it waits for from running, and a call of a millisecond takes seconds.
QUIET_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


class Child:
    """A child process and its control channel.

    Attributes:
        failed: why it could not start, once it has said so.
        ready_at: when it became ready, of the monotonic clock; None before.
        restarting: its end is wanted, and a successor follows at once.
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.failed: Failed | None = None
        self.ready_at: float | None = None
        self.restarting = False
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 before it is started."""
        return self._process.pid if self._process is not None else 0

    async def start(self, message: Start, inherited_fds: Sequence[int]) -> None:
        """Start the process and send it its first message."""
        ours, theirs = socket.socketpair()
        with theirs:
            # The name stands behind the arguments that matter, so that `ps` shows who is who.
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULES[self.spec.kind], str(theirs.fileno()), self.spec.name],
                pass_fds=[theirs.fileno(), *inherited_fds],
                env={**QUIET_WAITING, **os.environ, **self.spec.environment},
                stdin=subprocess.DEVNULL,
            )
        self._channel = Channel(ours, FromWorker)
        await self._channel.open()
        self._channel.send(message)

    async def described(self) -> Described | None:
        """Its description of the service; None if it ended or failed before."""
        message = await self._receive()
        return message if isinstance(message, Described) else None

    async def deploy(self) -> bool:
        """Let it run the deployment hooks; False if it ended or failed before they were done."""
        assert self._channel is not None
        self._channel.send(Deploy())
        return isinstance(await self._receive(), Deployed)

    async def become_ready(self, go: Go) -> bool:
        """Let it load its models and take requests; False if it ended or failed before."""
        assert self._channel is not None
        self._channel.send(go)
        ready = isinstance(await self._receive(), Ready)
        if ready:
            self.ready_at = time.monotonic()
        return ready

    async def _receive(self) -> FromWorker | None:
        assert self._channel is not None
        message: FromWorker | None = await self._channel.receive()
        if isinstance(message, Failed):
            self.failed = message
        return message

    async def ended(self) -> int:
        """Wait for its end; the return code, negative for a signal."""
        process = self._process
        assert process is not None
        while (code := process.poll()) is None:
            await _exit_notice(process.pid)
        if self._channel is not None:
            await self._channel.close()
        return code

    def settle(self) -> None:
        """Tell it that all workers are ready."""
        if self._channel is not None:
            self._channel.send(Settled())

    def stop(self, *, succeeded: bool) -> None:
        """Ask it to finish what it has and end; one that has not begun yet ends at once."""
        if self._channel is not None:
            self._channel.send(Stop(succeeded=succeeded))
        # A worker that takes requests ignores the signal, and one that does not yet is not listening.
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


async def _exit_notice(pid: int) -> None:
    """Return when a child may have ended: at once where the kernel can tell, else after a short wait."""
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or it has just ended
        await asyncio.sleep(0.05)
        return
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def notice() -> None:
        if not done.done():
            done.set_result(None)

    loop.add_reader(fd, notice)
    try:
        await done
    finally:
        loop.remove_reader(fd)
        os.close(fd)
