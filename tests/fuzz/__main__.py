"""A server with one API for each descriptor gets mutated requests until the time is over or an answer is a 5xx.

    python -m tests.fuzz --minutes 60
    python -m tests.fuzz --url http://localhost:3000 --minutes 5 --seed 7
    python -m tests.fuzz --replay failed-request.bin --url http://localhost:3000

A request that was answered with 5xx, or not at all, is saved as it stood on the wire.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests._server import serving
from tests.fuzz.mutation import CONTENT_TYPES, mutated, seeds

SERVICE = Path(__file__).parents[1] / "services" / "descriptors"
FAILED = Path("failed-request.bin")
#: No request of this size takes so long; one that does has hung.
PATIENCE_S = 30.0
#: Bodies that a route has taken and that are mutated further: so many, none larger.
KEPT, KEPT_BYTES = 100, 5000
REPORT_INTERVAL_S = 60.0


class Fuzzer:
    """What the threads share: counts, and whether to go on."""

    def __init__(self, host: str, port: int, routes: list[str], seed: int) -> None:
        self.address = (host, port)
        self.routes = routes
        self.seed = seed
        self.pool = seeds()
        self.counts: Counter[tuple[str, int]] = Counter()
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def run(self, number: int, deadline_s: float) -> None:
        """Send requests over one connection after the other, each for as many requests as the server lets it live."""
        chance = random.Random(f"{self.seed}.{number}")
        connection: socket.socket | None = None
        counts: Counter[tuple[str, int]] = Counter()
        taken: dict[str, list[tuple[bytes, bytes]]] = {route: [] for route in self.routes}
        while not self.stop.is_set() and time.monotonic() < deadline_s:
            route = chance.choice(self.routes)
            # What was taken once is a better seed than what is of another format.
            content_type, body = chance.choice(taken[route] or [(b"", b"")]) if chance.random() < 0.6 else (b"", b"")
            body = mutated(chance, [body] if body else self.pool, self.pool)
            content_type = content_type if body and chance.random() < 0.8 else chance.choice(CONTENT_TYPES)
            sent = request_of(chance, route, content_type, body)
            try:
                if connection is None:
                    connection = socket.create_connection(self.address, PATIENCE_S)
                connection.sendall(sent)
                status, goes_on = answer_on(connection)
            except (OSError, http.client.HTTPException) as error:
                self._failed(sent, f"{route}: no answer: {error!r}")
                return
            counts[route, status] += 1
            if status >= 500:
                self._failed(sent, f"{route} answered {status}")
            elif status < 300 and len(body) < KEPT_BYTES:
                kept = taken[route]
                kept.append((content_type, body))
                if len(kept) > KEPT:
                    kept.pop(chance.randrange(len(kept)))
            if not goes_on:
                connection.close()
                connection = None
            if sum(counts.values()) >= 200:
                self._add(counts)
        self._add(counts)
        if connection is not None:
            connection.close()

    def _add(self, counts: Counter[tuple[str, int]]) -> None:
        with self._lock:
            self.counts.update(counts)
        counts.clear()

    def _failed(self, request: bytes, reason: str) -> None:
        with self._lock:
            if not self.stop.is_set():
                FAILED.write_bytes(request)
                print(f"\n{reason}; the request is in {FAILED}", flush=True)
            self.stop.set()


def request_of(chance: random.Random, route: str, content_type: bytes, body: bytes) -> bytes:
    """A request, as it stands on the wire, of which head and framing are right."""
    fields = [b"host: fuzz", b"content-length: %d" % len(body)]
    if content_type:
        fields.append(b"content-type: " + content_type)
    if chance.random() < 0.2:
        fields.append(b"accept: " + chance.choice(CONTENT_TYPES))
    if chance.random() < 0.1:
        name = chance.choice((b"content-encoding", b"traceparent", b"content-disposition", b"x-fuzz", b"cookie"))
        noise = bytes(byte for byte in chance.randbytes(20) if byte >= 32 and byte != 127)
        fields.append(name + b": " + chance.choice((b"gzip", b"00-0-0-0", noise)))
    return b"POST %b HTTP/1.1\r\n%b\r\n\r\n%b" % (route.encode(), b"\r\n".join(fields), body)


def answer_on(connection: socket.socket) -> tuple[int, bool]:
    """Status of the next answer, and whether the connection can be used again."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status, not response.will_close


def routes_of(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/docs.json") as answer:
        return [path for path, item in json.load(answer)["paths"].items() if "post" in item]


@contextlib.contextmanager
def server(url: str) -> Iterator[str]:
    """The server named, else one of our own."""
    if url:
        yield url.rstrip("/")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = {"BENTOML_CONFIG_OPTIONS": "api_server.logging.access.enabled=false"}
        arguments = ("service:svc", "--working-dir", str(SERVICE), "--api-workers", "1")
        with serving(*arguments, folder=folder, home=folder / "home", extra=options) as ours:
            try:
                yield f"http://127.0.0.1:{ours.port}"
            finally:
                print("".join(line for line in ours.log.splitlines(keepends=True) if "INFO" not in line)[-5000:])


def table(counts: Counter[tuple[str, int]]) -> str:
    """Requests by route and status."""
    statuses = sorted({status for _, status in counts})
    rows = [["route", *map(str, statuses), "all"]]
    for route in [*sorted({route for route, _ in counts}), ""]:
        found = [sum(n for (r, s), n in counts.items() if s == status and route in ("", r)) for status in statuses]
        rows.append([route or "all", *(f"{n:,}" for n in found), f"{sum(found):,}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--url", default="", help="a server that runs; default: one of its own")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a run")
    parser.add_argument("--replay", type=Path, help="send this request and print the answer")
    given = parser.parse_args()
    with server(given.url) as url:
        host, port = urlsplit(url).hostname or "localhost", urlsplit(url).port or 80
        if given.replay:
            with socket.create_connection((host, port), PATIENCE_S) as connection:
                connection.sendall(given.replay.read_bytes())
                response = http.client.HTTPResponse(connection)
                response.begin()
                print(response.status, response.reason, response.read()[:2000])
            return 0
        fuzzer = Fuzzer(host, port, routes_of(url), given.seed)
        deadline_s = time.monotonic() + given.minutes * 60
        threads = [threading.Thread(target=fuzzer.run, args=(n, deadline_s)) for n in range(given.connections)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(REPORT_INTERVAL_S)
            print(f"{sum(fuzzer.counts.values()):,} requests", file=sys.stderr, flush=True)
            for thread in threads if time.monotonic() > deadline_s or fuzzer.stop.is_set() else ():
                thread.join()
    print(f"seed {given.seed}\n{table(fuzzer.counts)}")
    return 1 if fuzzer.stop.is_set() else 0


if __name__ == "__main__":
    sys.exit(main())
