"""The systems that are compared: how each is prepared, started, checked and stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CPUS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class System:
    """One system under load.

    Attributes:
        environment: name of the requirements file.
        command: after the environment's bin folder; `{port}` is replaced.
        variables: of its process.
    """

    name: str
    environment: str
    command: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)


def _own(service: str, **variables: str) -> tuple[str, tuple[str, ...], dict[str, str]]:
    return "makunouchi", ("bentoml", "serve", f"{service}:svc", "--production", "--port", "{port}"), dict(variables)


SYSTEMS = {
    system.name: system
    for system in (
        System("makunouchi", *_own("service_async")),
        System("makunouchi sync", *_own("service_sync")),
        System("makunouchi unbatched", *_own("service_unbatched")),
        System(
            "makunouchi worker process",
            *_own("service_async", BENTOML_CONFIG_OPTIONS="runners.placement=worker_process"),
        ),
        System("makunouchi vectorised", *_own("service_vectorised")),
        System(
            "FastAPI",
            "fastapi",
            ("uvicorn", "fastapi_app:app", "--workers=2", "--no-access-log", "--log-level=warning", "--port={port}"),
            {"OMP_NUM_THREADS": "1"},
        ),
        System(
            "BentoML 1.0.7",
            "bentoml-1.0.7",
            ("bentoml", "serve", "service_async:svc", "--production", "--port={port}"),
        ),
        System("mosec", "mosec", ("python", "mosec_app.py", "--port", "{port}"), {"OMP_NUM_THREADS": "1"}),
    )
}


def bin_folder(system: System, work: Path) -> Path:
    """Where the system's commands are."""
    return work / system.environment / "bin"


def folder_of(system: System, work: Path) -> Path:
    """The system's model and store."""
    return work / "models" / system.environment


def prepare(system: System, work: Path, rows: Path) -> None:
    """Make the environment and train the model in it; nothing where both are there."""
    commands, folder = bin_folder(system, work), folder_of(system, work)
    if not commands.exists():
        print(f"making the environment of {system.name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(commands.parent)], check=True)
        requirements = HERE / "requirements" / f"{system.environment}.txt"
        own = ["--editable", str(HERE.parent)] if system.environment == "makunouchi" else []
        subprocess.run([str(commands / "pip"), "install", "-q", "-r", str(requirements), *own], check=True)
    if not (folder / "expected.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [str(commands / "python"), str(HERE / "systems" / "prepare.py"), str(rows), str(folder)],
            check=True,
            env={**os.environ, "BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"},
        )


class Running:
    """A started system; leaving the block stops its whole process group.

    Attributes:
        cold_start_s: from the start of the command to the first answered request.
    """

    def __init__(self, system: System, work: Path) -> None:
        self.system = system
        self.work = work
        self.folder = folder_of(system, work)
        self.port = _free_port()
        self.cold_start_s = 0.0

    def __enter__(self) -> Running:
        system, commands = self.system, bin_folder(self.system, self.work)
        command = [part.replace("{port}", str(self.port)) for part in system.command]
        self.log = (self.work / "server.log").open("wb")
        started = time.monotonic()
        self.process = subprocess.Popen(
            [str(commands / command[0]), *command[1:]],
            cwd=HERE / "systems",
            env={
                **os.environ,
                "PATH": f"{commands}:{os.environ['PATH']}",
                "BENTOML_HOME": str(self.folder / "home"),
                "BENTOML_DO_NOT_TRACK": "True",
                "MODEL_FOLDER": str(self.folder),
                **system.variables,
            },
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        body = json.dumps(self._rows()[0])
        while True:
            if self.process.poll() is not None or time.monotonic() - started > 120:
                self.__exit__()
                raise RuntimeError(f"{system.name} did not start:\n{(self.work / 'server.log').read_text()[-3000:]}")
            try:
                if self.ask(body)[0] == 200:
                    break
            except OSError:
                time.sleep(0.02)
        self.cold_start_s = time.monotonic() - started
        return self

    def _rows(self) -> list[dict]:
        return json.loads((self.work / "rows.json").read_text())[0]

    def ask(self, body: str) -> tuple[int, bytes]:
        """Answer to one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", "/classify", body, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def check_answers(self, rows: Path, count: int = 200) -> None:
        """Compare with what the very model said when it was trained."""
        expected = json.loads((self.folder / "expected.json").read_text())
        for row, answer in list(zip(self._rows(), expected, strict=True))[:count]:
            status, body = self.ask(json.dumps(row))
            if status != 200 or json.loads(body) != {"Status": answer}:
                raise RuntimeError(f"{self.system.name} answered {status} {body!r}, expected {answer}")

    def pids(self) -> list[int]:
        """The process and all that descend from it."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    todo += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue
        return found

    def cpu_s(self) -> float:
        """User and system time of all its processes."""
        ticks = 0
        for pid in self.pids():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """Resident memory of all its processes, what they share counted once (PSS)."""
        total = 0
        for pid in self.pids():
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
            except OSError:
                continue
        return total

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(15)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.log.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
