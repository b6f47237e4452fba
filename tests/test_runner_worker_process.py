"""Calls that cross into another process: values, errors, timings, several workers, workers that go and come back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bentoml
from bentoml import config
from bentoml._context import model_timings
from bentoml.exceptions import BentoMLException, InvalidArgument, RemoteException, ServiceUnavailable, StateException
from bentoml.runner.method_queue import MethodPlan
from bentoml.runner.placements.worker_process import WorkerProcess
from bentoml.runner.serving import EngineServer, RemoteTraceback

PATIENCE_S = 20.0


class OwnError(Exception):
    """An error that can be pickled."""


class StubbornError(Exception):
    """An error that cannot."""

    def __reduce__(self) -> Any:
        raise TypeError("not me")


class Tool(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)

    def __init__(self, name: str = "tool") -> None:
        self.name = name
        self.gate = threading.Event()
        self.begun = threading.Event()

    @bentoml.Runnable.method(batchable=True)
    def double(self, rows: Any) -> Any:
        return rows * 2

    @bentoml.Runnable.method
    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    @bentoml.Runnable.method
    def who(self) -> str:
        return self.name

    @bentoml.Runnable.method
    def wait(self) -> str:
        self.begun.set()
        assert self.gate.wait(PATIENCE_S)
        return self.name

    @bentoml.Runnable.method
    def fail(self, error: BaseException) -> None:
        raise error

    @bentoml.Runnable.method
    def unsendable(self) -> Any:
        return threading.Lock()

    @bentoml.Runnable.method
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number
        if to == 13:
            raise OwnError("bad luck")


def plans() -> list[MethodPlan]:
    return bentoml.Runner(Tool, name="tool").plans(config.current().runner("tool"))


class Workers:
    """Engines served in this very process, each in a thread with an event loop as a runner worker has it."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.paths = [str(folder / f"runner-{index}") for index in range(count)]
        self.sockets = []
        for path in self.paths:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            sock.listen()
            self.sockets.append(sock)
        self.tools: list[Tool | None] = [None] * count
        self._stops: list[Callable[[], None]] = [lambda: None] * count

    def start(self, index: int) -> None:
        """Let a worker come up; its listening socket stays, as the supervisor holds it."""
        ready, loop = threading.Event(), asyncio.new_event_loop()
        runner = bentoml.Runner(Tool, name="tool", runnable_init_params={"name": f"tool-{index}"})
        engine = runner.engine(config.current().runner("tool"))

        async def serve() -> None:
            engine.load()
            engine.start()
            server = EngineServer(engine, self.sockets[index].dup())
            server.start()
            stop = asyncio.Event()
            self._stops[index] = lambda: loop.call_soon_threadsafe(stop.set)
            ready.set()
            await stop.wait()
            server._accepting.cancel()  # type: ignore[union-attr]
            for client in list(server._clients):
                client.close()
            for tool in [each for each in self.tools if each is not None]:
                tool.gate.set()
            await engine.close()

        original = Tool.__init__
        made: list[Tool] = []

        def remember(tool: Tool, name: str = "tool") -> None:
            original(tool, name)
            made.append(tool)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tool, "__init__", remember)
            thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
            thread.start()
            assert ready.wait(PATIENCE_S)
        self.tools[index] = made[0]
        stop = self._stops[index]

        def stop_and_join() -> None:
            stop()
            thread.join(PATIENCE_S)
            loop.close()
            self._stops[index] = lambda: None

        self._stops[index] = stop_and_join

    def stop(self, index: int) -> None:
        self._stops[index]()

    def close(self) -> None:
        for stop in self._stops:
            stop()
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path, 2)
    made.start(0)
    yield made
    made.close()


