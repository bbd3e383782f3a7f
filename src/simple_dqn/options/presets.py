"""Presets: the options that each sets to other values than their defaults."""

from __future__ import annotations

from typing import Any

# docs/faithfulness.md compares the first two.
PRESETS: dict[str, dict[str, Any]] = {
    "nature": {},
    "simple_dqn": dict(
        color_averaging=True,
        resize="linear",
        random_starts_unit="steps",
        history_padding="reject",
        rmsprop_centered=False,
        loss_reduction="mean",
        weight_init="xavier",
        conv1_padding=0,
    ),
    # Hessel et al. 2018, table 1, but with quantiles (Dabney et al. 2018, QR-DQN-1) instead of
    # C51's fixed support. Its counts of frames are steps here: 80k and 32k frames are 20k and 8k
    # steps. The ε of tests is Dopamine's.
    "rainbow": dict(
        double_q=True,
        dueling=True,
        prioritized=True,
        priority_exponent=0.5,
        n_step=3,
        quantiles=51,
        noisy=True,
        exploration_rate_start=0.0,
        exploration_rate_end=0.0,
        exploration_rate_test=0.001,
        optimizer="adam",
        learning_rate=6.25e-5,
        optimizer_epsilon=1.5e-4,
        loss_reduction="mean",
        random_steps=20_000,
        target_steps=8_000,
    ),
    # The best score in an hour or two on two cores; docs/performance.md has the experiments. Half
    # the filters take a third of the arithmetic; the dueling head and long returns need half as
    # many samples; a batch of 64 every 8 steps takes a quarter less than two of 32. Returns of 5
    # steps learn Pong in half the time, and stand still on Breakout unless they become shorter.
    "fast": dict(
        num_envs=8,
        filters=16,
        hidden_units=256,
        datatype="auto",
        replay_size=300_000,
        n_step=5,
        n_step_end=1,
        dueling=True,
        optimizer="adam",
        learning_rate=2.5e-4,
        learning_rate_schedule="linear",
        learning_rate_end=2.5e-5,
        loss_reduction="mean",
        batch_size=64,
        train_frequency=8,
        target_steps=2_000,
        exploration_rate_end=0.02,
        exploration_decay_steps=200_000,
        random_steps=10_000,
        train_steps=50_000,
        test_steps=10_000,
        epochs=40,
    ),
    # A small network and a short run, tuned on CartPole: 20-step returns helped most, then
    # γ = 0.995 and a batch size of 128. A second thread slows down so small a network.
    "vector": dict(
        history_length=1,
        hidden_layers=2,
        hidden_units=128,
        replay_size=50_000,
        random_steps=1_000,
        batch_size=128,
        train_frequency=3,
        target_steps=100,
        double_q=True,
        n_step=20,
        discount_rate=0.995,
        optimizer="adam",
        learning_rate=0.0015,
        learning_rate_schedule="linear",
        loss_reduction="mean",
        clip_error=0.0,
        min_reward=0.0,
        max_reward=0.0,
        exploration_rate_end=0.03,
        exploration_decay_steps=2_000,
        exploration_rate_test=0.0,
        train_steps=6_000,
        test_steps=3_000,
        epochs=4,
        threads=1,
    ),
    # Young and Tian 2019 for MinAtar, by the code beside their paper. Its ε of .01 stands outside
    # the root, where .01 squared is the closest inside.
    "minatar": dict(
        history_length=1,
        filters=16,
        hidden_units=128,
        replay_size=100_000,
        random_steps=5_000,
        train_frequency=1,
        target_steps=1_000,
        optimizer_epsilon=1e-4,
        loss_reduction="mean",
        min_reward=0.0,
        max_reward=0.0,
        exploration_decay_steps=100_000,
        train_steps=100_000,
        test_steps=10_000,
        epochs=50,
        threads=1,
    ),
    # The table of docs/algorithm.md: one linear layer on one-hot states, one update per step.
    "tabular": dict(
        history_length=1,
        hidden_layers=0,
        replay_size=2,
        random_steps=0,
        batch_size=1,
        train_frequency=1,
        target_steps=0,
        optimizer="sgd",
        learning_rate=0.5,
        discount_rate=1.0,
        clip_error=0.0,
        min_reward=0.0,
        max_reward=0.0,
        exploration_rate_start=0.1,
        exploration_rate_end=0.1,
        exploration_decay_steps=0,
        exploration_rate_test=0.0,
        train_steps=2_000,
        test_steps=200,
        epochs=5,
        validation_size=1,
        threads=1,
    ),
}

# A profile covers a short phase.
PROFILE_DEFAULTS: dict[str, dict[str, Any]] = {
    "profile_train": dict(
        replay_size=100_000, random_steps=1_000, train_steps=2_000, random_seed=0
    ),
    "profile_test": dict(replay_size=100_000, random_steps=1_000, test_steps=5_000, random_seed=0),
    "profile_random": dict(replay_size=100_000, random_steps=10_000, random_seed=0),
}

# Games are not cut off after five minutes, the replay memory holds nearly two hours of an Atari
# game, and games differ from one another, whatever the seed of the training.
PLAY_DEFAULTS: dict[str, Any] = dict(test_frame_cap=0, replay_size=100_000, random_seed=-1)
