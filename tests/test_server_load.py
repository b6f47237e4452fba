"""A whole server under more load than it can bear, with clients that go away: in both placements of its model."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests._server import PATIENCE_S, Server, exchange, sample, serving, until

SERVICE = Path(__file__).parent / "services" / "load"
PLACEMENTS = ["in_process", "worker_process"]
#: Rows that may wait, and seconds that a call may take, waiting included.
QUEUE_ROWS, DEADLINE_S = 16, 1.0
MIB = 2**20


@contextlib.contextmanager
def load_server(folder: Path, options: str) -> Iterator[Server]:
    extra = {"BENTOML_CONFIG_OPTIONS": f"api_server.workers=1 runners.resources.cpu=1 {options}"}
    with serving("service:svc", "--working-dir", str(SERVICE), folder=folder, home=folder, extra=extra) as server:
        yield server


@pytest.fixture(scope="module", params=PLACEMENTS)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model with small batches, a short queue and a deadline."""
    options = (
        f"runners.placement={request.param} runners.batching.max_batch_size=4 "
        f"runners.batching.max_queue_rows={QUEUE_ROWS} runners.batching.max_latency_ms={DEADLINE_S * 1000}"
    )
    with load_server(tmp_path_factory.mktemp("small"), options) as server:
        yield server


