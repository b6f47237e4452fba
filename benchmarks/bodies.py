"""How long each format of a body takes to read and to write: 1,000 rows of 50 floats, as a Markdown table.

python benchmarks/bodies.py
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from bentoml._http import Request
from bentoml.io import NumpyNdarray, PandasDataFrame

ROWS, COLUMNS = 1_000, 50
#: Of so many runs the fastest counts: the others show what else the machine was doing.
RUNS = 30


def fastest_ms(function: Callable[[], Any]) -> float:
    times_s = []
    for _ in range(RUNS):
        started_s = time.perf_counter()
        function()
        times_s.append(time.perf_counter() - started_s)
    return 1000 * min(times_s)


def measured(name: str, descriptor: Any, value: Any, content_type: str) -> str:
    """One row of the table: what the descriptor writes, it reads."""
    accept = content_type.encode()
    body = descriptor.to_http_response(value, None, accept=accept).body
    request = Request(body=body, raw_headers=[(b"content-type", accept)])
    write_ms = fastest_ms(lambda: descriptor.to_http_response(value, None, accept=accept))
    return row(name, fastest_ms(lambda: descriptor.from_http_request(request)), write_ms, len(body))


def row(name: str, read_ms: float, write_ms: float, size: int) -> str:
    return f"| {name} | {read_ms:.2f} | {write_ms:.2f} | {read_ms + write_ms:.2f} | {size / 1000:,.0f} |"


def main() -> None:
    array = np.random.default_rng(0).normal(size=(ROWS, COLUMNS))
    frame = pd.DataFrame(array, columns=[f"feature_{number}" for number in range(COLUMNS)])
    print("| descriptor, format | read ms | write ms | both ms | kB |\n| --- | ---: | ---: | ---: | ---: |")
    print(measured("`NumpyNdarray`, JSON", NumpyNdarray("float64"), array, "application/json"))
    print(measured("`NumpyNdarray`, .npy", NumpyNdarray("float64"), array, "application/x-npy"))
    for orient in ("records", "split", "values"):
        descriptor = PandasDataFrame(orient, dtype="float64")
        print(measured(f"`PandasDataFrame`, JSON {orient}", descriptor, frame, "application/json"))
    text = frame.to_json(orient="records")
    read_ms = fastest_ms(lambda: pd.read_json(io.StringIO(text), orient="records"))
    print(row("pandas alone, JSON records", read_ms, fastest_ms(lambda: frame.to_json(orient="records")), len(text)))
    descriptor = PandasDataFrame(dtype="float64")
    for name, content_type in (
        ("CSV", "text/csv"),
        ("Parquet", "application/octet-stream"),
        ("Arrow stream", "application/vnd.apache.arrow.stream"),
    ):
        print(measured(f"`PandasDataFrame`, {name}", descriptor, frame, content_type))


if __name__ == "__main__":
    main()
