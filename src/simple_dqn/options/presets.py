"""Presets: what each sets in the place of the defaults of ``config``."""

from __future__ import annotations

from typing import Any

# What each preset changes against the defaults; docs/faithfulness.md compares the first two.
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
    # Hessel et al. 2018, table 1, but for quantiles (Dabney et al. 2018, QR-DQN-1) in the place of
    # C51's fixed values. Frames are steps here: 20k and 8k for its 80k and 32k. The ε of tests is
    # Dopamine's.
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
    # the filters are a third of the arithmetic; the dueling head with returns of five steps learns
    # from half as many samples.
    "fast": dict(
        num_envs=8,
        filters=16,
        hidden_units=256,
        replay_size=300_000,
        n_step=5,
        dueling=True,
        prioritized=True,
        optimizer="adam",
        learning_rate=2.5e-4,
        learning_rate_schedule="linear",
        learning_rate_end=2.5e-5,
        loss_reduction="mean",
        target_steps=2_000,
        exploration_rate_end=0.02,
        exploration_decay_steps=100_000,
        random_steps=10_000,
        train_steps=50_000,
        test_steps=10_000,
        epochs=16,
    ),
    # A small network and a short run. Found on CartPole: returns of 20 steps made the difference,
    # then γ .995 and a batch of 128. A second thread only costs with networks as small as this.
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
    # The table of docs/algorithm.md: one linear layer, one-hot states, each step learnt once.
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

# A profile is of a short phase.
PROFILE_DEFAULTS: dict[str, dict[str, Any]] = {
    "profile_train": dict(
        replay_size=100_000, random_steps=1_000, train_steps=2_000, random_seed=0
    ),
    "profile_test": dict(replay_size=100_000, random_steps=1_000, test_steps=5_000, random_seed=0),
    "profile_random": dict(replay_size=100_000, random_steps=10_000, random_seed=0),
}

# Nobody is sent away after five minutes; what is kept of an Atari game is nearly two hours; no two
# games are alike, whatever seed the network has learnt with.
PLAY_DEFAULTS: dict[str, Any] = dict(test_frame_cap=0, replay_size=100_000, random_seed=-1)
