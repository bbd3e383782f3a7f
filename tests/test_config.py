from __future__ import annotations

import pytest

from simple_dqn.errors import UsageError
from simple_dqn.options import definitions
from simple_dqn.options.definitions import PLACES, Config, options, without_places
from simple_dqn.options.presets import PRESETS
from simple_dqn.options.resolve import resolve

# Options and defaults of the original simple_dqn that the nature preset shares.
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
def test_options_and_defaults_of_the_original(preset):
    values = resolve({"preset": preset}).to_dict()
    assert {name: values[name] for name in ORIGINAL} == ORIGINAL
    assert values.keys() >= ORIGINAL_NAMES
    assert resolve({"preset": "simple_dqn"}).environment.color_averaging


def test_every_option_has_help_and_counts_have_units():
    for _, field, kind in options():
        meta = field.metadata
        assert meta["help"]
        if kind is int and field.name not in ("device_id", "game_mode", "game_difficulty",
                                              "random_seed", "page", "port"):  # fmt: skip
            assert meta["unit"], field.name


def test_precedence_of_preset_base_and_given():
    assert resolve({}).network.conv1_padding == 1
    assert resolve({"preset": "simple_dqn"}).network.conv1_padding == 0
    assert resolve({"preset": "simple_dqn", "conv1_padding": 2}).network.conv1_padding == 2
    base = resolve({"preset": "simple_dqn", "epochs": 7, "batch_size": 8}).to_dict()
    resumed = resolve({"epochs": 9}, base)
    assert (resumed.run.epochs, resumed.network.batch_size) == (9, 8)
    assert resumed.network.conv1_padding == 0
    assert resumed.common.preset == "simple_dqn"


def test_resolve_is_idempotent():
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
def test_default_epsilon_of_each_optimiser(given, epsilon):
    assert resolve(given).network.optimizer_epsilon == epsilon


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rat": 1}, "there is no option 'learning_rat' .did you mean learning_rate"),
        ({"discount_rate": 1.5}, "--discount_rate must be from 0 to 1, not 1.5"),
        ({"discount_rate": float("nan")}, "--discount_rate must be a number, not nan"),
        ({"clip_error": -1.0}, "--clip_error must be 0 or more, not -1.0"),
        ({"frame_skip": 0}, "--frame_skip must be from 1 to 60 frames, not 0"),
        ({"frame_skip": "4"}, "--frame_skip must be a whole number, not '4'"),
        ({"batch_norm": 1}, "--batch_norm must be true or false, not 1"),
        (
            {"optimizer": "lbfgs"},
            "--optimizer must be one of rmsprop, adam, adadelta, sgd, not 'lbfgs'",
        ),
        ({"preset": "natur"}, "--preset must be one of nature, .* not 'natur'"),
        ({"min_reward": 2.0}, "--min_reward 2 is above --max_reward 1"),
        ({"batch_norm": True, "batch_size": 1}, "--batch_norm needs a --batch_size of 2"),
        ({"datatype": "float16", "clip_error": 0.0}, "float16 needs a --clip_error"),
        ({"random_seed": -2}, "--random_seed must be from -1 to 2147483647, not -2"),
        ({"min_reward": 2e9}, "--min_reward 2000000000 is above --max_reward 1"),
        ({"num_envs": 10**400}, "--num_envs must be from 1 to 4096 games, not 1000"),
        ({"replay_size": 49, "num_envs": 10}, "--replay_size 49 is too small: 10 games .* 50"),
        ({"environment": "gym", "frame_skip": 2}, "--frame_skip has no effect with .* gym"),
        ({"optimizer": "adam", "decay_rate": 0.9}, "--decay_rate has no effect with --optimizer"),
        ({"optimizer": "adam", "rmsprop_centered": True}, "--rmsprop_centered has no effect"),
        ({"optimizer": "adadelta", "learning_rate": 0.1}, "--learning_rate has no effect"),
    ],
)
def test_invalid_values_are_explained(given, message):
    with pytest.raises(UsageError, match=message) as error:
        resolve(given)
    assert "\n" not in str(error.value)


