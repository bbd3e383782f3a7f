"""The shares of a snapshot's filters and hidden units that never fire in whole games.

python benchmarks/dead_units.py SNAPSHOT [--games 2] [--exploration_rate 0.02]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.commands.snapshots import snapshot_config, snapshot_run
from simple_dqn.environment import Step
from simple_dqn.networks.dormancy import dead_shares
from simple_dqn.storage.snapshot import load_snapshot


class Seen(Callback):
    """Keeps every second state."""

    def __init__(self) -> None:
        self.states: list[NDArray[Any]] = []
        self.steps = 0

    def on_step(self, agent: Agent, step: Step) -> None:
        """See Callback."""
        self.steps += 1
        if self.steps % 2:
            self.states.append(agent.buffer.states[0].copy())


def main() -> None:
    """Play, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("--games", type=int, default=2)
    parser.add_argument("--exploration_rate", type=float, default=0.02)
    args = parser.parse_args()
    snapshot = load_snapshot(args.snapshot)
    given = {"exploration_rate_test": args.exploration_rate, "random_seed": 1}
    with snapshot_run(snapshot, snapshot_config(snapshot, given), "", with_tests=False) as run:
        run.agent.callbacks.append(seen := Seen())
        run.agent.play(args.games)
        states = np.stack(seen.states)
        filters, units = dead_shares(
            run.network.network,
            lambda: [run.network.predict(part, hooks=True) for part in np.array_split(states, 50)],
        )
    print(f"{len(states)} states of {args.games} games: {filters:.1%} of the filters and "
          f"{units:.1%} of the hidden units never fire")  # fmt: skip


if __name__ == "__main__":
    main()
