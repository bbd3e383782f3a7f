"""Our training against Stable-Baselines3's DQN: same game, batch, update frequency and machine.

    python benchmarks/peers.py [--game breakout] [--rounds 3] [--json FILE]

The peer is installed into an environment of its own, benchmarks/.venv, on first use. The two run in
turn, each in a fresh process; both step one game with frame skip 4, learn a batch of 32 each 4
steps and explore at ε .1. Medians and their ratio count, not single figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
PEER_VENV = HERE / ".venv"
PEERS = ["stable-baselines3==2.9.2", "ale-py==0.12.1", "torch==2.13.0", "opencv-python-headless"]

# Runs in the peer's environment: the clock starts after the first 400 learning steps.
STABLE_BASELINES3 = """
import sys, time
import ale_py, gymnasium
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack
gymnasium.register_envs(ale_py)
start, warm_up, steps = 1000, 400, 2000
class Clock(BaseCallback):
    def _on_step(self):
        if self.num_timesteps == start + warm_up:
            self.began = time.perf_counter()
        return True
game = "".join(word.capitalize() for word in sys.argv[1].split("_"))
env = VecFrameStack(make_atari_env(f"{game}NoFrameskip-v4", n_envs=1, seed=1), 4)
model = DQN("CnnPolicy", env, buffer_size=20_000, learning_starts=start, batch_size=32,
            train_freq=4, gradient_steps=1, target_update_interval=10_000, learning_rate=1e-4,
            exploration_initial_eps=.1, exploration_final_eps=.1, device="cpu")
clock = Clock()
model.learn(start + warm_up + steps, callback=clock)
print(steps / (time.perf_counter() - clock.began))
"""


def peer_python() -> Path:
    """Return the interpreter of the peer's environment; install it if it is missing."""
    python = PEER_VENV / "bin" / "python"
    if not (PEER_VENV / "installed").exists():
        venv.create(PEER_VENV, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        (PEER_VENV / "installed").touch()
    return python


def main() -> None:
    """Run both in turn, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--game", default="breakout")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    args = parser.parse_args()

    throughput = [sys.executable, str(HERE / "throughput.py"), "--phase", "train"]
    commands = {
        "simple_dqn": [*throughput, "--game", args.game, "--", "--backend", "cpu"],
        "stable-baselines3": [str(peer_python()), "-c", STABLE_BASELINES3, args.game],
    }
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            last = json.loads(result.stdout.splitlines()[-1])
            rates[name].append(last if isinstance(last, float) else last["steps_per_second"])

    peer = statistics.median(rates["stable-baselines3"])
    print(f"{args.game}, training, float32, two in turn, {args.rounds} rounds")
    print(f"{'':20}{'steps/s':>10}{'lowest':>10}{'highest':>10}{'ratio':>8}")
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"{name:20}{median:10.0f}{min(found):10.0f}{max(found):10.0f}{median / peer:8.2f}")
    if args.json:
        args.json.write_text(json.dumps({"game": args.game, "steps_per_second": rates}) + "\n")


if __name__ == "__main__":
    main()
