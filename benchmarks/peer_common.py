"""Shared by the scripts of the peers: how much is timed, and the output of the result.

A script ``peer_X.py GAME PHASE``, PHASE train or test, runs in the peers' virtual environment (see
peers.py) and is independent of this project. It prints JSON as its last line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version

import torch

MEMORY_SIZE = 20_000  # transitions
LEARNING_STARTS = 1_000  # random steps before training
WARM_UP = 416  # steps before the clock starts
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # as ours, by default
STEPS = {"train": 2_048, "test": 8_192}  # steps timed; a multiple of 4, 8 and 32


def speed(play: Callable[[int], object], phase: str) -> float:
    """Return the steps per second of `play`, which plays as many steps as its argument says."""
    play(WARM_UP)
    began = time.perf_counter()
    play(STEPS[phase])
    return STEPS[phase] / (time.perf_counter() - began)


def run(
    peer: str,
    distribution: str,
    train: Callable[[str], dict[str, float]],
    test: Callable[[str], dict[str, float]],
) -> None:
    """Measure the phase given on the command line and print the fastest configuration.

    `train` and `test` take an environment's id and return the steps per second of each
    configuration of the peer. The version is that of the installed `distribution`.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("game", help="such as space_invaders")
    parser.add_argument("phase", choices=STEPS)
    args = parser.parse_args()
    game = "".join(word.capitalize() for word in args.game.split("_"))
    ways = {"train": train, "test": test}[args.phase](f"{game}NoFrameskip-v4")
    fastest = max(ways, key=lambda way: ways[way])
    result = {
        "steps_per_second": ways[fastest],
        "torch": torch.__version__,
        "peer": f"{peer} {version(distribution)}",
        "threads": torch.get_num_threads(),
        "device": DEVICE,
        "way": fastest,
        "ways": ways,
    }
    print(json.dumps(result))
