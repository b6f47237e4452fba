"""Loads each system with the same requests, one after the other in interleaved rounds, and writes a table and a plot.

Usage: python benchmarks/run.py [--systems a,b] [--rounds 3] [--seconds 5] [--connections 1,16,64,256] [--work DIR]

Needs wrk and h2load on the PATH (Debian: `apt-get install wrk nghttp2-client`). Each peer gets an environment of its
own under --work, from requirements/. wrk gives requests/s; percentiles come from h2load, which records every request.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import Sample, load_requests, percentiles, wrk
from system import SYSTEMS, Running, prepare

HERE = Path(__file__).resolve().parent


def main() -> None:
    options = arguments()
    work = Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    rows = export_rows(work)
    names = options.systems.split(",") if options.systems else list(SYSTEMS)
    connections = [int(count) for count in options.connections.split(",")]
    for name in names:
        prepare(SYSTEMS[name], work, rows)
    requests = load_requests(rows, work)

    samples: dict[str, dict[str, list[Sample]]] = {name: {} for name in names}
    starts: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, list[int]] = {name: [] for name in names}
    for number in range(1, options.rounds + 1):
        for name in names:
            print(f"round {number}/{options.rounds}: {name}", flush=True)
            with Running(SYSTEMS[name], work) as system:
                starts[name].append(system.cold_start_s)
                system.check_answers(rows)
                wrk(system, requests, connections=16, seconds=2)
                for count in connections:
                    sample = wrk(system, requests, connections=count, seconds=options.seconds)
                    sample.p50_ms, sample.p99_ms = percentiles(
                        system, requests, connections=count, seconds=options.seconds
                    )
                    samples[name].setdefault(str(count), []).append(sample)
                memory[name].append(system.memory_bytes())
        # After each round, so that a run that is cut short has shown something.
        results = summary(samples, starts, memory)
        target = HERE / "results" / f"{options.name}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(results, indent=2) + "\n")
        print(f"{table(results)}\nwritten to {target.relative_to(HERE.parent)}", flush=True)


def summary(
    samples: dict[str, dict[str, list[Sample]]], starts: dict[str, list[float]], memory: dict[str, list[int]]
) -> dict[str, object]:
    """The medians over the rounds so far."""
    return {
        "machine": machine(),
        "systems": {
            name: {
                "cold_start_s": statistics.median(starts[name]),
                "memory_mib": round(statistics.median(memory[name]) / 2**20),
                "load": {count: Sample.median(taken).as_dict() for count, taken in load.items()},
            }
            for name, load in samples.items()
        },
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", help=f"of {', '.join(SYSTEMS)}; default all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", default="1,16,64,256")
    parser.add_argument("--work", default=str(HERE / ".work"))
    parser.add_argument("--name", default="latest", help="name of the file of results")
    return parser.parse_args()


def export_rows(work: Path) -> Path:
    """The data set as JSON, so that no peer's environment needs more than its model."""
    target = work / "rows.json"
    if not target.exists():
        sys.path.insert(0, str(HERE.parent / "examples" / "credit_risk"))
        from data import load

        target.write_text(json.dumps(load()))
    return target


def machine() -> dict[str, object]:
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "wrk": subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split("\n")[0],
    }


def table(results: dict) -> str:
    lines = [
        "| system | connections | requests/s | p50 ms | p99 ms | errors | CPU s / 1,000 | memory MiB | cold start s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, system in results["systems"].items():
        for count, sample in system["load"].items():
            lines.append(
                f"| {name} | {count} | {sample['requests_per_s']:,.0f} | {sample['p50_ms']:.2f} "
                f"| {sample['p99_ms']:.2f} | {sample['errors']} | {sample['cpu_s_per_1000']:.3f} "
                f"| {system['memory_mib']} | {system['cold_start_s']:.1f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
