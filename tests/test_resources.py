from __future__ import annotations

import resource

import psutil
import pytest

from simple_dqn.errors import UsageError
from simple_dqn.options.resources import HEADROOM, available_memory, require_memory

GB = 10**9


def write_cgroup(folder, limit, used, cache, names=("memory.max", "memory.current")):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")


@pytest.fixture(autouse=True)
def _plenty_of_memory(monkeypatch):
    class Free:
        available = 64 * GB

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Free)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)


def test_available_memory_without_a_container(tmp_path):
    assert available_memory(tmp_path) == 64 * GB


def test_cgroups_v2_and_their_parents(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/outer/inner\n")
    top = tmp_path / "sys/fs/cgroup"
    write_cgroup(top / "outer", 8 * GB, 3 * GB, GB)
    write_cgroup(top / "outer/inner", "max", 2 * GB, 0)
    assert available_memory(tmp_path) == 6 * GB
    write_cgroup(top / "outer/inner", 4 * GB, 3 * GB, 0)
    assert available_memory(tmp_path) == 1 * GB


def test_cgroups_v1_also_from_inside_a_container(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("3:cpu:/\n9:hugetlb,memory:/docker/abc\n0::/\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    write_cgroup(tmp_path / "sys/fs/cgroup/memory", 5 * GB, 2 * GB, 0, names)
    assert available_memory(tmp_path) == 3 * GB
    write_cgroup(tmp_path / "sys/fs/cgroup/memory/docker/abc", 2**63 - 4096, GB, 0, names)
    assert available_memory(tmp_path) == 3 * GB


def test_address_space_limit_is_respected(tmp_path, monkeypatch):
    vms = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda _: (vms + GB, vms + GB))
    assert available_memory(tmp_path) == pytest.approx(GB, rel=0.1)


def test_too_large_memory_suggests_a_size_that_fits(monkeypatch):
    monkeypatch.setattr("simple_dqn.options.resources.available_memory", lambda: 4 * GB + HEADROOM)
    require_memory(4 * GB, 500_000)
    with pytest.raises(UsageError, match=r"takes 7\.1 GB .* only 4\.0 GB .* --replay_size 560000"):
        require_memory(7_066 * 10**6, 10**6)
