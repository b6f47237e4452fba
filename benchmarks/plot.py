"""Draws the pictures of the docs from the files in results/.

Usage: python benchmarks/plot.py    (writes docs/images/benchmark.svg and docs/images/batching.svg)
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "docs" / "images"
plt.rcParams.update({"font.size": 9, "svg.hashsalt": "bentoml", "axes.spines.top": False, "axes.spines.right": False})


def benchmark() -> None:
    """Requests/s and p99 of every system against connections."""
    results = json.loads((HERE / "results" / "latest.json").read_text())
    figure, (rates, tails) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, system in results["systems"].items():
        counts = [int(count) for count in system["load"]]
        style = {"marker": "o", "markersize": 4, "linewidth": 2 if name.startswith("makunouchi") else 1.2}
        if not name.startswith("makunouchi"):
            style["linestyle"] = "--"
        rates.plot(counts, [load["requests_per_s"] for load in system["load"].values()], label=name, **style)
        tails.plot(counts, [load["p99_ms"] for load in system["load"].values()], label=name, **style)
    for axes, label in ((rates, "requests/s"), (tails, "p99 in ms")):
        axes.set(xscale="log", yscale="log", xlabel="connections", ylabel=label)
        axes.set_xticks([1, 16, 64, 256], ["1", "16", "64", "256"])
        axes.grid(alpha=0.3)
    rates.legend(fontsize=7)
    figure.savefig(IMAGES / "benchmark.svg", metadata={"Date": None})


def batching() -> None:
    """Batch size and latency against load, with and without patience."""
    results = json.loads((HERE / "results" / "batching.json").read_text())
    figure, (sizes, times) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, points in results["series"].items():
        counts = [point["connections"] for point in points]
        sizes.plot(counts, [point["batch_rows"] for point in points], marker="o", markersize=4, label=name)
        (line,) = times.plot(
            counts, [point["p50_ms"] for point in points], marker="o", markersize=4, label=f"{name}, p50"
        )
        times.plot(
            counts, [point["p99_ms"] for point in points], color=line.get_color(), linestyle=":", label=f"{name}, p99"
        )
    for axes, label in ((sizes, "rows in a batch, mean"), (times, "latency in ms")):
        axes.set(xscale="log", yscale="log", xlabel="connections", ylabel=label)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(IMAGES / "batching.svg", metadata={"Date": None})


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    for draw in (benchmark, batching):
        try:
            draw()
        except FileNotFoundError as error:
            print(f"left out {draw.__name__}: {error.filename} is not there")
