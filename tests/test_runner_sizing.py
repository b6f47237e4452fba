"""How many workers a runner gets and what each may use: the tables of BentoML 1.x."""

from __future__ import annotations

from typing import Any

import pytest

import bentoml
from bentoml._process import THREAD_VARIABLES
from bentoml.exceptions import BentoMLConfigException
from bentoml.runner.sizing import GPU, DefaultStrategy, Strategy, parse_cpu, parse_gpus, resource_request


def runnable(*, resources: tuple[str, ...] = ("cpu",), threads: bool = False) -> type[bentoml.Runnable]:
    class Made(bentoml.Runnable):
        SUPPORTED_RESOURCES = resources
        SUPPORTS_CPU_MULTI_THREADING = threads

    return Made


BOTH = ("cpu", GPU)


@pytest.mark.parametrize(
    ("given", "cpus"),
    [(1, 1), (0, 0), (2.5, 2.5), ("2", 2), ("1.5", 1.5), ("2.", 2), ("500m", 0.5), ("0m", 0)],
)
def test_cpus_may_be_written_in_these_ways(given: Any, cpus: float) -> None:
    assert parse_cpu(given) == cpus


@pytest.mark.parametrize("given", ["", "many", "1e3", "500M", "-1", "1,5", "m", "٣", "1\n"])
def test_another_text_is_no_number_of_cpus(given: str) -> None:
    with pytest.raises(
        BentoMLConfigException, match=r"resources.cpu: .* is no number of CPUs \(hint: 2, 1.5 or '500m'\)"
    ):
        parse_cpu(given)


def test_cpus_are_not_negative_and_of_no_other_type() -> None:
    with pytest.raises(BentoMLConfigException, match="must not be negative, but is -1"):
        parse_cpu(-1)
    for given in ([1], None, True, {}):
        with pytest.raises(TypeError, match="must be a number or a text such as '500m'"):
            parse_cpu(given)


@pytest.mark.parametrize(
    ("given", "ids"),
    [(2, [0, 1]), (0, []), (-1, []), ("2", [0, 1]), ("-1", []), ([1, 3], [1, 3]), (["1", "3"], [1, 3])],
)
def test_gpus_may_be_written_in_these_ways(given: Any, ids: list[int]) -> None:
    assert parse_gpus(given) == ids


@pytest.mark.parametrize("given", [-2, "-2", "100m", "[1, 2]", "", [-1], ["a"]])
def test_another_count_or_text_is_no_gpus(given: Any) -> None:
    with pytest.raises(BentoMLConfigException, match=GPU):
        parse_gpus(given)


@pytest.mark.parametrize("given", [1.5, (1, 2), None, True, {"a": 1}])
def test_gpus_are_of_no_other_type(given: Any) -> None:
    with pytest.raises(TypeError, match="must be a number or a list of ids"):
        parse_gpus(given)


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (None, {"cpu": 8.0, GPU: [0, 1]}),
        ("system", {"cpu": 8.0, GPU: [0, 1]}),
        ({}, {}),
        ({"cpu": "500m"}, {"cpu": 0.5}),
        ({"cpu": "system", GPU: "system"}, {"cpu": 8.0, GPU: [0, 1]}),
        ({GPU: 1}, {GPU: [0]}),
        ({GPU: [1]}, {GPU: [1]}),
    ],
)
def test_what_a_runner_asks_for_is_what_it_gets(configured: Any, expected: dict[str, Any]) -> None:
    assert resource_request(configured, system_cpus=8.0, system_gpus=2) == expected


@pytest.mark.parametrize(
    ("configured", "said"),
    [
        ({"cpu": 9}, "resources.cpu is 9, and this system has 8"),
        ({GPU: 3}, "is 3, and this system has 2 GPUs"),
        ({GPU: [2]}, r"is \[2\], and this system has 2 GPUs"),
        ({"tpu": 1}, "unknown kind of resource 'tpu'"),
        ("all", "resources must be `system` or a map"),
    ],
)
def test_more_than_there_is_cannot_be_asked_for(configured: Any, said: str) -> None:
    with pytest.raises(BentoMLConfigException, match=said):
        resource_request(configured, system_cpus=8.0, system_gpus=2)


