"""Load on a running system: wrk for requests per second and CPU, h2load for the time of every single request."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from system import Running

#: Different applications in one run, so that no cache of one answer can help.
BODIES = 500


@dataclass
class Sample:
    """One run at one number of connections."""

    requests_per_s: float
    errors: int
    cpu_s_per_1000: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def median(cls, samples: list[Sample]) -> Sample:
        """Field by field; errors are added up."""
        middle = {
            name: statistics.median(getattr(sample, name) for sample in samples)
            for name in ("requests_per_s", "cpu_s_per_1000", "p50_ms", "p99_ms")
        }
        return cls(errors=sum(sample.errors for sample in samples), **middle)


@dataclass(frozen=True)
class Requests:
    """The same requests in the form that each load generator reads."""

    script: Path
    body: Path


def load_requests(rows: Path, work: Path) -> Requests:
    """Write the requests."""
    bodies = [json.dumps(row) for row in json.loads(rows.read_text())[0][:BODIES]]
    script = work / "requests.lua"
    lines = ["local bodies = {", *(f"  [=[{body}]=]," for body in bodies), "}", "local i = math.random(#bodies)"]
    lines += [
        'local headers = {["content-type"] = "application/json"}',
        "request = function()",
        "  i = i % #bodies + 1",
        '  return wrk.format("POST", "/classify", headers, bodies[i])',
        "end",
    ]
    script.write_text("\n".join(lines))
    body = work / "body.json"
    body.write_text(bodies[0])
    return Requests(script, body)


def wrk(system: Running, requests: Requests, *, connections: int, seconds: float) -> Sample:
    """Requests per second, errors, and CPU seconds of the system for 1,000 requests."""
    before = system.cpu_s()
    output = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{round(seconds)}s",
            "-s",
            str(requests.script),
            f"http://127.0.0.1:{system.port}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    cpu_s = system.cpu_s() - before
    total = int(re.search(r"(\d+) requests in", output)[1])
    errors = sum(int(found) for found in re.findall(r"(?:connect|read|write|timeout) (\d+)", output))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    return Sample(rate, errors + (int(bad[1]) if bad else 0), cpu_s / max(1, total) * 1000)


def percentiles(system: Running, requests: Requests, *, connections: int, seconds: float) -> tuple[float, float]:
    """p50 and p99 in milliseconds, over the times of every single request."""
    log = requests.body.with_suffix(".times")
    log.unlink(missing_ok=True)
    subprocess.run(
        [
            "h2load", "--h1", "-t1", f"-c{connections}", f"-D{max(1, round(seconds))}", "--warm-up-time=1",
            "-H", "content-type: application/json", "-d", str(requests.body), f"--log-file={log}",
            f"http://127.0.0.1:{system.port}/classify",
        ],
        capture_output=True,
        check=True,
    )  # fmt: skip
    times_us = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    return times_us[len(times_us) // 2] / 1000, times_us[int(len(times_us) * 0.99)] / 1000
