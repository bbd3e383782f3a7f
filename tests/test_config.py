from __future__ import annotations

import pytest

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import PLACES, Config, options
from simple_dqn.options.presets import PRESETS
from simple_dqn.options.resolve import resolve

# facts about the original simple_dqn: its options and defaults, where nature does not differ.
ORIGINAL = {
    "frame_skip": 4, "repeat_action_probability": 0, "minimal_action_set": True,
    "screen_width": 84, "screen_height": 84, "replay_size": 1_000_000, "history_length": 4,
    "learning_rate": 0.00025, "discount_rate": 0.99, "batch_size": 32, "optimizer": "rmsprop",
    "decay_rate": 0.95, "clip_error": 1, "min_reward": -1, "max_reward": 1, "batch_norm": False,
    "device_id": 0, "datatype": "float32", "exploration_rate_start": 1,
    "exploration_rate_end": 0.1, "exploration_decay_steps": 1_000_000,
    "exploration_rate_test": 0.05, "train_frequency": 4, "train_repeat": 1, "target_steps": 10_000,
    "random_starts": 30, "random_steps": 50_000, "train_steps": 250_000, "test_steps": 125_000,
    "epochs": 200, "start_epoch": 0, "play_games": 0,
}  # fmt: skip
ORIGINAL_NAMES = {
    "environment", "display_screen", "color_averaging", "record_screen_path",
    "record_sound_filename", "backend", "load_weights", "save_weights_prefix", "csv_file",
    "random_seed", "log_level",
}  # fmt: skip


@pytest.mark.parametrize("preset", ["nature", "simple_dqn"])
def test_the_originals_options_and_defaults(preset):
    values = resolve({"preset": preset}).to_dict()
    assert {name: values[name] for name in ORIGINAL} == ORIGINAL
    assert values.keys() >= ORIGINAL_NAMES
    assert resolve({"preset": "simple_dqn"}).environment.color_averaging


def test_every_option_has_a_meaning_and_counts_have_a_unit():
    for _, field, kind in options():
        meta = field.metadata
        assert meta["help"]
        if kind is int and field.name not in ("device_id", "game_mode", "game_difficulty",
                                              "random_seed"):  # fmt: skip
            assert meta["unit"], field.name


def test_precedence_preset_then_base_then_given():
    assert resolve({}).network.conv1_padding == 1
    assert resolve({"preset": "simple_dqn"}).network.conv1_padding == 0
    assert resolve({"preset": "simple_dqn", "conv1_padding": 2}).network.conv1_padding == 2
    base = resolve({"preset": "simple_dqn", "epochs": 7, "batch_size": 8}).to_dict()
    went_on = resolve({"epochs": 9}, base)
    assert (went_on.run.epochs, went_on.network.batch_size) == (9, 8)
    assert went_on.network.conv1_padding == 0
    assert went_on.common.preset == "simple_dqn"


def test_resolving_its_own_values_changes_nothing():
    config = resolve({"preset": "simple_dqn", "num_envs": 3})
    assert resolve({}, config.to_dict()) == config


@pytest.mark.parametrize(
    ("given", "epsilon"),
    [
        ({}, 0.01),
        ({"rmsprop_centered": False}, 1e-6),
        ({"preset": "simple_dqn"}, 1e-6),
        ({"optimizer": "adam"}, 1e-8),
        ({"optimizer": "adadelta"}, 1e-6),
        ({"optimizer": "adam", "optimizer_epsilon": 0.5}, 0.5),
    ],
)
def test_each_optimisers_own_epsilon(given, epsilon):
    assert resolve(given).network.optimizer_epsilon == epsilon


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rat": 1}, "there is no option 'learning_rat' .did you mean learning_rate"),
        ({"discount_rate": 1.5}, "--discount_rate is from 0 to 1, not 1.5"),
        ({"discount_rate": float("nan")}, "--discount_rate takes a number, not nan"),
        ({"clip_error": -1.0}, "--clip_error is 0 or more, not -1.0"),
        ({"frame_skip": 0}, "--frame_skip is from 1 to 60 frames, not 0"),
        ({"frame_skip": "4"}, "--frame_skip takes a whole number, not '4'"),
        ({"batch_norm": 1}, "--batch_norm takes true or false, not 1"),
        ({"optimizer": "lbfgs"}, "--optimizer is one of rmsprop, adam, adadelta, sgd, not 'lbfgs'"),
        ({"preset": "natur"}, "--preset is one of nature, .* not 'natur'"),
        ({"min_reward": 2.0}, "--min_reward 2 is above --max_reward 1"),
        ({"batch_norm": True, "batch_size": 1}, "--batch_norm needs a --batch_size of 2"),
        ({"datatype": "float16", "clip_error": 0.0}, "float16 needs a --clip_error"),
        ({"num_envs": 10**400}, "--num_envs is from 1 to 4096 games, not 1000"),
        ({"replay_size": 49, "num_envs": 10}, "--replay_size 49 is too small: 10 games .* 50"),
        ({"environment": "gym", "frame_skip": 2}, "--frame_skip has no effect with .* gym"),
        ({"optimizer": "adam", "decay_rate": 0.9}, "--decay_rate has no effect with --optimizer"),
        ({"optimizer": "adam", "rmsprop_centered": True}, "--rmsprop_centered has no effect"),
        ({"optimizer": "adadelta", "learning_rate": 0.1}, "--learning_rate has no effect"),
    ],
)
def test_bad_values_say_what_is_wrong(given, message):
    with pytest.raises(UsageError, match=message) as error:
        resolve(given)
    assert "\n" not in str(error.value)


def test_places_and_presets_name_real_options():
    known = Config().to_dict().keys()
    assert known >= PLACES
    assert all(known >= preset.keys() for preset in PRESETS.values())


def test_a_fresh_seed_is_drawn_and_a_given_one_kept():
    assert resolve({}).common.random_seed != resolve({"random_seed": -1}).common.random_seed >= 0
    base = resolve({"random_seed": 7}).to_dict()
    assert resolve({}, base).common.random_seed == 7
    assert resolve({"random_seed": -1}, base).common.random_seed not in (-1, 7)


def test_another_optimiser_gets_its_own_epsilon_also_on_resume():
    base = resolve({}).to_dict()
    assert resolve({}, base).network.optimizer_epsilon == 0.01
    assert resolve({"optimizer": "adam"}, base).network.optimizer_epsilon == 1e-8
    assert resolve({"rmsprop_centered": False}, base).network.optimizer_epsilon == 1e-6
    assert resolve({"optimizer": "rmsprop"}, base).network.optimizer_epsilon == 0.01


def test_another_optimiser_than_the_presets_brings_its_own_epsilon():
    assert resolve({"preset": "rainbow"}).network.optimizer_epsilon == 1.5e-4
    assert resolve({"preset": "rainbow", "optimizer": "rmsprop"}).network.optimizer_epsilon == 0.01
    given = {"preset": "rainbow", "optimizer": "rmsprop", "optimizer_epsilon": 0.5}
    assert resolve(given).network.optimizer_epsilon == 0.5
    assert resolve({"optimizer": "sgd"}).network.optimizer_epsilon == 0


def test_every_preset_can_be_chosen_and_resolves():
    (field,) = (f for _, f, _ in options() if f.name == "preset")
    assert field.metadata["choices"] == tuple(PRESETS)
    for preset in PRESETS:
        assert resolve({"preset": preset}).common.preset == preset
