"""Cores are counted as the system hands them out, not as the machine has them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from metfa.runtime.cores import available_cores

if TYPE_CHECKING:
    from pathlib import Path

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "100000 100000"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1),  # the one that contains it
        ("0::/a\n", {"a/cpu.max": "max 100000"}, ALL),
        ("0::/a\n", {"a/cpu.max": "12800000 100000"}, ALL),  # more than the machine has
        ("0::/a\n", {"a/cpu.max": "50000 100000"}, 1),  # half a core
        ("0::/gone\n", {"cpu.max": "100000 100000"}, 1),  # a container sees its own group as the root
        (
            "4:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "100000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALL),
        ("4:memory:/a\n", {"memory/a/cpu.cfs_quota_us": "1", "memory/a/cpu.cfs_period_us": "100000"}, ALL),
        ("0::/\n", {"cpu.max": "nonsense"}, ALL),
        ("0::/\n", {}, ALL),
    ],
)
def test_quotas_of_control_groups_count(membership: str, files: dict[str, str], cores: int, tmp_path: Path) -> None:
    listed = tmp_path / "cgroup"
    listed.write_text(membership)
    for name, content in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(content + "\n")
    assert available_cores(listed, tmp_path / "groups") == cores


def test_affinity_counts(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cores(tmp_path / "no such file", tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_where_no_process_is_bound_to_cores_it_has_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS and Windows
    assert available_cores(tmp_path / "no such file", tmp_path) == os.cpu_count()
