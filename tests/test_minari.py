"""Datasets of Minari: what was played here, and what others collected."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from simple_dqn.errors import UsageError
from simple_dqn.main import main
from simple_dqn.options.definitions import Config
from simple_dqn.replay_memory import ReplayMemory
from simple_dqn.storage.experience_file import load_experience, save_experience
from simple_dqn.storage.minari_dataset import save_dataset

from .test_experience import SCREEN, VECTOR, Game, fill

minari = pytest.importorskip("minari")
EpisodeBuffer = minari.data_collector.episode_buffer.EpisodeBuffer


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path


def memory(kind) -> ReplayMemory:
    shape, dtype = kind
    return ReplayMemory(
        size=400, num_envs=1, history_length=4, shape=shape, dtype=np.dtype(dtype),
        discount_rate=0.9, n_step=3, min_reward=-1, max_reward=1, history_padding="zero",
        rng=np.random.default_rng(0),
    )  # fmt: skip


@pytest.mark.parametrize("kind", [SCREEN, VECTOR], ids=["screens", "vectors"])
def test_a_round_trip_samples_the_same_batches(kind):
    """Of random games, some of which terminate and some of which are truncated."""
    played = fill(memory(kind), 3, 200, kind)
    experience = played.experience()
    save_experience("minari:pong/mine-v0", experience, Config(), "pong", Game(kind))
    dataset = minari.load_dataset("pong/mine-v0")
    ends = np.flatnonzero(np.append(experience.starts[1:], True))
    terminal = [bool(experience.terminals[end]) for end in ends if not experience.starts[end]]
    assert [bool(e.terminations[-1]) for e in dataset.iterate_episodes()] == terminal
    assert [not e.truncations[-1] for e in dataset.iterate_episodes()] == terminal
    assert len(set(terminal)) == 2
    again = memory(kind)
    again.extend(load_experience("minari:pong/mine-v0", Config(), "pong", Game(kind)))
    for _ in range(20):
        for ours, theirs in zip(played.sample(16), again.sample(16), strict=True):
            if ours is not None:
                np.testing.assert_array_equal(ours, theirs)


def test_recorded_play_is_learnt_from(capsys):
    tiny = ["--filters", "4", "--hidden_units", "16", "--threads", "1", "--replay_size", "2000"]
    once = ["--train_steps", "60", "--test_steps", "0", "--epochs", "1", *tiny]
    assert main(["train", "breakout", "--random_steps", "50", *once]) == 0
    save = ["play", "snapshots/breakout_1.safetensors", "--display", "none", "--games", "1",
            "--test_frame_cap", "400", "--save_experience", "minari:breakout/net-v0"]  # fmt: skip
    assert main(save) == 0
    episodes = list(minari.load_dataset("breakout/net-v0").iterate_episodes())
    assert f"{sum(map(len, episodes))} steps" in capsys.readouterr().out
    assert all(e.observations.shape == (len(e) + 1, 84, 84) for e in episodes)
    assert episodes[-1].truncations[-1]  # after 400 frames
    assert main(save) == 2
    assert "exists: give another name" in capsys.readouterr().err
    assert main([*save, "--overwrite"]) == 0
    learn = ["--load_experience", "minari:breakout/net-v0", "--offline"]
    assert main(["train", "breakout", "more", *learn, *once]) == 0
    assert main(["train", "breakout", "x", *learn, *once, "--resize", "linear"]) == 2
    assert "it was played with --resize area" in capsys.readouterr().err


def test_a_dataset_that_others_collected():
    """Random play of CartPole, as Minari's users keep it."""
    environment, episodes = gymnasium.make("CartPole-v1"), []
    for seed in range(3):
        observations, rewards, ends = [environment.reset(seed=seed)[0]], [], []
        while not (ends and any(ends[-1])):
            observation, reward, *end, _ = environment.step(seed % 2)
            observations.append(observation)
            rewards.append(reward)
            ends.append(end)
        episodes.append(
            EpisodeBuffer(
                id=seed, observations=np.array(observations), actions=[seed % 2] * len(ends),
                rewards=rewards, terminations=[e[0] for e in ends],
                truncations=[e[1] for e in ends],
            )
        )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers("cartpole/random-v0", episodes, env="CartPole-v1")
    learn = ["--load_experience", "minari:cartpole/random-v0", "--offline", "--batch_size", "8"]
    assert main(["train", "CartPole-v1", *learn, "--epochs", "1", "--train_steps", "50"]) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minari:nothing/here-v0", "there is no dataset"),
        ("minari:", "cannot be a dataset's name"),
        ("minari:../../etc/passwd", "cannot be a dataset's name"),
    ],
)
def test_a_dataset_that_is_not_there(capsys, name, message):
    assert main(["train", "CartPole-v1", "--load_experience", name]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_dataset_of_another_game_and_a_damaged_one(capsys):
    played = fill(memory(VECTOR), 1, 50, VECTOR)
    game = Game(VECTOR, ["three", "actions", "here"])
    save_experience("minari:x-v0", played.experience(), Config(), "pong", game)
    assert main(["train", "CartPole-v1", "--load_experience", "minari:x-v0"]) == 2
    assert "actions" in capsys.readouterr().err
    (file,) = Path("datasets").rglob("*.hdf5")
    file.write_bytes(file.read_bytes()[:100])
    assert main(["train", "CartPole-v1", "--load_experience", "minari:x-v0"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_dataset_without_spaces_makes_no_environment(capsys):
    """Minari would make the one that it names: any function, with any arguments."""
    played = fill(memory(VECTOR), 1, 50, VECTOR)
    save_experience("minari:x-v0", played.experience(), Config(), "pong", Game(VECTOR))
    (file,) = Path("datasets").rglob("metadata.json")
    spec = {"id": "x-v0", "entry_point": "os:system", "kwargs": {"command": "touch ran"}}
    for metadata in ({"env_spec": json.dumps(spec)}, [], {"observation_space": None}):
        file.write_text(json.dumps(metadata))
        assert main(["train", "CartPole-v1", "--load_experience", "minari:x-v0"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["minari:bad name", "minari:x", "minari:"])
def test_a_name_that_cannot_be_is_refused_before_the_game(name, capsys):
    play = ["play", "breakout", "--display", "none", "--save_experience", name]
    assert main(play) == 2
    assert "cannot be a dataset's name" in capsys.readouterr().err
    assert not list(Path().rglob("bad name*"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("actions", 7, "actions that the game does not have"), ("rewards", np.nan, "not finite")],
)
def test_values_that_no_game_has_are_refused(field, value, message):
    experience = fill(memory(VECTOR), 1, 50, VECTOR).experience()
    getattr(experience, field)[3] = value
    save_dataset("minari:x-v0", experience, {"game": "pong"}, 2)
    with pytest.raises(UsageError, match=message):
        load_experience("minari:x-v0", Config(), "pong", Game(VECTOR))