@contextlib.asynccontextmanager
async def reached(workers: Workers, count: int = 1) -> AsyncIterator[WorkerProcess]:
    placement = WorkerProcess("tool", workers.paths[:count], plans())
    await asyncio.wait_for(placement.start(), PATIENCE_S)
    yield placement
    await placement.close()


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE_S))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_values_cross_in_both_directions(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            big = np.arange(500_000.0)
            args, kwargs = await placement.submit("echo", (1, "a", None, {"b": (2, [3])}), {"big": big})
            assert args == (1, "a", None, {"b": (2, [3])})
            np.testing.assert_array_equal(kwargs["big"], big)
            assert (await placement.submit("double", (np.array([1, 2]),), {})).tolist() == [2, 4]

    run(main())


def test_many_calls_of_one_turn_each_get_their_own_answer(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            calls = [placement.submit("double", (np.array([number]),), {}) for number in range(500)]
            answers = await asyncio.gather(*calls)
            assert [answer.tolist() for answer in answers] == [[2 * number] for number in range(500)]

    run(main())


def test_a_thread_may_call_and_block(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            assert await asyncio.to_thread(placement.call, "who", (), {}) == "tool-0"
            in_other_loop = await asyncio.to_thread(lambda: asyncio.run(_awaited(placement)))
            assert in_other_loop == "tool-0"
            with pytest.raises(StateException, match=r"tool.who.run\(\) would block the event loop for ever"):
                placement.call("who", (), {})

    run(main())


async def _awaited(placement: WorkerProcess) -> Any:
    return await placement.submit("who", (), {})


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OwnError("mine"), OwnError, "mine"),
        (ValueError("plain"), ValueError, "plain"),
        (InvalidArgument("bad", hint="try"), InvalidArgument, r"bad \(hint: try\)"),
        (ServiceUnavailable("later", retry_after_s=7), ServiceUnavailable, "later"),
        (StubbornError("stuck"), RemoteException, "StubbornError: stuck"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_cross_and_say_where_they_came_from(
    workers: Workers, error: Exception, kind: type[Exception], said: str
) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            # Sent by name: what cannot be pickled cannot be an argument either.
            tool = workers.tools[0]
            assert tool is not None
            tool.name = error  # type: ignore[assignment]
            with pytest.raises(kind, match=said) as raised:
                await placement.submit("raise_name", (), {})
            assert isinstance(raised.value.__cause__, RemoteTraceback)
            assert "raise_name" in str(raised.value.__cause__)
            if isinstance(raised.value, ServiceUnavailable):
                assert raised.value.retry_after_s == 7

    run(main())


def _raise_name(self: Tool) -> None:
    raise self.name  # type: ignore[misc]


Tool.add_method(_raise_name, name="raise_name")


def test_a_result_that_cannot_be_sent_is_the_callers_error(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            with pytest.raises(BentoMLException, match=r"a _?lock cannot be sent to the API worker"):
                await placement.submit("unsendable", (), {})
            assert await placement.submit("who", (), {}) == "tool-0"

    run(main())


def test_an_argument_that_cannot_be_sent_is_the_callers_error(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            with pytest.raises(TypeError, match="pickle"):
                await placement.submit("echo", (np.zeros(3), threading.Lock()), {})
            assert await placement.submit("who", (), {}) == "tool-0"

    run(main())


def test_a_method_that_does_not_exist_is_an_error_and_no_hang(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            with pytest.raises((KeyError, BentoMLException)):
                await placement.submit("nosuch", (), {})

    run(main())


def test_streams_come_item_by_item_and_fail_midway(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            assert [item async for item in placement.stream("count", (5,), {})] == [0, 1, 2, 3, 4]
            failing = placement.stream("count", (13,), {})
            assert [await anext(failing) for _ in range(13)] == list(range(13))
            with pytest.raises(OwnError, match="bad luck"):
                await anext(failing)
            stream = placement.stream("count", (1_000_000,), {})
            assert await anext(stream) == 0
            await stream.aclose()  # type: ignore[attr-defined]
            assert await placement.submit("who", (), {}) == "tool-0"

    run(main())


def test_timings_cross_when_they_are_asked_for(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            await placement.submit("double", (np.array([1]),), {})
            token = model_timings.set([])
            await placement.submit("double", (np.array([1, 2, 3]),), {})
            [timing] = model_timings.get() or []
            assert (timing.runner, timing.method, timing.rows) == ("tool", "double", 3)
            assert timing.compute_s > 0
            model_timings.reset(token)

    run(main())


def test_a_cancelled_call_is_withdrawn(workers: Workers) -> None:
    async def main() -> None:
        async with reached(workers) as placement:
            tool = workers.tools[0]
            assert tool is not None
            held = asyncio.ensure_future(placement.submit("wait", (), {}))
            await until(tool.begun.is_set)
            queued = asyncio.ensure_future(placement.submit("double", (np.array([1]),), {}))
            await asyncio.sleep(0)
            queued.cancel()
            await asyncio.gather(queued, return_exceptions=True)
            tool.gate.set()
            assert await held == "tool-0"
            assert placement._dispatcher is not None
            assert placement._dispatcher._links[0].in_hand == 0

    run(main())


def test_calls_go_to_the_worker_with_the_fewest(workers: Workers) -> None:
    workers.start(1)

    async def main() -> None:
        async with reached(workers, 2) as placement:
            assert [await placement.submit("who", (), {}) for _ in range(3)] == ["tool-0"] * 3
            held = [asyncio.ensure_future(placement.submit("wait", (), {})) for _ in range(2)]
            for tool in workers.tools:
                assert tool is not None
                await until(tool.begun.is_set)
                tool.gate.set()
            assert sorted(await asyncio.gather(*held)) == ["tool-0", "tool-1"]

    run(main())


def test_a_worker_that_ends_fails_its_calls_at_once_and_is_found_again(workers: Workers) -> None:
    """T19."""
    workers.start(1)

    async def main() -> None:
        async with reached(workers, 2) as placement:
            tool = workers.tools[0]
            assert tool is not None
            held = asyncio.ensure_future(placement.submit("wait", (), {}))
            await until(tool.begun.is_set)
            await asyncio.to_thread(workers.stop, 0)
            with pytest.raises(
                ServiceUnavailable, match="the worker of the runner 'tool' ended while it had this call"
            ):
                await held
            assert placement.is_ready
            assert await placement.submit("who", (), {}) == "tool-1"
            await asyncio.to_thread(workers.stop, 1)
            await until(lambda: not placement.is_ready)
            with pytest.raises(ServiceUnavailable, match="the worker of the runner 'tool' is being restarted"):
                await placement.submit("who", (), {})
            await asyncio.to_thread(workers.start, 0)
            await until(lambda: placement.is_ready)
            assert await placement.submit("who", (), {}) == "tool-0"

    run(main())


def test_starting_waits_for_a_worker_that_is_not_there_yet(workers: Workers) -> None:
    async def main() -> None:
        placement = WorkerProcess("tool", workers.paths, plans())
        starting = asyncio.ensure_future(placement.start())
        await asyncio.sleep(0.01)
        assert not starting.done()
        await asyncio.to_thread(workers.start, 1)
        await asyncio.wait_for(starting, PATIENCE_S)
        assert placement.is_ready
        await placement.close()

    run(main())


def test_closing_tells_those_who_wait(workers: Workers) -> None:
    async def main() -> None:
        placement = WorkerProcess("tool", workers.paths[:1], plans())
        await placement.start()
        held = asyncio.ensure_future(placement.submit("wait", (), {}))
        tool = workers.tools[0]
        assert tool is not None
        await until(tool.begun.is_set)
        await placement.close()
        with pytest.raises(ServiceUnavailable, match="the runner 'tool' is shutting down"):
            await held

    run(main())
