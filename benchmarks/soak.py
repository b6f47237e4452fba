"""A million requests with ids while workers are killed at random: every answer its own, none hangs, memory stays flat.

Usage: python benchmarks/soak.py [--requests 1000000] [--connections 64] [--kill-every 5] [--placement worker_process]

Prints what became of the requests; exits with 1 when one got another's answer, hung, or the server did not recover.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from system import HERE

#: No request may take longer, in seconds, whatever happens to the process that has it.
HANG_S = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds; 0 kills nobody")
    parser.add_argument("--placement", default="worker_process", choices=["in_process", "worker_process"])
    options = parser.parse_args()
    command = [
        str(Path(sys.executable).parent / "bentoml"), "serve", "service_echo:svc", "--port", "0", "--api-workers", "2",
    ]  # fmt: skip
    settings = f"runners.placement={options.placement} api_server.logging.access.enabled=false"
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                command,
                cwd=HERE / "systems",
                env={**os.environ, "BENTOML_HOME": home, "BENTOML_CONFIG_OPTIONS": settings},
                stdout=out,
                stderr=out,
            )
        try:
            port = wait_for_port(server, log)
            outcome = asyncio.run(soak(server, port, options))
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
        deaths = log.read_text().count("was killed by SIGKILL")
    print(f"{dict(outcome)}; {deaths} deaths in the log; the server ended with code {code}")
    sys.exit(1 if outcome["wrong"] or outcome["hung"] or code else 0)


def wait_for_port(server: subprocess.Popen[bytes], log: Path) -> int:
    """The port that the server chose, once it is ready."""
    for _ in range(600):
        text = log.read_text()
        if "open http://localhost:" in text:
            return int(text.rpartition("open http://localhost:")[2].split()[0])
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


async def soak(server: subprocess.Popen[bytes], port: int, options: argparse.Namespace) -> collections.Counter[str]:
    outcome: collections.Counter[str] = collections.Counter()
    numbers = iter(range(options.requests))
    killer = asyncio.create_task(kill_at_random(server, options.kill_every)) if options.kill_every else None
    progress = asyncio.create_task(show(outcome, options.requests, server))
    await asyncio.gather(*[client(port, numbers, outcome) for _ in range(options.connections)])
    for task in (killer, progress):
        if task is not None:
            task.cancel()
    return outcome


async def client(port: int, numbers, outcome: collections.Counter[str]) -> None:
    """One connection at a time; each request is either answered right, refused with 503, or cut with its worker."""
    reader = writer = None
    for number in numbers:
        try:
            if writer is None:
                reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), HANG_S)
            body = b'{"id":%d}' % number
            writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            status, own_id, answer = await asyncio.wait_for(read_answer(reader), HANG_S)
        except TimeoutError:
            outcome["hung"] += 1
            writer = None
            continue
        except (OSError, asyncio.IncompleteReadError):
            outcome["cut"] += 1
            writer = None
            await asyncio.sleep(0.01)
            continue
        if status == 200:
            right = json.loads(answer) == {"id": number, "doubled": 2 * number} and own_id == number
            outcome["right" if right else "wrong"] += 1
        else:
            outcome[str(status)] += 1
            await asyncio.sleep(0.01)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, int | None, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines[1:] if line)
    body = await reader.readexactly(int(fields[b"content-length"]))
    own = fields.get(b"x-own-id")
    return int(lines[0].split()[1]), int(own) if own is not None else None, body


async def kill_at_random(server: subprocess.Popen[bytes], every_s: float) -> None:
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * every_s)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        if children:
            os.kill(int(random.choice(children)), signal.SIGKILL)


async def show(outcome: collections.Counter[str], total: int, server: subprocess.Popen[bytes]) -> None:
    while True:
        await asyncio.sleep(10)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        memory = sum(rss_bytes(int(pid)) for pid in [server.pid, *map(int, children)]) / 2**20
        print(f"{sum(outcome.values()):,}/{total:,} {dict(outcome)} resident {memory:.0f} MiB", flush=True)


def rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    main()
