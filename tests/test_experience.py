"""Experience files: lossless round trips; damage and other games are reported."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_dqn.errors import UsageError
from simple_dqn.main import main
from simple_dqn.options.definitions import Config
from simple_dqn.options.environment_options import EnvironmentOptions
from simple_dqn.storage.experience_file import KIND, load_experience, save_experience
from simple_dqn.storage.files import load_tensors, save_tensors
from tests.test_end_to_end import SMALL, refuse, rows
from tests.test_replay_memory import make

ALE = Config(EnvironmentOptions("ale"))
SCREEN, VECTOR = ((7, 5), np.uint8), ((3,), np.float32)


class Game:
    """What an experience file needs of an environment."""

    def __init__(self, kind=SCREEN, actions=("LEFT", "RIGHT")):
        shape, dtype = kind
        self.observation_shape, self.observation_dtype = shape, np.dtype(dtype)
        self.action_meanings = list(actions)


def fill(memory, seed, steps, kind=SCREEN):
    """Play random games, some of which terminate and some of which are truncated."""
    rng = np.random.default_rng(seed)
    shape, dtype = kind
    n = memory.num_envs

    def observe(count):
        return (rng.normal(0, 100, (count, *shape)) if dtype != np.uint8 else
                rng.integers(0, 256, (count, *shape))).astype(dtype)  # fmt: skip

    memory.restart(None, observe(n))
    for _ in range(steps):
        terminals, truncated = rng.random((2, n)) < 0.1
        rewards = rng.normal(0, 1, n).astype(np.float32)
        memory.add(rng.integers(2, size=n), rewards, observe(n), terminals)
        ended = np.flatnonzero(terminals | truncated)
        if len(ended):
            memory.restart(ended, observe(len(ended)))
    return memory


def round_trip(memory, path, kind=SCREEN):
    save_experience(path, memory.experience(), Config(), "pong", Game(kind))
    return load_experience(path, Config(), "pong", Game(kind))


@pytest.mark.parametrize("kind", [SCREEN, VECTOR])
@pytest.mark.parametrize("options", [{}, {"n_step": 3, "padding": "reject"}])
def test_loaded_memory_samples_the_same_batches(tmp_path, kind, options):
    shape, dtype = kind
    options = dict(options, size=5000, shape=shape, dtype=dtype)
    played = fill(make(**options), seed=1, steps=2500, kind=kind)  # more than one chunk
    loaded = make(**options)
    loaded.extend(round_trip(played, tmp_path / "file", kind))
    assert loaded.count == played.count == 2500
    for _ in range(5):
        for ours, theirs in zip(loaded.sample(64), played.sample(64), strict=True):
            assert (ours == theirs).all()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999), steps=st.integers(1, 60), lanes=st.integers(1, 3),
    into=st.integers(1, 3), slots=st.integers(8, 40),
)  # fmt: skip
def test_every_valid_transition_survives_a_round_trip(seed, steps, lanes, into, slots):
    """From any number of lanes to any other, even after the memory has wrapped around."""
    options = dict(shape=(), dtype=np.int64, history_length=2, n_step=2)
    played = fill(make(size=lanes * slots, num_envs=lanes, **options), seed, steps, ((), np.int64))
    experience = played.experience()
    loaded = make(size=into * 1000, num_envs=into, **options)
    assert experience.starts[0]
    loaded.extend(experience)

    def transitions(memory, numbers):
        memory._draw = lambda _: memory._locate(numbers)
        batch = memory.sample(len(numbers))
        return Counter(map(str, zip(batch.states.tolist(), *map(list, batch[1:5]), strict=True)))

    before = transitions(played, played._every_valid())
    after = transitions(loaded, loaded._every_valid())
    assert before <= after
    # More only where an episode's first screen is overwritten: one screen before its states.
    forgotten = not all(played.starts[lane, played._slots(lane, 0)] for lane in range(lanes))
    assert (after - before).total() <= forgotten * lanes


def test_similar_screens_compress_well(tmp_path):
    memory = make(size=3000, shape=(84, 84), dtype=np.uint8)
    screen = np.random.default_rng(0).integers(0, 256, (1, 84, 84), np.uint8)
    memory.restart(None, screen)
    for t in range(2000):
        screen[0, t % 84, :8] += 1
        memory.add(np.zeros(1, int), np.zeros(1, np.float32), screen, np.zeros(1, bool))
    round_trip(memory, tmp_path / "file", ((84, 84), np.uint8))
    assert (tmp_path / "file").stat().st_size < 2001 * 84 * 84 / 100


@pytest.mark.parametrize(
    ("config", "game", "environment", "message"),
    [
        (ALE, "breakout", Game(), "played with 'pong', not 'breakout'"),
        (ALE, "pong", Game(actions=("LEFT", "FIRE")), "'LEFT RIGHT', not 'LEFT FIRE'"),
        (ALE, "pong", Game(((8, 5), np.uint8)), "'uint8 7 5', not 'uint8 8 5'"),
        (Config(EnvironmentOptions("ale", frame_skip=3)), "pong", Game(), "--frame_skip 4"),
        (Config(EnvironmentOptions("gym")), "pong", Game(), "played with 'ale', not 'gym'"),
    ],
)
def test_other_games_and_recipes_are_refused(tmp_path, config, game, environment, message):
    played = fill(make(shape=(7, 5), dtype=np.uint8), 1, 9)
    file = tmp_path / "file"
    save_experience(file, played.experience(), Config(EnvironmentOptions("ale")), "pong", Game())
    with pytest.raises(UsageError, match=message) as error:
        load_experience(file, config, game, environment)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["screens", "actions", "rewards", "terminals", "starts"])
@pytest.mark.parametrize("damage", ["short", "missing", "float", "huge"])
def test_damage_is_reported(tmp_path, name, damage):
    file = tmp_path / "file"
    round_trip(fill(make(shape=(7, 5), dtype=np.uint8), 1, 9), file)
    tensors, metadata = load_tensors(file, KIND)
    if damage == "missing":
        del tensors[name]
    elif damage == "short":
        tensors[name] = tensors[name][:-1].clone()
    elif damage == "float":
        tensors[name] = tensors[name].double()
    else:
        tensors[name] = tensors[name].repeat(100_000)
    save_tensors(file, KIND, tensors, metadata)
    with pytest.raises(UsageError, match="is damaged"):
        load_experience(file, Config(), "pong", Game())


def test_unknown_action_is_reported(tmp_path):
    file = tmp_path / "file"
    round_trip(fill(make(shape=(7, 5), dtype=np.uint8), 1, 9), file)
    tensors, metadata = load_tensors(file, KIND)
    tensors["actions"][3] = 2
    save_tensors(file, KIND, tensors, metadata)
    with pytest.raises(UsageError, match="no such action"):
        load_experience(file, Config(), "pong", Game())


# --- from the command line -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A folder with a short training run of Pong and a game played by its network."""
    folder = tmp_path_factory.mktemp("played")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "pong", *SMALL, "--epochs", "1", "--random_seed", "1"]) == 0
        play = ["play", "snapshots/pong_1.safetensors", "--display", "none", "--random_seed", "2"]
        assert main([*play, "--save_experience", "pong.experience"]) == 0
    return folder


