"""How batches grow with load: batch size and latency at rising numbers of connections, with and without patience.

Usage: python benchmarks/batching.py [--seconds 3] [--work DIR]    (after run.py has prepared the work folder)
"""

from __future__ import annotations

import argparse
import json
import re
import urllib.request
from dataclasses import replace
from pathlib import Path

from measure import load_requests, percentiles, wrk
from run import export_rows, machine
from system import SYSTEMS, Running, prepare

HERE = Path(__file__).resolve().parent
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SETTINGS = {
    "no patience (the default)": "",
    "patience_ms: 5": "runners.batching.patience_ms=5",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--work", default=str(HERE / ".work"))
    options = parser.parse_args()
    work = Path(options.work).resolve()
    rows = export_rows(work)
    requests = load_requests(rows, work)
    series = {}
    for name, setting in SETTINGS.items():
        # One worker: with several, each forms batches of its own share of the connections.
        variables = {"BENTOML_CONFIG_OPTIONS": f"api_server.workers=1 {setting}".strip()}
        system = replace(SYSTEMS["makunouchi"], variables=variables)
        prepare(system, work, rows)
        points = series[name] = []
        with Running(system, work) as running:
            wrk(running, requests, connections=16, seconds=2)
            for count in CONNECTIONS:
                before = batches(running)
                sample = wrk(running, requests, connections=count, seconds=options.seconds)
                after = batches(running)
                p50_ms, p99_ms = percentiles(running, requests, connections=count, seconds=options.seconds)
                points.append(
                    {
                        "connections": count,
                        "requests_per_s": sample.requests_per_s,
                        "batch_rows": (after[0] - before[0]) / max(1, after[1] - before[1]),
                        "p50_ms": p50_ms,
                        "p99_ms": p99_ms,
                    }
                )
                print(f"{name}: {points[-1]}", flush=True)
    target = HERE / "results" / "batching.json"
    target.write_text(json.dumps({"machine": machine(), "series": series}, indent=2) + "\n")


def batches(system: Running) -> tuple[float, float]:
    """Rows and batches so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.port}/metrics") as answer:
        text = answer.read().decode()
    return tuple(
        sum(float(value) for value in re.findall(rf"^bentoml_runner_batch_rows_{part}{{.*}} (\S+)$", text, re.M))
        for part in ("sum", "count")
    )


if __name__ == "__main__":
    main()