@pytest.mark.parametrize(
    ("request_", "each", "made", "count"),
    [
        ({"cpu": 4.0}, 1, {}, 4),
        ({"cpu": 2.5}, 1, {}, 3),
        ({"cpu": 0.5}, 1, {}, 1),
        ({"cpu": 2.0}, 3, {}, 6),
        ({"cpu": 4.0}, 1, {"threads": True}, 1),
        ({"cpu": 4.0}, 2, {"threads": True}, 2),
        ({"cpu": 4.0, GPU: [0, 1]}, 1, {"resources": BOTH}, 2),
        ({"cpu": 4.0, GPU: [0, 1]}, 2, {"resources": BOTH}, 4),
        ({"cpu": 4.0, GPU: [0, 1]}, 0.5, {"resources": BOTH}, 1),
        ({"cpu": 4.0, GPU: [0, 1, 2]}, 0.5, {"resources": BOTH}, 2),
        ({"cpu": 4.0, GPU: [0, 1]}, 1, {"resources": ("cpu",)}, 4),
        ({"cpu": 2.0, GPU: []}, 1, {"resources": BOTH}, 2),
    ],
)
def test_the_number_of_workers(request_: dict[str, Any], each: float, made: dict[str, Any], count: int) -> None:
    assert DefaultStrategy.get_worker_count(runnable(**made), request_, each) == count


@pytest.mark.parametrize("request_", [None, {}, {"cpu": 0}, {GPU: [0]}])
def test_without_a_resource_that_it_supports_there_is_no_worker(request_: Any) -> None:
    with pytest.raises(ValueError, match="No known supported resource available for Made"):
        DefaultStrategy.get_worker_count(runnable(), request_, 1)


@pytest.mark.parametrize("threads", [True, False])
def test_cpu_workers_are_counted_in_whole_numbers(threads: bool) -> None:
    with pytest.raises(ValueError, match="workers_per_resource must be a whole number for CPU workers"):
        DefaultStrategy.get_worker_count(runnable(threads=threads), {"cpu": 4.0}, 0.5)


@pytest.mark.parametrize(("threads", "cpus", "expected"), [(True, 3.5, "4"), (True, 0.5, "1"), (False, 3.5, "1")])
def test_a_cpu_worker_is_told_its_threads_and_sees_no_gpu(threads: bool, cpus: float, expected: str) -> None:
    environment = DefaultStrategy.get_worker_env(runnable(threads=threads), {"cpu": cpus}, 1, 0)
    assert environment.pop("CUDA_VISIBLE_DEVICES") == "-1"
    assert environment == dict.fromkeys(THREAD_VARIABLES, expected)
    assert len(environment) == 9


@pytest.mark.parametrize(
    ("gpus", "each", "visible"),
    [
        ([0, 1], 1, ["0", "1"]),
        ([2, 7], 2, ["2", "2", "7", "7"]),
        ([0, 1, 2, 3], 0.5, ["0,1", "2,3"]),
        ([0, 1, 2], 0.5, ["0,1", "2"]),
        ([0, 1, 2, 3], 0.25, ["0,1,2,3"]),
    ],
)
def test_a_gpu_worker_sees_its_own_gpus(gpus: list[int], each: float, visible: list[str]) -> None:
    made, request = runnable(resources=BOTH), {"cpu": 4.0, GPU: gpus}
    count = DefaultStrategy.get_worker_count(made, request, each)
    environments = [DefaultStrategy.get_worker_env(made, request, each, index) for index in range(count)]
    assert environments == [{"CUDA_VISIBLE_DEVICES": each} for each in visible]


def test_workers_per_gpu_above_one_are_whole() -> None:
    with pytest.raises(ValueError, match="workers_per_resource above 1 must be a whole number"):
        DefaultStrategy.get_worker_env(runnable(resources=BOTH), {GPU: [0, 1]}, 1.5, 0)


def test_a_strategy_of_ones_own_writes_both_methods() -> None:
    for method, extra in ((Strategy.get_worker_count, ()), (Strategy.get_worker_env, (0,))):
        with pytest.raises(NotImplementedError):
            method(runnable(), {}, 1, *extra)  # type: ignore[operator]
