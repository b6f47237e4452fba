"""Where each runner lives and which processes that takes, decided without starting any."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bentoml._process import THREAD_VARIABLES
from bentoml.config import RunnerConfig
from bentoml.server.control import Described, RunnerFacts
from bentoml.server.plan import IN_PROCESS_LIMIT_BYTES, Plan, api_worker_specs, choose_placement, make_plan


def facts(**changes: Any) -> RunnerFacts:
    return RunnerFacts(
        **{
            "name": "iris",
            "runnable": "IrisRunnable",
            "models": ["iris:v1"],
            "model_bytes": 1000,
            "resources": ["cpu"],
            "embedded": False,
            "worker_environments": [{"A": "1"}, {"A": "2"}],
            **changes,
        }
    )


def settings(**keys: Any) -> RunnerConfig:
    return msgspec.convert(keys, RunnerConfig)


@pytest.mark.parametrize(
    ("known", "keys", "placement", "reason"),
    [
        ({}, {}, "in_process", "auto: a small CPU model"),
        ({"embedded": True}, {"placement": "worker_process"}, "in_process", "embedded=True"),
        ({}, {"placement": "worker_process"}, "worker_process", "runners.iris.placement"),
        ({"model_bytes": 10**12}, {"placement": "in_process"}, "in_process", "runners.iris.placement"),
        (
            {"resources": ["cpu", "nvidia.com/gpu"]},
            {"resources": {"nvidia.com/gpu": 1}},
            "worker_process",
            "auto: it runs on a GPU",
        ),
        ({}, {"resources": {"nvidia.com/gpu": 1}}, "in_process", "auto: a small CPU model"),
        ({}, {"resources": "system"}, "in_process", "auto: a small CPU model"),
        ({"model_bytes": IN_PROCESS_LIMIT_BYTES // 2}, {}, "in_process", "auto: a small CPU model"),
        ({"model_bytes": IN_PROCESS_LIMIT_BYTES // 2 + 1}, {}, "worker_process", "auto: 2 copies would take 256 MiB"),
    ],
)
def test_where_a_runner_lives_and_why(known: dict[str, Any], keys: dict[str, Any], placement: str, reason: str) -> None:
    assert choose_placement(facts(**known), settings(**keys), api_workers=2) == (placement, reason)


def plan(**keys: Any) -> Plan:
    runners = [facts(), facts(name="far", worker_environments=[{"BENTOML_NUM_THREAD": "1"}] * 2)]
    configs = {"iris": settings(), "far": settings(placement="worker_process")}
    return make_plan(runners, configs, api_workers=2, **keys)


def test_runners_in_worker_processes_get_one_process_for_each_environment() -> None:
    specs = plan(development=False).runner_specs
    assert [(spec.kind, spec.name, spec.index, spec.runner) for spec in specs] == [
        ("runner", "runner:far:1", 1, "far"),
        ("runner", "runner:far:2", 2, "far"),
    ]
    assert specs[0].environment == {"BENTOML_NUM_THREAD": "1"}


def test_in_development_every_runner_lives_in_the_api_worker() -> None:
    made = plan(development=True)
    assert made.runner_specs == []
    assert {choice.reason for choice in made.choices.values()} == {"development"}


def test_the_plan_is_told_in_one_line_for_each_kind_of_process() -> None:
    description = Described(
        service="s", apis=["/a", "/b"], runners=[facts(), facts(name="far", models=[], model_bytes=0)]
    )
    specs = api_worker_specs(workers=2, cpus=8, development=False, environment={})
    assert list(plan(development=False).lines(description, specs)) == [
        "2 API workers with 2 threads each for /a, /b",
        "runner iris (iris:v1, 0.0 MiB on disk): in each API worker (auto: a small CPU model)",
        "runner far (IrisRunnable): in 2 worker processes with 1 thread (runners.far.placement)",
    ]


def test_the_memory_of_an_api_worker_is_what_was_measured_and_the_models_it_loads() -> None:
    mib = 2**20
    runners = [facts(model_bytes=20 * mib), facts(name="far", model_bytes=400 * mib)]
    description = Described(service="s", apis=["/a"], runners=runners, resident_bytes=100 * mib)
    specs = api_worker_specs(workers=2, cpus=2, development=False, environment={})
    first = next(plan(development=False).lines(description, specs))
    assert first == "2 API workers with 1 thread each, about 120 MiB each for /a"


def test_a_service_without_apis_is_said_to_have_none() -> None:
    description = Described(service="s", apis=[], runners=[])
    specs = api_worker_specs(workers=1, cpus=1, development=True, environment={"BENTOML_NUM_THREAD": "8"})
    assert list(Plan({}, []).lines(description, specs)) == [
        "1 API worker with your own number of threads each for no API"
    ]


@pytest.mark.parametrize(
    ("workers", "cpus", "development", "threads"),
    [(1, 8, False, "4"), (2, 8, False, "2"), (3, 8, False, "1"), (8, 2, False, "1"), (1, 8, True, "1")],
)
def test_api_workers_share_the_cpus(workers: int, cpus: int, development: bool, threads: str) -> None:
    specs = api_worker_specs(workers=workers, cpus=cpus, development=development, environment={})
    assert [(spec.kind, spec.name, spec.index) for spec in specs] == [
        ("api_server", f"api_server:{index}", index) for index in range(1, workers + 1)
    ]
    assert all(spec.environment == dict.fromkeys(THREAD_VARIABLES, threads) for spec in specs)


def test_a_variable_that_the_user_has_set_stays() -> None:
    [spec] = api_worker_specs(workers=1, cpus=4, development=False, environment={"OMP_NUM_THREADS": "3"})
    assert "OMP_NUM_THREADS" not in spec.environment
    assert spec.environment["MKL_NUM_THREADS"] == "2"