DERIVED = {
    "PLACES": {
        "display_screen", "record_screen_path", "record_sound_filename", "load_weights",
        "save_weights_prefix", "csv_file", "overwrite", "tensorboard", "callback", "log_level",
        "play_games", "start_epoch", "stop_at", "checkpoint_every", "no_checkpoint", "page",
        "host", "open",
    },
    "KEPT_IN_CHECKPOINT": {"stop_at", "checkpoint_every"},
    "ASKED_AGAIN": {"callback", "tensorboard", "csv_file"},
    "REPEATED": {"load_weights", "callback", "start_epoch", "stop_at"},
    "SAVED_PLAY": {"life_loss_terminal", "replay_size", "overwrite"},
}  # fmt: skip


@pytest.mark.parametrize("name", DERIVED)
def test_lists_derived_from_the_declarations(name):
    derived = getattr(definitions, name)
    assert set(derived) == DERIVED[name]
    assert len(derived) == len(DERIVED[name])


def test_observation_recipe_and_its_order():
    """The metadata of experience files stores these and is compared with them."""
    assert definitions.RECIPE == (
        "frame_skip", "repeat_action_probability", "minimal_action_set", "game_mode",
        "game_difficulty", "color_averaging", "resize", "screen_width", "screen_height",
        "life_loss_terminal",
    )  # fmt: skip
    assert definitions.SCREEN_RECIPE == ("resize", "screen_width", "screen_height")


def test_without_places_keeps_the_other_options_in_order():
    values = resolve({"random_seed": 1}).to_dict()
    assert list(without_places(values)) == [name for name in values if name not in PLACES]
    assert without_places({"games": 3, "nosuch": 1, "callback": "a:B", "epochs": 2}) == {
        "epochs": 2
    }


def test_only_places_are_kept_asked_for_or_repeated():
    """Options that change what a run computes are kept and repeated anyway."""
    for _, f, _ in options():
        if f.metadata["scope"] == "run":
            assert not f.metadata["on_resume"], f.name
            assert not f.metadata["repeated"], f.name


def test_stop_at_is_unset_by_default():
    assert resolve({}).run.stop_at is None
    base = resolve({}).to_dict()
    assert resolve({}, base).run.stop_at is None
    assert resolve({"stop_at": 8}, base).run.stop_at == 8.0
    # Earlier versions stored this number for an unset value.
    assert resolve({}, dict(base, stop_at=1e9)).run.stop_at == 1e9
    with pytest.raises(UsageError, match="--stop_at must be a number, not 'no'"):
        resolve({"stop_at": "no"})
    with pytest.raises(UsageError, match="--epochs must be a whole number, not None"):
        resolve({"epochs": None})
    assert [kind for _, f, kind in options() if f.name == "stop_at"] == [float]


def test_presets_name_existing_options():
    known = Config().to_dict().keys()
    assert all(known >= preset.keys() for preset in PRESETS.values())


def test_seed_is_drawn_unless_given():
    assert resolve({}).common.random_seed != resolve({"random_seed": -1}).common.random_seed >= 0
    base = resolve({"random_seed": 7}).to_dict()
    assert resolve({}, base).common.random_seed == 7
    assert resolve({"random_seed": -1}, base).common.random_seed not in (-1, 7)


def test_changing_the_optimiser_on_resume_changes_epsilon():
    base = resolve({}).to_dict()
    assert resolve({}, base).network.optimizer_epsilon == 0.01
    assert resolve({"optimizer": "adam"}, base).network.optimizer_epsilon == 1e-8
    assert resolve({"rmsprop_centered": False}, base).network.optimizer_epsilon == 1e-6
    assert resolve({"optimizer": "rmsprop"}, base).network.optimizer_epsilon == 0.01


def test_overriding_the_presets_optimiser_changes_epsilon():
    assert resolve({"preset": "rainbow"}).network.optimizer_epsilon == 1.5e-4
    assert resolve({"preset": "rainbow", "optimizer": "rmsprop"}).network.optimizer_epsilon == 0.01
    given = {"preset": "rainbow", "optimizer": "rmsprop", "optimizer_epsilon": 0.5}
    assert resolve(given).network.optimizer_epsilon == 0.5
    assert resolve({"optimizer": "sgd"}).network.optimizer_epsilon == 0


def test_every_preset_can_be_resolved():
    (field,) = (f for _, f, _ in options() if f.name == "preset")
    assert field.metadata["choices"] == tuple(PRESETS)
    for preset in PRESETS:
        assert resolve({"preset": preset}).common.preset == preset


def test_a_whole_number_too_large_for_a_float_is_refused():
    """A file from anyone may hold one: it is no traceback."""
    with pytest.raises(UsageError, match="--learning_rate must be a number, not inf"):
        resolve({}, {"learning_rate": 10**400})