@pytest.fixture(scope="module", params=PLACEMENTS)
def strict(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Half a second for each request, two at a time."""
    options = f"runners.placement={request.param} api_server.traffic.timeout=0.5 api_server.traffic.max_concurrency=2"
    with load_server(tmp_path_factory.mktemp("strict"), options) as server:
        yield server


def resident_bytes(server: Server) -> int:
    """The memory of all its workers."""
    return sum(worker.memory_info().rss for worker in server.workers("api_server") + server.workers("runner"))


def in_progress(server: Server, path: str) -> float:
    return sample(server, "bentoml_api_server_request_in_progress", endpoint=path)


def gone_clients(server: Server, path: str) -> float:
    return sample(server, "bentoml_api_server_request_total", endpoint=path, http_response_code="499")


# Overload: T21


class Storm(NamedTuple):
    """What clients saw that each sent the next request as soon as the one before was answered."""

    statuses: list[int]
    accepted_s: list[float]
    retry_after: set[str | None]
    wrong: list[bytes]


def storm(server: Server, path: str, *, clients: int, requests: int) -> Storm:
    """Each client sends so many requests."""
    seen = Storm([], [], set(), [])
    lock = threading.Lock()

    def client(number: int) -> None:
        with contextlib.closing(server.connect()) as connection:
            for each in range(requests):
                rows = [number * requests + each]
                began_s = time.monotonic()
                answer = exchange(connection, "POST", path, json.dumps(rows).encode())
                took_s = time.monotonic() - began_s
                with lock:
                    seen.statuses.append(answer.status)
                    if answer.status == 200:
                        seen.accepted_s.append(took_s)
                        if answer.value != rows:
                            seen.wrong.append(answer.body)
                    else:
                        seen.retry_after.add(answer.headers["retry-after"])

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return seen


def mean_batch(server: Server, storm_clients: int) -> float:
    """The mean number of calls in a batch while so many clients are at work."""
    name = "bentoml_runner_adaptive_batch_size"

    def counted() -> tuple[float, float]:
        return tuple(sample(server, f"{name}_{part}", method_name="work") for part in ("sum", "count"))  # type: ignore[return-value]  # of two

    before = counted()
    assert set(storm(server, "/work", clients=storm_clients, requests=10).statuses) == {200}
    until(lambda: counted()[0] - before[0] == storm_clients * 10, "the metrics of all calls")
    after = counted()
    return (after[0] - before[0]) / (after[1] - before[1])


def test_batches_grow_with_load(small: Server) -> None:
    assert mean_batch(small, 1) == 1
    assert mean_batch(small, 8) > 1.5


def test_what_is_too_much_is_refused_while_the_model_is_still_busy(small: Server, tmp_path: Path) -> None:
    """T21: refusals do not wait for anything; the queue holds what it may and no more."""
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(10 * QUEUE_ROWS + 1) as pool:
        held = pool.submit(small.post, "/hold", str(gate))
        until(Path(f"{gate}.begun").exists, "the held call")
        calls = [pool.submit(small.post, "/note", [number]) for number in range(10 * QUEUE_ROWS)]
        until(lambda: sum(call.done() for call in calls) >= 9 * QUEUE_ROWS, "the refusals")
        refused = [call.result() for call in calls if call.done()]
        assert {(answer.status, answer.body) for answer in refused} == {(503, b'""')}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        gate.touch()
        assert held.result(PATIENCE_S).status == 200
        statuses = [call.result(PATIENCE_S).status for call in calls]
    assert statuses.count(503) >= 9 * QUEUE_ROWS
    assert set(statuses) <= {200, 503}
    assert small.post("/note", [1]).status == 200, "at once"
    if not small.workers("runner"):  # what an API worker refuses on behalf of another process is not counted yet
        assert sample(small, "bentoml_runner_refused_total", method_name="note") >= 9 * QUEUE_ROWS


def test_overload_leaves_deadlines_memory_and_the_next_request_alone(small: Server) -> None:
    """T21: more clients than rows may wait, each without a pause."""
    storm(small, "/work", clients=40, requests=2)
    before = resident_bytes(small)
    seen = storm(small, "/work", clients=40, requests=40)
    assert seen.wrong == []
    assert set(seen.statuses) == {200, 503}
    assert seen.retry_after == {"1"}
    # Seconds beyond the deadline are for a busy machine; a call that nobody watches would take a minute.
    assert max(seen.accepted_s) < DEADLINE_S + 10
    assert resident_bytes(small) - before < 32 * MIB
    assert small.post("/work", [1]).status == 200


# Time-outs and clients that go away: T22


def test_a_thread_that_was_answered_with_504_counts_until_it_ends(strict: Server, tmp_path: Path) -> None:
    gates = [tmp_path / "one", tmp_path / "two"]
    with ThreadPoolExecutor(2) as pool:
        late = pool.map(lambda gate: strict.post("/wait_in_thread", str(gate)).status, gates)
        assert list(late) == [504, 504]
    assert in_progress(strict, "/wait_in_thread") == 2
    refused = strict.post("/echo", 1)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    gates[0].touch()
    until(lambda: in_progress(strict, "/wait_in_thread") == 1, "the end of the first")
    assert strict.post("/echo", 1).status == 200
    gates[1].touch()
    until(lambda: in_progress(strict, "/wait_in_thread") == 0, "the end of the second")
    total = "bentoml_api_server_request_total"
    assert sample(strict, total, endpoint="/wait_in_thread") == 2, "each is counted once"
    assert "never retrieved" not in strict.log


def test_a_coroutine_that_was_answered_with_504_is_over(strict: Server, tmp_path: Path) -> None:
    assert strict.post("/wait_here", str(tmp_path / "never")).status == 504
    until(lambda: in_progress(strict, "/wait_here") == 0, "its end")
    assert strict.post("/echo", 1).status == 200


def posted(path: str, body: bytes) -> bytes:
    """A request as it stands on the wire."""
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body


def asked(server: Server, path: str, body: bytes) -> socket.socket:
    """A client that has sent a request, and may go before it is answered."""
    sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
    sock.sendall(posted(path, body))
    return sock


def test_the_model_never_sees_the_queued_call_of_a_client_that_went_away(small: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    before = gone_clients(small, "/note")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(small.post, "/hold", str(gate))
        until(Path(f"{gate}.begun").exists, "the held call")
        stays, goes = asked(small, "/note", b"[-1]"), asked(small, "/note", b"[-2]")
        until(lambda: sample(small, "bentoml_runner_queue_rows", method_name="note") == 2, "both calls in the queue")
        goes.close()
        until(lambda: gone_clients(small, "/note") == before + 1, "the server to notice")
        # Goes the same way as the withdrawal, behind it.
        assert small.post("/noted", None).status == 200
        gate.touch()
        assert held.result(PATIENCE_S).status == 200
        with contextlib.closing(stays):
            assert stays.recv(100).startswith(b"HTTP/1.1 200 ")
    seen = small.post("/noted", None).value
    assert -1 in seen
    assert -2 not in seen


# Memory: T23


LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def mixed(number: int) -> bytes:
    """A request; no two numbers make the same one, so that whatever is kept for each would be kept for all."""
    kinds = (
        posted("/echo", b'{"a": [%d, "%d"]}' % (number, number)),
        posted("/echo", b'{"a": %d' % number),
        posted("/note", b"[]"),
        posted(f"/nothing/{number}", b"{}"),
        posted("/echo_in_thread", b"%d" % number),
        b"GET /echo?%d HTTP/1.1\r\nHost: x\r\n\r\n" % number,
        b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-%d: 1\r\n\r\n" % number,
    )
    return kinds[number % len(kinds)]


def pipelined(server: Server, numbers: range) -> set[int]:
    """Send all of them on one connection without waiting; the statuses of the answers."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as sock:
        sock.sendall(b"".join(map(mixed, numbers)) + LAST)
        while piece := sock.recv(2**16):
            received += piece
    statuses = [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
    assert len(statuses) == len(numbers) + 1
    return set(statuses)


def cut_off(server: Server, number: int) -> None:
    """Clients that go: with half a request, with a call on its way to the model, with an answer to be read."""
    request = posted("/work", b"[%d]" % number)
    for sent in (request[:-1], request, request + mixed(0)):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as sock:
            sock.sendall(sent)


def test_memory_is_flat_over_many_requests(small: Server) -> None:
    def batch(number: int) -> None:
        assert pipelined(small, range(number * 200, (number + 1) * 200)) == {200, 400, 404, 405}
        cut_off(small, number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(batch, range(30)))
        before = resident_bytes(small)
        list(pool.map(batch, range(30, 130)))
    assert resident_bytes(small) - before < 8 * MIB
    assert sample(small, "bentoml_api_server_request_total") > 130 * 200
    until(lambda: in_progress(small, "/work") == 0, "the end of all")


# The end


def test_a_thread_that_never_ends_does_not_hold_the_exit(tmp_path: Path) -> None:
    with load_server(tmp_path, "api_server.shutdown_grace=0.3") as server:
        with asked(server, "/wait_in_thread", json.dumps(str(tmp_path / "never")).encode()):
            until((tmp_path / "never.begun").exists, "the request")
            assert server.stop() == 0
        assert "left behind: 1 threads that did not end (api_0)" in server.log
