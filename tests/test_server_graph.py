"""Several runners in one service, streams, and the resources that workers are given: in both placements."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests._server import Server, sample, serving, until

SERVICE = Path(__file__).parent / "services" / "graph"


@pytest.fixture(scope="module", params=["in_process", "worker_process"])
def placement(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def graph(placement: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One API worker; two CPUs for each runner."""
    folder = tmp_path_factory.mktemp("graph")
    options = f"api_server.workers=1 runners.placement={placement} runners.resources.cpu=2"
    extra = {"BENTOML_CONFIG_OPTIONS": options}
    with serving("service:svc", "--working-dir", str(SERVICE), folder=folder, home=folder, extra=extra) as server:
        yield server


# Several runners


def test_runners_side_by_side_each_answer_their_own(graph: Server) -> None:
    answers = graph.post_all("/fan_out", [[number, number + 1] for number in range(100)])
    assert [answer.value for answer in answers] == [
        [[2 * number, 2 * number + 2], [10 * number, 10 * number + 10]] for number in range(100)
    ]


@pytest.mark.parametrize("path", ["/chain", "/chain_in_thread"])
def test_a_runner_takes_what_another_gave(graph: Server, path: str) -> None:
    answers = graph.post_all(path, [[number] for number in range(100)])
    assert [answer.value for answer in answers] == [[20 * number] for number in range(100)]


def test_one_runnable_has_several_methods_and_a_state_for_each_runner(graph: Server) -> None:
    graph.post("/fan_out", [1])
    two, ten, _ = graph.post("/describe", "factor").value
    assert (two["text"], ten["text"]) == ("factor 2", "FACTOR 10")
    assert two["calls"] > 0
    assert ten["calls"] > 0


# Workers and threads


def test_each_runner_gets_the_workers_and_threads_that_its_class_asks_for(graph: Server, placement: str) -> None:
    two, ten, teller = graph.post("/describe", "x").value
    api = graph.post("/environment", None).value
    if placement == "in_process":
        assert {two["pid"], ten["pid"], teller["pid"]} == {api["pid"]}
        assert graph.workers("runner") == []
        return
    named = {worker.pid: worker.cmdline()[-1] for worker in graph.workers("runner")}
    # Without threads of its own: a worker for each CPU; with them: one worker, which has all of them.
    assert sorted(named.values()) == ["runner:teller:1", "runner:ten:1", "runner:ten:2", "runner:two:1", "runner:two:2"]
    assert named[two["pid"]].startswith("runner:two:")
    assert named[ten["pid"]].startswith("runner:ten:")
    assert named[teller["pid"]] == "runner:teller:1"
    assert (two["threads"], two["own_threads"], ten["threads"]) == ("1", "1", "1")
    assert teller["threads"] == "2"
    assert "runner teller (Teller): in 1 worker process with 2 threads (runners.teller.placement)" in graph.log
    assert "runner two (Scale): in 2 worker processes with 1 thread (runners.two.placement)" in graph.log


# Streams


def test_a_stream_arrives_item_by_item_in_chunks(graph: Server) -> None:
    answer = graph.request("POST", "/words", b"to be or")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body == b"data: to \n\ndata: be \n\ndata: or \n\n"
    assert graph.request("POST", "/letters", b"abc").body == b"abc"
    assert graph.request("POST", "/words", b"").body == b""


def test_a_stream_is_a_list_for_who_wants_it_whole(graph: Server) -> None:
    assert graph.request("POST", "/all_words", b"to be").value == ["to ", "be "]


def test_the_first_item_is_there_before_the_last_is_made_and_a_client_that_goes_ends_it(
    graph: Server, tmp_path: Path
) -> None:
    with contextlib.closing(graph.connect()) as connection:
        connection.request("POST", "/endless", f'"{tmp_path}"'.encode())
        response = connection.getresponse()
        assert response.read(5) == b"word "
        assert not (tmp_path / "closed").exists()
        response.close()
    until((tmp_path / "closed").exists, "the generator of the runner to be closed")
    progress = "bentoml_api_server_request_in_progress"
    until(lambda: sample(graph, progress, endpoint="/endless") == 0, "the end of the request")
    assert graph.request("POST", "/words", b"on").status == 200


def test_an_error_in_the_midst_ends_the_stream_and_not_the_server(graph: Server) -> None:
    told = graph.request("POST", "/words", b"to be fail or").body
    assert told.startswith(b"data: to \n\ndata: be \n\nevent: error\n")
    assert b"no more words" not in told
    graph.said("no more words")
    assert graph.request("POST", "/words", b"again").body == b"data: again \n\n"


def test_streams_at_one_time_do_not_mix(graph: Server) -> None:
    with ThreadPoolExecutor(12) as pool:
        bodies = [f"{number} ".encode() * 20 for number in range(12)]
        answers = list(pool.map(lambda body: graph.request("POST", "/words", body).body, bodies))
    assert answers == [f"data: {number} \n\n".encode() * 20 for number in range(12)]
