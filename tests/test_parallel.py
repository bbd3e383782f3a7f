"""ParallelEnvironment: worker processes play exactly what a single process would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from simple_dqn.agent import Callback
from simple_dqn.commands.build import build, count_test_workers
from simple_dqn.environment import Environment, NotRepeatableError, Step
from simple_dqn.environments.games import find_game, make_environment
from simple_dqn.environments.parallel import ParallelEnvironment
from simple_dqn.errors import UsageError
from simple_dqn.options.resolve import resolve

CPU = torch.device("cpu")


def play(name, num_envs, workers, steps, seed=3, **options):
    """Play at random, first as in training, then as in a test; return all observations."""
    kind, game, rom = find_game(name, "auto")
    config = resolve({"environment": kind, "random_seed": 0, **options})
    seeds = np.random.SeedSequence(seed)
    env = make_environment(config, game, rom, num_envs, seeds, workers=workers)
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
def test_workers_match_a_single_process(name, options):
    expected = play(name, 5, 0, 60, **options)
    for workers in (2, 9):  # more than lanes: one per lane
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


def test_worker_errors_are_reported():
    env = ParallelEnvironment(Fragile, 2, np.random.SeedSequence(0), 2)
    env.restart()
    assert env.act(np.array([1, 0])).observations.tolist() == [[1, 1], [0, 0]]
    env.act(np.array([1, 0]))
    with pytest.raises(UsageError, match="ZeroDivisionError: third"):
        env.act(np.array([1, 0]))
    env.close()


def test_dead_worker_is_reported_and_none_outlives_the_environment():
    env = ParallelEnvironment(Fragile, 4, np.random.SeedSequence(0), 2)
    assert not env.processes  # no game was requested yet
    env.restart()
    pids = [process.pid for process in env.processes]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as sent to a process group
        os.kill(pids[0], number)
    assert env.act(np.zeros(4, int)).rewards.tolist() == [1, 1, 1, 1]
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(ChildProcessError, match="a process that played games has died"):
        env.act(np.zeros(4, int))
    env.close()
    assert not any(map(alive, pids))
    env.close()  # closing twice is not an error


def test_first_workers_of_a_process_ignore_signals(tmp_path):
    """Python's helper process, which starts first, would otherwise unblock SIGINT and SIGTERM."""
    script = """if True:
        import os, signal
        import numpy as np
        from simple_dqn.environments.parallel import ParallelEnvironment
        from tests.test_parallel import Fragile

        if __name__ == "__main__":
            env = ParallelEnvironment(Fragile, 2, np.random.SeedSequence(0), 2)
            env.restart()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(env.processes[0].pid, number)
            assert env.act(np.zeros(2, int)).rewards.tolist() == [1, 1]
            env.close()
    """
    path = tmp_path / "first.py"
    path.write_text(script)
    root = str(Path(__file__).parents[1])
    subprocess.run([sys.executable, path], check=True, env={**os.environ, "PYTHONPATH": root})


class NotRestorable(Fragile):
    """Games whose state cannot be restored."""

    def state_dict(self):
        return dict(lanes=[{}], observations=np.zeros((1, 2), np.float32))

    def load_state_dict(self, state):
        raise NotRepeatableError("forgotten")


def test_workers_restart_games_that_cannot_be_restored():
    env = ParallelEnvironment(NotRestorable, 4, np.random.SeedSequence(0), 2)
    assert env.state_dict() is None  # nothing was played yet
    observations = env.restart()
    state = dict(lanes=[{}] * 4, observations=observations)
    for _ in range(2):
        with pytest.raises(NotRepeatableError, match="forgotten"):
            env.load_state_dict(state)
    env.restart()
    assert env.act(np.zeros(4, int)).rewards.tolist() == [1, 1, 1, 1]
    env.close()


class Overrides(Callback):
    """Overrides the actions of all lanes with action 1."""

    def on_act(self, agent, actions):
        assert actions.shape == (5,)
        actions[:] = 1


def test_callback_overrides_the_actions_of_all_groups():
    kind, game, rom = find_game("breakout", "auto")
    config = resolve({"environment": kind, "random_seed": 1, "num_envs": 5, "workers": 2})
    with build(config, game, rom, with_tests=False) as run:
        run.agent.callbacks.append(Overrides())
        run.agent.play_random(10)
        memory = run.agent.memory
        assert (
            memory.actions[~memory.starts & (memory.screens.any(axis=(2, 3)))].tolist() == [1] * 10
        )
        assert [(g.start, g.stop) for g in run.environment.groups] == [(0, 3), (3, 5)]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_testing_with_workers_gives_the_same_scores(two_threads):
    """Each worker has a copy of the network, so the one in this process is not used."""
    kind, game, rom = find_game("breakout", "auto")
    results = []
    for workers in (0, 2):
        config = resolve(
            {
                "environment": kind, "random_seed": 1, "test_games": 7, "test_envs": 5,
                "test_workers": workers, "test_frame_cap": 200, "exploration_rate_test": 0.5,
            }
        )  # fmt: skip
        with build(config, game, rom, with_memory=False) as run:
            sizes, predict = [], run.network.predict
            run.network.predict = lambda s: sizes.append(len(s)) or predict(s)  # noqa: B023
            run.agent.test(games=7)
            results.append((run.statistics.game_rewards, run.statistics.game_steps))
        assert torch.get_num_threads() == 2
        assert set(sizes) == (set() if workers else {5})
    assert results[0] == results[1]
    assert len(results[0][0]) == 7


def test_default_number_of_test_workers(two_threads):
    rom = find_game("breakout", "auto")[2]
    assert rom is not None
    auto = resolve({"random_seed": 1})
    assert [count_test_workers(auto, rom, lanes, CPU) for lanes in (1, 3, 4, 16)] == [0, 0, 2, 2]
    assert count_test_workers(auto, None, 16, CPU) == 0  # not an Atari game
    assert count_test_workers(resolve({"random_seed": 1, "test_workers": 5}), None, 16, CPU) == 5
    torch.set_num_threads(1)
    assert count_test_workers(auto, rom, 16, CPU) == 0
    gpu = torch.device("cuda")
    cores = len(psutil.Process().cpu_affinity())
    assert count_test_workers(auto, rom, 1000, gpu) == (cores if cores > 1 else 0)


def test_invalid_game_is_refused():
    kind, game, rom = find_game("pong", "auto")
    config = resolve({"environment": kind, "game_mode": 99, "random_seed": 0})
    with pytest.raises(UsageError, match="--game_mode of pong must be one of"):
        make_environment(config, game, rom, 2, np.random.SeedSequence(0), workers=2)


def test_displayed_games_run_in_this_process():
    kind, game, rom = find_game("pong", "auto")
    config = resolve({"environment": kind, "random_seed": 0})
    make = partial(make_environment, config, game, rom, 2, np.random.SeedSequence(0))
    env = make(shown=True, workers=2)
    assert not isinstance(env, ParallelEnvironment)
    env.close()


def test_workers_exit_when_the_training_process_is_killed(tmp_path):
    """They notice it by their broken pipe."""
    script = tmp_path / "train.py"
    script.write_text(
        "import numpy as np, time\n"
        "from simple_dqn.environments.parallel import ParallelEnvironment\n"
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
