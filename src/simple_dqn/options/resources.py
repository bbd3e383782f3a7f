"""What the machine has left: memory, within the limits of the container we run in."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from simple_dqn.errors import UsageError

COPIES = 5  # of the weights: themselves, the target's, the gradient, two means of the optimiser
HEADROOM = 500_000_000  # bytes that the network and everything else take


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes that this process can still take.

    The least of: what the system has available, what is left of each control group we are in (its
    limit and those of its parents, versions 1 and 2), and what is left of our address space limit.
    """
    left = [int(psutil.virtual_memory().available)]
    left += [max(limit - used, 0) for limit, used in _control_groups(root)]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        left.append(max(soft - int(psutil.Process().memory_info().vms), 0))
    return min(left)


def _control_groups(root: Path) -> Iterator[tuple[int, int]]:
    """Yield (limit, used) in bytes of each memory control group around this process."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # not Linux
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top, limit_name, used_name = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            limit_name, used_name = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # Inside a container the path is often the host's: then only the top is there to see.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                limit = (folder / limit_name).read_text().strip()
                used = int((folder / used_name).read_text()) - _reclaimable(folder)
                if limit != "max":
                    yield int(limit), used
            except (OSError, ValueError):
                pass  # no such level, or one without a limit
            if folder == top:
                break


def _reclaimable(folder: Path) -> int:
    """Bytes of the group's file cache, which the kernel gives up before it kills anyone."""
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def require_memory(needed: int, replay_size: int) -> None:
    """Raise UsageError if a replay memory of ``needed`` bytes would not fit."""
    available = available_memory() - HEADROOM
    if needed > available:
        fits = int(replay_size * max(available, 0) / needed)
        raise UsageError(
            f"--replay_size {replay_size} takes {needed / 1e9:.1f} GB when full, but only "
            f"{max(available, 0) / 1e9:.1f} GB of memory are free for it; "
            f"--replay_size {_round(fits)} would fit"
        )


def require_network_memory(weights: int) -> None:
    """Raise UsageError if a network of so many bytes of weights would not fit."""
    needed, available = COPIES * weights, available_memory()
    if needed > available:
        raise UsageError(
            f"to train such a network takes {needed / 1e9:.1f} GB, but only {available / 1e9:.1f} "
            f"GB of memory are free: --hidden_units, --hidden_layers, --filters"
        )


def _round(number: int) -> int:
    """Round down to two digits."""
    digits = max(len(str(number)) - 2, 0)
    scale = int(10**digits)
    return number // scale * scale