@pytest.fixture
def in_played(played, monkeypatch):
    monkeypatch.chdir(played)
    return played


def test_saved_game_is_used_for_offline_training(in_played):
    options = ["--load_experience", "pong.experience", "--offline", *SMALL[2:], "--overwrite"]
    assert main(["train", "pong", "offline", *options, "--random_seed", "3"]) == 0
    found = rows("results/pong_offline.csv")
    assert [(r["phase"], r["steps"], r["weight_updates"]) for r in found] == [
        ("train", "120", "30"), ("test", "40", "30"), ("train", "120", "60"), ("test", "40", "60"),
    ]  # fmt: skip
    assert found[0]["replay_memory_count"] == found[2]["replay_memory_count"] != "0"
    assert found[0]["nr_games"] == "0"
    assert float(found[0]["meancost"]) > 0
    assert found[0]["last_exploration_rate"] == "nan"
    # A resumed offline run starts with the same experience.
    assert main(["resume", "snapshots/pong_offline_1.safetensors", "--epochs", "3"]) == 0
    assert rows("results/pong_offline.csv")[-2]["weight_updates"] == "90"
    assert (
        rows("results/pong_offline.csv")[-2]["replay_memory_count"]
        == found[0]["replay_memory_count"]
    )


def test_training_starts_with_loaded_experience(in_played):
    run = ["train", "pong", "more", "--load_experience", "pong.experience", "pong.experience"]
    assert main([*run, *SMALL, "--replay_size", "10000", "--overwrite"]) == 0
    tensors, _ = load_tensors(Path("pong.experience"), KIND)
    steps = len(tensors["starts"]) - int(tensors["starts"].sum())
    first = rows("results/pong_more.csv")[0]
    assert (first["phase"], first["replay_memory_count"]) == ("random", str(2 * steps + 60))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "breakout", *SMALL, "--load_experience", "pong.experience"], "not 'breakout'"),
        (["train", "pong", "x", "--load_experience", "pong.experience"],
         "--screen_width 36 --screen_height 36"),
        (["train", "pong", "x", "--load_experience", "none"], "there is no file 'none'"),
        (["train", "pong", "x", "--load_experience"], "expected at least one argument"),
        (["train", "pong", "x", *SMALL[2:], "--offline"], "learns from --load_experience"),
        (["train", "pong", "x", *SMALL, "--offline"], "--random_steps has no effect with"),
        (["train", "pong", "x", *SMALL, "--load_experience", "snapshots/pong_1.safetensors"],
         "is a snapshot, not a file of experience"),
        (["play", "snapshots/pong_1.safetensors", "--save_experience", "pong.experience"],
         "'pong.experience' exists"),
        (["play", "snapshots/pong_1.safetensors", "--save_experience", "/proc/x/y"],
         "cannot write into"),
        (["play", "snapshots/pong_1.safetensors", "--save_experience", "snapshots", "--overwrite"],
         "is a folder"),
        (["play", "snapshots/pong_1.safetensors", "--overwrite", "--save_experience",
          "snapshots/pong_1.safetensors"], "is a snapshot's name"),
        (["play", "snapshots/pong_1.safetensors", "--replay_size", "1000"],
         "no effect without --save_experience"),
        (["train", "pong", "x", "--play_games", "1", "--load_experience", "none"],
         "--play_games learns nothing"),
        (["train", "pong", "x", *SMALL[2:], "--offline", "--exploration_rate_end", "0"],
         "--exploration_rate_end has no effect with"),
    ],
)  # fmt: skip
def test_invalid_experience_options_are_refused_in_one_line(in_played, capsys, arguments, message):
    before = Path("pong.experience").read_bytes()
    refuse(capsys, arguments, message)
    assert not Path("results/pong_x.csv").exists()
    assert Path("pong.experience").read_bytes() == before


