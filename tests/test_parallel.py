"""ParallelEnvironment: what worker processes play is what this process would have played."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from simple_dqn.environment import Environment
from simple_dqn.errors import UsageError
from simple_dqn.games import find_game, make_environment
from simple_dqn.parallel import ParallelEnvironment
from simple_dqn.resolve import resolve
from simple_dqn.structures import Step


def play(name, num_envs, workers, steps, seed=3, **options):
    """Play at random, now as in training, now as in a test; return all that was observed."""
    kind, game, rom = find_game(name, "auto")
    config = resolve({"environment": kind, "workers": workers, "random_seed": 0, **options})
    env = make_environment(config, game, rom, num_envs, np.random.SeedSequence(seed))
    assert isinstance(env, ParallelEnvironment) == bool(workers)
    rng = np.random.default_rng(1)
    seen = []
    for phase in range(2):
        env.training = env.remembered = not phase
        seen.append(env.restart())
        for _ in range(steps):
            step = env.act(rng.integers(len(env.action_meanings), size=num_envs))
            seen += list(step)
            ended = np.flatnonzero(step.terminals | step.truncateds)
            if len(ended):
                seen.append(env.restart(ended))
    env.close()
    return seen


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("breakout", {"repeat_action_probability": 0.25, "test_frame_cap": 200}),
        ("CartPole-v1", {"preset": "vector"}),
    ],
)
def test_workers_play_what_one_process_would(name, options):
    expected = play(name, 5, 0, 60, **options)
    for workers in (2, 9):  # more than lanes: one a lane
        seen = play(name, 5, workers, 60, **options)
        assert len(seen) == len(expected)
        for ours, theirs in zip(seen, expected, strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


class Fragile(Environment):
    """Fails at its third step."""

    def __init__(self, seed):
        self.num_envs, self.steps = 1, 0
        self.action_meanings = ["0", "1"]
        self.observation_shape, self.observation_dtype = (2,), np.dtype(np.float32)

    def restart(self, lanes=None):
        return np.zeros((1, 2), np.float32)

    def act(self, actions):
        self.steps += 1
        if self.steps == 3:
            raise ZeroDivisionError("third")
        no = np.zeros(1, np.bool_)
        return Step(np.full((1, 2), actions[0], np.float32), np.ones(1, np.float32), no, no, no)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_fails_in_a_worker_is_told_here():
    env = ParallelEnvironment(Fragile, 2, np.random.SeedSequence(0), 2)
    env.restart()
    assert env.act(np.array([1, 0])).observations.tolist() == [[1, 1], [0, 0]]
    env.act(np.array([1, 0]))
    with pytest.raises(UsageError, match="ZeroDivisionError: third"):
        env.act(np.array([1, 0]))
    env.close()


def test_a_worker_that_dies_is_told_and_none_outlives_its_environment():
    env = ParallelEnvironment(Fragile, 4, np.random.SeedSequence(0), 2)
    assert not env.processes  # nobody has asked for a game
    env.restart()
    pids = [process.pid for process in env.processes]
    os.kill(pids[0], signal.SIGINT)  # Ctrl-C reaches all processes of a terminal
    assert env.act(np.zeros(4, int)).rewards.tolist() == [1, 1, 1, 1]
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(UsageError, match="a process that played games has died"):
        env.act(np.zeros(4, int))
    env.close()
    assert not any(map(alive, pids))
    env.close()  # twice is no error


def test_a_game_that_cannot_be_made_is_refused():
    kind, game, rom = find_game("pong", "auto")
    config = resolve({"environment": kind, "workers": 2, "game_mode": 99, "random_seed": 0})
    with pytest.raises(UsageError, match="--game_mode of pong is one of"):
        make_environment(config, game, rom, 2, np.random.SeedSequence(0))


def test_shown_games_stay_in_this_process():
    kind, game, rom = find_game("pong", "auto")
    config = resolve({"environment": kind, "workers": 2, "random_seed": 0})
    make = partial(make_environment, config, game, rom, 2, np.random.SeedSequence(0))
    env = make(shown=True)
    assert not isinstance(env, ParallelEnvironment)
    env.close()


def test_workers_end_when_the_process_that_trains_is_killed(tmp_path):
    """With their pipe broken nobody is left to play for."""
    script = tmp_path / "train.py"
    script.write_text(
        "import numpy as np, time\n"
        "from simple_dqn.parallel import ParallelEnvironment\n"
        "from tests.test_parallel import Fragile\n"
        "if __name__ == '__main__':\n"
        "    env = ParallelEnvironment(Fragile, 2, np.random.SeedSequence(0), 2)\n"
        "    env.restart()\n"
        "    print(*[p.pid for p in env.processes], flush=True)\n"
        "    time.sleep(60)\n"
    )
    here = os.path.dirname(os.path.dirname(__file__))
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([here, os.path.join(here, "src")])},
    )  # fmt: skip
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))
