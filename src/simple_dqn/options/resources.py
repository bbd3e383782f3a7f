"""The memory that is available, within the limits of the container, if there is one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from simple_dqn.errors import UsageError

# Copies of the weights in training: online and target network, gradient, two optimiser means.
COPIES = 5
HEADROOM = 500_000_000  # bytes for everything but the replay memory


def available_memory(root: Path = Path("/")) -> int:
    """Return the number of bytes that this process can still allocate.

    It is the smallest of: the memory available in the system; what is left of the limit of each
    control group of this process and of their parents (versions 1 and 2); what is left of the
    limit of the address space.
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
        # Inside a container the path is often the host's: then only the top folder exists.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                limit = (folder / limit_name).read_text().strip()
                used = int((folder / used_name).read_text()) - _reclaimable(folder)
                if limit != "max":
                    yield int(limit), used
            except (OSError, ValueError):
                pass  # the level does not exist or has no limit
            if folder == top:
                break


def _reclaimable(folder: Path) -> int:
    """Return the bytes of a group's file cache, which the kernel frees before it kills."""
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def require_memory(needed: int, replay_size: int) -> None:
    """Raise UsageError if a replay memory of ``needed`` bytes does not fit into memory."""
    available = available_memory() - HEADROOM
    if needed > available:
        fits = int(replay_size * max(available, 0) / needed)
        raise UsageError(
            f"--replay_size {replay_size} takes {needed / 1e9:.1f} GB when full, but only "
            f"{max(available, 0) / 1e9:.1f} GB of memory is available; "
            f"--replay_size {_round(fits)} would fit"
        )


def require_network_memory(weights: int) -> None:
    """Raise UsageError if training a network with ``weights`` bytes does not fit into memory."""
    needed, available = COPIES * weights, available_memory()
    if needed > available:
        raise UsageError(
            f"training this network takes {needed / 1e9:.1f} GB, but only {available / 1e9:.1f} "
            f"GB of memory is available: reduce --hidden_units, --hidden_layers or --filters"
        )


def _round(number: int) -> int:
    """Return a number rounded down to two significant digits."""
    digits = max(len(str(number)) - 2, 0)
    scale = int(10**digits)
    return number // scale * scale