def test_loaded_experience_is_spread_evenly_over_the_lanes():
    """If there is more than fits, each lane keeps its latest screens."""
    long = make(size=1000)
    for episode in range(100):
        long.restart(None, np.full(1, 10 * episode))
        for t in range(1, 10):
            screen = np.full(1, 10 * episode + t)
            long.add(np.zeros(1, int), np.zeros(1, np.float32), screen, np.zeros(1, bool))
    lanes = make(size=400, num_envs=4)
    lanes.extend(long.experience())
    assert sorted(lanes.screens.reshape(-1)) == list(range(600, 1000))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"recipe": {}}, "does not say how it was played"),
        ({"recipe": {"frame_skip": "\x1b[31m" * 99}}, "does not say how it was played"),
        ({"action_meanings": "LEFT RIGHT"}, "does not say how it was played"),
        ({"game": "x\x1b" * 500}, "it was played with 'x"),
    ],
)
def test_hostile_metadata_is_refused_in_one_line(in_played, capsys, metadata, message):
    tensors, original = load_tensors(Path("pong.experience"), KIND)
    save_tensors(Path("hostile"), KIND, tensors, {**original, **metadata})
    options = ["--load_experience", "hostile", *SMALL]
    refuse(capsys, ["train", "pong", "x", *options], message)


def test_terminated_play_saves_its_experience(played, tmp_path):
    play = [
        sys.executable,
        "-m",
        "simple_dqn",
        "play",
        str(played / "snapshots/pong_1.safetensors"),
    ]
    file = tmp_path / "killed.experience"
    options = ["--display", "none", "--games", "99", "--save_experience", str(file)]
    process = subprocess.Popen([*play, *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()  # the first game is over
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    tensors, _ = load_tensors(file, KIND)
    assert len(tensors["starts"]) > 100
