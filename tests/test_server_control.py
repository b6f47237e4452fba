"""What supervisor and workers say to each other, over a real socket pair."""

from __future__ import annotations

import asyncio
import socket

import pytest

from bentoml.server.control import (
    Channel,
    Described,
    Failed,
    FromWorker,
    Go,
    Ready,
    RunnerFacts,
    Start,
    Stop,
    ToWorker,
)

FACTS = RunnerFacts(
    name="r", runnable="R", models=["m:1"], model_bytes=7, resources=["cpu"], embedded=False, worker_environments=[{}]
)
TO_WORKER = [
    Start(
        name="api_server:1",
        index=1,
        identifier="service:svc",
        working_dir=None,
        config={"api_server": {"workers": 2}, "runners": {"é": {"a": [1.5, None]}}},
        origins={"api_server.workers": "--api-workers"},
        listen_fd=3,
        metrics_dir="/run/metrics",
        log_level=20,
    ),
    Go(sockets={"r": ["/a", "/b"]}),
    Stop(succeeded=True),
]
FROM_WORKER = [
    Described(service="s", apis=["/a"], runners=[FACTS]),
    Ready(seconds=1.5),
    Failed(message="no", details="line one\nline two\n" * 10_000),
]


def test_every_message_arrives_as_it_was_sent() -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        supervisor, worker = Channel(one, FromWorker), Channel(other, ToWorker)
        await supervisor.open()
        await worker.open()
        for message in TO_WORKER:
            supervisor.send(message)
        for message in FROM_WORKER:
            worker.send(message)
        assert [await worker.receive() for _ in TO_WORKER] == TO_WORKER
        assert [await supervisor.receive() for _ in FROM_WORKER] == FROM_WORKER
        await supervisor.close()
        assert await worker.receive() is None
        await worker.close()

    asyncio.run(main())


def test_the_first_message_is_read_before_there_is_a_loop_and_leaves_the_next() -> None:
    one, other = socket.socketpair()
    supervisor, worker = Channel(one, FromWorker), Channel(other, ToWorker)

    async def send() -> None:
        await supervisor.open()
        supervisor.send(TO_WORKER[0])
        supervisor.send(TO_WORKER[1])
        await supervisor.close()

    asyncio.run(send())
    assert worker.receive_blocking() == TO_WORKER[0]

    async def receive() -> None:
        await worker.open()
        assert await worker.receive() == TO_WORKER[1]
        assert await worker.receive() is None
        await worker.close()

    asyncio.run(receive())


def test_a_peer_that_is_gone_says_nothing() -> None:
    one, other = socket.socketpair()
    one.close()
    assert Channel(other, ToWorker).receive_blocking() is None
    other.close()


def test_half_a_message_is_none() -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        worker = Channel(other, ToWorker)
        await worker.open()
        one.sendall(b'{"type":"Go"')
        one.close()
        assert await worker.receive() is None
        await worker.close()

    asyncio.run(main())


def test_an_unknown_message_is_an_error() -> None:
    one, other = socket.socketpair()
    one.sendall(b'{"type":"Dance"}\n')
    with pytest.raises(ValueError, match="Dance"):
        Channel(other, ToWorker).receive_blocking()
    one.close()
    other.close()
