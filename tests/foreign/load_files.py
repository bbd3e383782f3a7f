"""Load exported state dicts in the packages they are for, and write their own Q-values.

    benchmarks/.venv/bin/python tests/foreign/load_files.py FOLDER

FOLDER has states.npz and, by the names below, what ``export`` wrote.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from make_files import Screens, cleanrl_atari
from sb3_contrib import QRDQN
from stable_baselines3 import DQN


def main(folder: Path) -> None:
    """Load them all."""
    states = np.load(folder / "states.npz")
    screens, vectors = torch.as_tensor(states["screens"]), torch.as_tensor(states["vectors"])
    found = {}
    with torch.no_grad():
        model = DQN("CnnPolicy", Screens(), buffer_size=10, device="cpu")
        model.policy.load_state_dict(torch.load(folder / "screens.pth"))
        found["screens"] = model.q_net(screens)
        network = cleanrl_atari(4)
        network.load_state_dict(torch.load(folder / "screens.cleanrl_model"))
        found["cleanrl"] = network(screens)
        kwargs = dict(n_quantiles=5, net_arch=[24, 24])
        model = QRDQN("MlpPolicy", gym.make("CartPole-v1"), policy_kwargs=kwargs, device="cpu")
        model.policy.load_state_dict(torch.load(folder / "vectors.pth"))
        found["vectors"] = model.quantile_net(vectors).mean(dim=1)
    np.savez(folder / "q_values.npz", **{name: q.numpy() for name, q in found.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
