"""How many cores of the CPU a process may use: libraries ask the machine, which may have many more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def available_cores(membership: Path = _MEMBERSHIP, groups: Path = _GROUPS) -> int:
    """Return how many cores this process may keep busy: by its affinity and the quotas of its control groups.

    Part of a core is left out, since a thread on it would be halted again and again; one is always left.

    Args:
        membership: which control groups the process is in, as Linux lists them.
        groups: where they are mounted.
    """
    quotas = _quotas(membership, groups)
    return max(1, int(min([bound_cores(), *quotas])))


def bound_cores() -> int:
    """Return how many cores this process is bound to: all where the system binds no process, as macOS."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(membership: Path, groups: Path) -> Iterator[float]:
    """Yield the quota, in cores, of each control group that the process is in, and of those that contain it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux, or hidden
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # A container may see only its own group, mounted in place of the root: what is missing is passed over.
        group = Path(path.lstrip("/"))
        for part in (group, *group.parents):
            yield from _quota(groups / controllers / part)


def _quota(group: Path) -> Iterator[float]:
    """Yield the quota of one group, of version 2 or 1, if it has one."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        if quota != "max" and int(quota) > 0:
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return
