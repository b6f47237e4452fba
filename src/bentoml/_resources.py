"""What this process may use: CPUs of its affinity mask and cgroup quota, memory of its cgroup, GPUs."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["cpu_count", "gpu_count", "oom_kills", "resident_bytes", "whole_cpus"]

_CGROUP = Path("/sys/fs/cgroup")


def cpu_count(cgroup: Path = _CGROUP) -> float:
    """CPUs that this process may use: of its affinity mask, fewer where a cgroup quota is tighter."""
    try:
        available = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # not on macOS
        available = float(os.cpu_count() or 1)
    quota = _cgroup_quota(cgroup)
    return min(available, quota) if quota is not None else available


def whole_cpus() -> int:
    """`cpu_count`, rounded up: as many processes as can run at one time."""
    return max(1, math.ceil(cpu_count()))


def gpu_count(driver: Path = Path("/proc/driver/nvidia/gpus"), visible: str | None = None) -> int:
    """NVIDIA GPUs that this process may use: those of the driver, or as many as `CUDA_VISIBLE_DEVICES` names."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    try:
        present = len(list(driver.iterdir()))
    except OSError:
        return 0
    if visible is None:
        return present
    return min(present, len([name for name in visible.split(",") if name.strip() not in ("", "-1")]))


def _cgroup_quota(cgroup: Path) -> float | None:
    v2 = _read(cgroup / "cpu.max").split()
    if len(v2) == 2 and v2[0] != "max":
        return int(v2[0]) / int(v2[1])
    quota, period = _read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def oom_kills(cgroup: Path = _CGROUP) -> int:
    """How often the kernel has killed a process of this cgroup for lack of memory; 0 where it does not say."""
    for line in _read(cgroup / "memory.events").splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return 0


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """The memory that this process holds now, pages shared with others included; 0 where the kernel does not say."""
    fields = _read(statm).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
