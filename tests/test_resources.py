"""CPUs, GPUs and kills for lack of memory, read from folders that look like the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bentoml import _resources

CPUS = len(os.sched_getaffinity(0))


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("cpu.max", "50000 100000\n", 0.5),
        ("cpu.max", "max 100000\n", CPUS),
        ("cpu.max", "100000000 100000\n", CPUS),
        ("cpu.max", "", CPUS),
        ("nothing", "", CPUS),
    ],
)
def test_cpus_are_those_of_the_affinity_mask_or_of_a_tighter_quota(
    tmp_path: Path, name: str, text: str, expected: float
) -> None:
    write(tmp_path, name, text)
    assert _resources.cpu_count(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("25000", 0.25), ("-1", CPUS)])
def test_the_older_form_of_a_quota_counts_too(tmp_path: Path, quota: str, expected: float) -> None:
    write(tmp_path, "cpu/cpu.cfs_quota_us", quota)
    write(tmp_path, "cpu/cpu.cfs_period_us", "100000")
    assert _resources.cpu_count(tmp_path) == expected


def test_whole_cpus_are_at_least_one() -> None:
    assert _resources.whole_cpus() >= 1


@pytest.mark.parametrize(
    ("present", "visible", "expected"),
    [(0, "0", 0), (2, None, 2), (2, "0", 1), (2, "", 0), (2, "-1", 0), (2, "0,1,2", 2), (2, "GPU-a, GPU-b", 2)],
)
def test_gpus_are_those_of_the_driver_that_are_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: int, visible: str | None, expected: int
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for number in range(present):
        (tmp_path / f"0000:0{number}").mkdir()
    assert _resources.gpu_count(tmp_path, visible) == expected


def test_without_a_driver_there_is_no_gpu(tmp_path: Path) -> None:
    assert _resources.gpu_count(tmp_path / "nothing") == 0


def test_kills_for_lack_of_memory_are_counted_where_the_kernel_says(tmp_path: Path) -> None:
    assert _resources.oom_kills(tmp_path) == 0
    write(tmp_path, "memory.events", "low 0\noom 4\noom_kill 3\n")
    assert _resources.oom_kills(tmp_path) == 3


def test_the_memory_of_this_process_is_read_and_unknown_where_the_kernel_does_not_say(tmp_path: Path) -> None:
    statm = tmp_path / "statm"
    statm.write_text("9000 250 100 1 0 200 0\n")
    assert _resources.resident_bytes(statm) == 250 * os.sysconf("SC_PAGE_SIZE")
    assert _resources.resident_bytes(tmp_path / "none") == 0
