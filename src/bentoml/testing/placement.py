"""check_placement: the contract that every way from a Runner to its Engine keeps."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

from bentoml.config import Batching, RunnerConfig
from bentoml.exceptions import BentoMLException, InvalidArgument, ServiceUnavailable, StateException
from bentoml.runner.placements import Placement
from bentoml.runner.runnable import Runnable
from bentoml.runner.runner import Runner

__all__ = ["Probe", "check_placement"]

#: Makes a placement of a runner that is not started yet; leaving the context takes away what stands behind it.
MakePlacement = Callable[[Runner, RunnerConfig], AbstractAsyncContextManager[Placement]]

#: A step of the contract that takes so many seconds hangs.
_HANG_S = 60.0
#: How long the probe's slow method takes, in seconds: enough for calls to wait behind it.
_SLOW_S = 0.2


class Probe(Runnable):
    """What is placed: a model whose answers tell whose they are."""

    def __init__(self) -> None:
        self.slow_calls = 0

    @Runnable.method(batchable=True)
    def double(self, x: list[Any], *, suffix: str = "") -> list[Any]:
        """Each item twice; `"bad"` makes the whole call fail."""
        if "bad" in x:
            raise ValueError("a bad row")
        return [f"{item}{item}{suffix}" for item in x]

    @Runnable.method(batchable=True)
    def sizes(self, x: list[Any]) -> list[int]:
        """For each row the number of rows that were joined."""
        return [len(x)] * len(x)

    @Runnable.method(batchable=True)
    def forget(self, x: list[Any]) -> list[Any]:
        """One result too few."""
        return x[1:]

    @Runnable.method
    def echo(self, *args: Any, **kwargs: Any) -> Any:
        """What it was given."""
        return args, kwargs

    @Runnable.method
    def slow(self, x: Any) -> Any:
        """Takes its time."""
        self.slow_calls += 1
        time.sleep(_SLOW_S)
        return x

    @Runnable.method
    def count_slow(self) -> int:
        """How often `slow` was called."""
        return self.slow_calls

    @Runnable.method
    def leave(self) -> None:
        """Tries to end the process that it is in."""
        raise SystemExit("from the model")

    @Runnable.method
    async def coroutine(self, x: Any) -> Any:
        """A coroutine function."""
        await asyncio.sleep(0)
        return x

    @Runnable.method
    def count(self, stop: int, fail_at: int = -1) -> Iterator[int]:
        """A generator."""
        for number in range(stop):
            if number == fail_at:
                raise ValueError("in the stream")
            yield number

    @Runnable.method
    async def acount(self, stop: int, fail_at: int = -1) -> AsyncIterator[int]:
        """An asynchronous generator."""
        for number in self.count(stop, fail_at):
            await asyncio.sleep(0)
            yield number


def check_placement(make_placement: MakePlacement) -> None:
    """Reach an engine through a placement in every way and under every fault that a caller can cause.

    Args:
        make_placement: (runner, configuration) → an asynchronous context manager of a placement that is not started.
            Its engine serves a `Probe`, which can be imported, so it may live anywhere.

    Raises:
        AssertionError: the placement breaks the contract; says in what.
    """
    for check in (_answers, _joins, _errors, _withdraws, _streams, _threads, _refuses, _closes):
        asyncio.run(_checked(check, make_placement))


async def _checked(check: Callable[[Placement], Awaitable[None]], make_placement: MakePlacement) -> None:
    config = RunnerConfig(batching=Batching(max_queue_rows=200))
    async with make_placement(Runner(Probe, name="probe"), config) as placement:
        assert not _is_ready(placement), "it is ready before it was started"
        await asyncio.wait_for(placement.start(), _HANG_S)
        assert _is_ready(placement), "it is not ready once it was started"
        try:
            await asyncio.wait_for(check(placement), _HANG_S)
        finally:
            await asyncio.wait_for(placement.close(), _HANG_S)
        assert not _is_ready(placement), "it is ready once it was closed"


def _is_ready(placement: Placement) -> bool:
    return placement.is_ready


async def _submit(placement: Placement, method: str, *args: Any, **kwargs: Any) -> Any:
    return await placement.submit(method, args, kwargs)


async def _error(awaitable: Awaitable[Any]) -> Exception:
    """The error that it raises."""
    try:
        result = await awaitable
    except Exception as error:  # noqa: BLE001 - what is raised is looked at
        return error
    raise AssertionError(f"no error was raised, but {result!r} returned")


async def _arrived(placement: Placement) -> None:
    """Until the calls made so far are with the engine: a coroutine waits for no call before it."""
    await _submit(placement, "coroutine", None)


async def _answers(placement: Placement) -> None:
    found = await _submit(placement, "echo", 1, "a", None, [1.5], key={"b": (True, b"c")})
    assert found == ((1, "a", None, [1.5]), {"key": {"b": (True, b"c")}}), f"arguments arrived as {found!r}"
    assert await _submit(placement, "double", ["a", "b"], suffix="!") == ["aa!", "bb!"]
    assert await _submit(placement, "double", []) == [], "a call without rows was not answered"
    assert await _submit(placement, "coroutine", 3) == 3


async def _joins(placement: Placement) -> None:
    sizes = await asyncio.gather(*(_submit(placement, "sizes", [number]) for number in range(50)))
    assert max(size for (size,) in sizes) > 1, "calls made at one time were not joined"
    assert max(size for (size,) in sizes) <= 100, "a batch was larger than the limit"
    calls = [
        _submit(placement, "double", [f"{number}"] * (number % 3 + 1), suffix="ab"[number % 2]) for number in range(90)
    ]
    for number, answer in enumerate(await asyncio.gather(*calls)):
        wanted = [f"{number}{number}{'ab'[number % 2]}"] * (number % 3 + 1)
        assert answer == wanted, f"a caller was given {answer!r} instead of {wanted!r}"
    assert await _submit(placement, "sizes", [0] * 150) == [100] * 100 + [50] * 50, "a large call was not split"


async def _errors(placement: Placement) -> None:
    rows = [["a"], ["bad"], ["b"]]
    found = await asyncio.gather(*(_submit(placement, "double", row) for row in rows), return_exceptions=True)
    assert [found[0], found[2]] == [["aa"], ["bb"]], f"one bad row cost others their answers: {found!r}"
    assert isinstance(found[1], ValueError), f"a ValueError arrived as {found[1]!r}"
    assert str(found[1]) == "a bad row"
    forgotten = await _error(_submit(placement, "forget", ["a", "b"]))
    assert isinstance(forgotten, BentoMLException)
    assert "'forget' was given 2 rows and returned 1" in str(forgotten), f"unclear: {forgotten}"
    left = await _error(_submit(placement, "leave"))
    assert "SystemExit" in str(left), f"a SystemExit arrived as {left!r}"
    unequal = await _error(_submit(placement, "double", ["a"], suffix=["b", "c"]))
    assert isinstance(unequal, InvalidArgument), f"arguments of different lengths: {unequal!r}"
    assert await _submit(placement, "echo") == ((), {}), "nothing works any more after errors of the model"


async def _withdraws(placement: Placement) -> None:
    running = asyncio.ensure_future(_submit(placement, "slow", "a"))
    await _arrived(placement)
    waiting = [asyncio.ensure_future(_submit(placement, "slow", number)) for number in range(5)]
    await _arrived(placement)
    for call in waiting[:-1]:
        call.cancel()
    assert (await running, await waiting[-1]) == ("a", 4)
    assert await _submit(placement, "count_slow") == 2, "calls that were withdrawn still ran"


async def _streams(placement: Placement) -> None:
    for method in ("count", "acount"):
        found = [item async for item in placement.stream(method, (4,), {})]
        assert found == [0, 1, 2, 3], f"a stream of 4 numbers arrived as {found!r}"
        stream = placement.stream(method, (10,), {"fail_at": 1})
        assert await anext(stream) == 0
        failed = await _error(anext(stream))
        assert isinstance(failed, ValueError), f"an error in a stream arrived as {failed!r}"
        async with aclosing(placement.stream(method, (10**6,), {})) as stream:  # type: ignore[type-var]  # a generator
            assert await anext(stream) == 0
    assert await _submit(placement, "echo") == ((), {}), "a stream that was left early keeps the model"


async def _threads(placement: Placement) -> None:
    def call() -> Any:
        return [placement.call("double", (["a"],), {"suffix": "!"}), placement.call("coroutine", (1,), {})]

    def failing() -> Any:
        return placement.call("double", (["bad"],), {})

    def own_event_loop() -> Any:
        async def several() -> Any:
            return await asyncio.gather(*(_submit(placement, "double", [str(number)]) for number in range(5)))

        return asyncio.run(several())

    here = asyncio.gather(*(_submit(placement, "double", [f"h{number}"]) for number in range(20)))
    assert await _in_thread(call) == [["aa!"], 1], "a call from a thread was not answered"
    assert isinstance(await _error(_in_thread(failing)), ValueError), "an error did not reach the calling thread"
    assert await _in_thread(own_event_loop) == [[f"{number}{number}"] for number in range(5)]
    assert await here == [[f"h{number}h{number}"] for number in range(20)]


async def _in_thread(function: Callable[[], Any]) -> Any:
    """Run in a thread of its own, so that a call that never returns does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits
            loop.call_soon_threadsafe(done.set_exception, error)
        else:
            loop.call_soon_threadsafe(done.set_result, result)

    threading.Thread(target=run, daemon=True).start()
    return await done


async def _refuses(placement: Placement) -> None:
    running = asyncio.ensure_future(_submit(placement, "slow", 0))
    await _arrived(placement)
    calls = [_submit(placement, "sizes", ["a"] * 50) for _ in range(8)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in found if isinstance(each, ServiceUnavailable)]
    assert len(refused) == 4, f"of 8 calls with 50 rows each a queue of 200 rows took {8 - len(refused)}"
    assert refused[0].retry_after_s >= 1.0, "a refusal does not say when to come back"
    answered: list[Any] = [each for each in found if each not in refused]
    # How many calls meet in a batch depends on the way there; each must get its own rows of some batch.
    assert all(len(each) == 50 and set(each) <= {50, 100} for each in answered), f"accepted calls got {answered}"
    assert await running == 0


async def _closes(placement: Placement) -> None:
    calls = [asyncio.ensure_future(_submit(placement, "slow", number)) for number in range(4)]
    await _arrived(placement)
    await placement.close()
    for number, found in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
        assert found == number or isinstance(found, ServiceUnavailable), f"after the end a caller was given {found!r}"
    late = await _error(_submit(placement, "echo"))
    assert isinstance(late, StateException | ServiceUnavailable), f"after the end a call raised {late!r}"
