"""Every option, its default, range, unit and meaning; ``presets`` holds what replaces them.

One dataclass a group of options. ``--help``, the configuration written beside the results, the
metadata of a snapshot and the presets all derive from the fields below. A value comes from, in
rising order of precedence: the field's default (which is the preset ``nature``), the preset, a
snapshot that a run goes on from, the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

# The commands an option belongs to; a group's options are offered by all commands unless it says.
PROFILE = ("profile_train", "profile_test", "profile_random")
TRAIN = ("train", "resume", *PROFILE)
TEST = ("test",)
WATCH = ("play", "record", "visualize")

T = TypeVar("T")


def option(
    default: T,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    commands: tuple[str, ...] = TRAIN + TEST + WATCH,
    only: Mapping[str, tuple[Any, ...]] | None = None,
) -> T:
    """Declare one option: a dataclass field whose metadata the parser and the checks read.

    ``low`` and ``high`` are inclusive bounds. ``only`` names the option values without which this
    one has no effect; giving it anyway is an error, so that no flag is ignored in silence.
    """
    return field(
        default=default,
        metadata=dict(
            help=help,
            unit=unit,
            low=low,
            high=high,
            choices=choices,
            commands=commands,
            only=dict(only or {}),
        ),
    )


ALE = {"environment": ("ale", "auto")}
ONLINE = {"offline": (False,)}
PATHS = tuple[str, ...]  # the type of an option that takes several files
RMSPROP = {"optimizer": ("rmsprop",)}
NOT_ADAM = {"optimizer": ("rmsprop", "adadelta")}


# fmt: off
@dataclass(frozen=True)
class EnvironmentOptions:
    """Environment: the game and the recipe that turns its frames into observations."""

    environment: str = option(
        "auto", "what GAME names: an Atari ROM, a Gymnasium id, or whichever of them it is; or "
        "your own subclass of Environment", choices=("auto", "ale", "gym", "MODULE:CLASS"))
    num_envs: int = option(
        1, "games played side by side; every count of steps stays over all of them",
        unit="games", low=1, high=4096, commands=TRAIN)
    test_envs: int = option(
        32, "games played side by side while testing, at most one for each 2000 steps of the test; "
        "the scores have the statistics of one after another",
        unit="games", low=1, high=4096, commands=TRAIN + TEST)
    workers: int = option(
        0, "processes that the games of training are shared out to (0: they run in the training "
        "process)", unit="processes", low=0, high=1024, commands=TRAIN)
    test_workers: int = option(
        -1, "processes that the games of tests are shared out to (0: none; -1: for Atari games one "
        "for each of --threads)",
        unit="processes", low=-1, high=1024, commands=TRAIN + TEST)
    frame_skip: int = option(
        4, "emulator frames that each action is repeated for", unit="frames", low=1, high=60,
        only=ALE)
    repeat_action_probability: float = option(
        0.0, "chance, each frame, that the previous action sticks (Machado et al. 2018 use .25)",
        low=0, high=1, only=ALE)
    minimal_action_set: bool = option(
        True, "only the actions that the game reacts to; false: all 18", only=ALE)
    game_mode: int = option(
        -1, "the console's game-select switch (-1: as the cartridge starts)", low=-1, only=ALE)
    game_difficulty: int = option(
        -1, "the console's difficulty switch (-1: as the cartridge starts)", low=-1, only=ALE)
    color_averaging: bool = option(
        False, "ALE's blend of the last two frames against flicker; false: their maximum",
        only=ALE)
    resize: str = option(
        "area", "how a screen shrinks: mean of the covered area, or bilinear",
        choices=("area", "linear"))
    screen_width: int = option(84, "width of an observation", unit="pixels", low=1, high=512)
    screen_height: int = option(84, "height of an observation", unit="pixels", low=1, high=512)
    life_loss_terminal: bool = option(
        True, "in training, losing a life ends the return (the game itself goes on)",
        commands=(*TRAIN, "play"), only=ALE)
    random_starts: int = option(
        30, "a game starts with a random number of no-ops, at most this many (0: always one)",
        unit="frames or steps", low=0, high=10_000, only=ALE)
    random_starts_unit: str = option(
        "frames", "what random_starts counts: emulator frames, from 1; or agent steps, from "
        "history_length + 1 and 1 more at most", choices=("frames", "steps"), only=ALE)
    test_frame_cap: int = option(
        18_000, "a test game is cut off after this many emulator frames: 18000 are 5 minutes "
        "(0: never)", unit="frames", low=0, only=ALE)
    display_screen: bool = option(
        False, "show the first game in a window (h there lists its keys)",
        commands=("train", "resume", *TEST))
    record_screen_path: str = option(
        "", "write every emulator frame of the first game as PNG into this folder, 60 a second",
        commands=("train", "resume", *TEST, "record"))
    record_sound_filename: str = option(
        "", "write the sound of the first game into this WAV file",
        commands=("train", "resume", *TEST, "record"), only=ALE)


@dataclass(frozen=True)
class ReplayOptions:
    """Replay memory."""

    replay_size: int = option(
        1_000_000, "screens kept, 7.1 kB each at 84x84: a transition has one, an episode's start "
        "another", unit="screens", low=2, commands=(*TRAIN, "play"))
    history_length: int = option(
        4, "screens that form a state", unit="screens", low=1, high=64, commands=TRAIN)
    history_padding: str = option(
        "zero", "states that reach back before their episode's start: zero the missing screens, "
        "or never sample them", choices=("zero", "reject"), commands=TRAIN)
    n_step: int = option(
        1, "rewards summed in a return before what the target network promises", unit="steps",
        low=1, high=100, commands=TRAIN)
    prioritized: bool = option(
        False, "replay what surprised more often, in proportion to |δ|^priority_exponent, and "
        "take the bias back by importance weights (Schaul et al. 2016)", commands=TRAIN)
    priority_exponent: float = option(
        0.6, "α: 0 is uniform", low=0, high=2, commands=TRAIN, only={"prioritized": (True,)})
    importance_exponent_start: float = option(
        0.4, "β at the beginning; it grows to 1 over the whole run", low=0, high=1, commands=TRAIN,
        only={"prioritized": (True,)})


@dataclass(frozen=True)
class NetworkOptions:
    """Deep Q-network."""

    learning_rate: float = option(
        0.00025, "step size of the optimiser", low=0, high=10, commands=TRAIN)
    learning_rate_end: float = option(
        0.0, "step size at the end of its decay", low=0, high=10, commands=TRAIN,
        only={"learning_rate_schedule": ("linear", "exponential")})
    learning_rate_decay_steps: int = option(
        0, "training steps over which the step size falls (0: the whole run)", unit="steps", low=0,
        commands=TRAIN, only={"learning_rate_schedule": ("linear", "exponential")})
    learning_rate_schedule: str = option(
        "constant", "how the step size falls", choices=("constant", "linear", "exponential"),
        commands=TRAIN)
    discount_rate: float = option(
        0.99, "γ, the worth of a reward one step later", low=0, high=1, commands=TRAIN)
    batch_size: int = option(
        32, "transitions in an update", unit="transitions", low=1, high=65_536, commands=TRAIN)
    optimizer: str = option(
        "rmsprop", "optimiser", choices=("rmsprop", "adam", "adadelta", "sgd"), commands=TRAIN)
    decay_rate: float = option(
        0.95, "decay of rmsprop's and adadelta's running means, each update", low=0, high=1,
        commands=TRAIN, only=NOT_ADAM)
    rmsprop_centered: bool = option(
        True, "DeepMind's rmsprop, lr·g/√(E[g²]−E[g]²+ε); false: the original simple_dqn's, "
        "lr·g/(√(E[g²]+ε)+ε)", commands=TRAIN, only=RMSPROP)
    optimizer_epsilon: float = option(
        0.0, "ε of the optimiser (0: its own: rmsprop .01 centred, else 1e-6; adam 1e-8; "
        "adadelta 1e-6)", low=0, high=1, commands=TRAIN,
        only={"optimizer": ("rmsprop", "adam", "adadelta")})
    loss_reduction: str = option(
        "sum", "how the gradients of a batch combine", choices=("sum", "mean"), commands=TRAIN)
    clip_error: float = option(
        1.0, "clip the TD error of an update to ± this (0: never)", low=0, commands=TRAIN)
    min_reward: float = option(
        -1.0, "clip rewards from below for learning; scores stay raw (both bounds 0: never)",
        commands=TRAIN)
    max_reward: float = option(
        1.0, "clip rewards from above for learning; scores stay raw (both bounds 0: never)",
        commands=TRAIN)
    batch_norm: bool = option(
        False, "batch normalisation after each hidden layer", commands=TRAIN)
    weight_init: str = option(
        "fan_in", "initial weights: U(±1/√fan_in), biases too, as torch7; or Xavier (Glorot), "
        "biases zero", choices=("fan_in", "xavier"), commands=TRAIN)
    conv1_padding: int = option(
        1, "zero padding around the first convolution", unit="pixels", low=0, high=7,
        commands=TRAIN)
    filters: int = option(
        32, "filters of the first convolution; the second and third have twice as many",
        unit="filters", low=1, high=1024, commands=TRAIN)
    hidden_layers: int = option(
        1, "fully connected layers before the output, behind the convolutions if there are any (0: "
        "Q is linear in what they give, of one-hot observations a table)", unit="layers", low=0,
        high=16, commands=TRAIN)
    hidden_units: int = option(
        512, "rectifier units of each of them", unit="units", low=1, high=65_536, commands=TRAIN)
    double_q: bool = option(
        False, "Double Q-learning: θ chooses the best action of the next state, θ⁻ values it "
        "(van Hasselt et al. 2016)", commands=TRAIN)
    dueling: bool = option(
        False, "Dueling network: state value and advantages apart (Wang et al. 2016)",
        commands=TRAIN)
    quantiles: int = option(
        1, "quantiles of the return that are learnt for each action (Dabney et al. 2018); "
        "1: its mean", unit="quantiles", low=1, high=1000, commands=TRAIN)
    noisy: bool = option(
        False, "Noisy networks: fully connected layers whose noise explores, so ε may be 0 "
        "(Fortunato et al. 2018)", commands=TRAIN)


@dataclass(frozen=True)
class BackendOptions:
    """Backend."""

    backend: str = option(
        "auto", "where the network runs; auto: a CUDA GPU if there is one",
        choices=("cpu", "gpu", "auto"))
    device_id: int = option(0, "which GPU", low=0, high=1023)
    datatype: str = option(
        "float32", "precision of the forward and backward pass; weights are kept in float32",
        choices=("float32", "bfloat16", "float16"))
    acceleration: bool = option(
        True, "compile the optimiser where a long run repays it; on a GPU keep the replay memory "
        "on the device and learn by a CUDA graph", commands=("train", "resume", "profile_train"))
    threads: int = option(
        0, "CPU threads of the network (0: one a core)", unit="threads", low=0, high=1024)


@dataclass(frozen=True)
class AgentOptions:
    """Agent."""

    exploration_rate_start: float = option(
        1.0, "ε at the beginning of the decay", low=0, high=1, commands=TRAIN, only=ONLINE)
    exploration_rate_end: float = option(
        0.1, "ε at the end of the decay", low=0, high=1, commands=TRAIN, only=ONLINE)
    exploration_decay_steps: int = option(
        1_000_000, "training steps over which ε falls", unit="steps", low=0, commands=TRAIN,
        only=ONLINE)
    exploration_schedule: str = option(
        "linear", "how ε falls", choices=("linear", "exponential"), commands=TRAIN, only=ONLINE)
    exploration_rate_test: float = option(0.05, "ε while testing and playing", low=0, high=1)
    train_frequency: int = option(
        4, "one update each this many steps", unit="steps", low=1, commands=TRAIN)
    train_repeat: int = option(
        1, "batches sampled and learnt at each update", unit="batches", low=1, commands=TRAIN)
    target_steps: int = option(
        10_000, "training steps between copies to the target network (0: no target network)",
        unit="steps", low=0, commands=TRAIN)


@dataclass(frozen=True)
class RunOptions:
    """Main loop."""

    random_steps: int = option(
        50_000, "random steps that fill the replay memory before learning", unit="steps", low=0,
        commands=TRAIN, only=ONLINE)
    train_steps: int = option(
        250_000, "training steps an epoch", unit="steps", low=0,
        commands=("train", "resume", "profile_train"))
    test_steps: int = option(
        125_000, "testing steps an epoch", unit="steps", low=0,
        commands=("train", "resume", "test", "profile_test"))
    epochs: int = option(
        200, "epochs in all: one train and one test phase each", unit="epochs", low=0,
        commands=("train", "resume"))
    stop_at: float = option(
        1e9, "stop after the first testing phase whose average score is at least this",
        commands=("train", "resume"))
    start_epoch: int = option(
        0, "epochs already behind, for ε and the counters; resume.sh sets it", unit="epochs",
        low=0, commands=("train",))
    play_games: int = option(
        0, "play this many whole games with the ε of testing, and do nothing else",
        unit="games", low=0, commands=("train",))
    test_games: int = option(
        0, "test for this many whole games instead of test_steps; 30 is the paper's protocol",
        unit="games", low=0, commands=("test",))
    validation_size: int = option(
        500, "held-out states whose mean max Q is the column meanq", unit="states", low=1,
        high=100_000, commands=("train", "resume"))
    load_weights: str = option(
        "", "start from the weights of this snapshot", commands=("train",))
    load_experience: tuple[str, ...] = option(
        (), "fill the replay memory with what play.sh has saved; give it after game and label",
        commands=("train", "resume"))
    offline: bool = option(
        False, "learn from --load_experience alone: nobody acts in training",
        commands=("train", "resume"))
    checkpoint_every: str = option(
        "10m", "from one checkpoint, from which resume.sh goes on exactly, to the next: "
        "minutes as 10m, seconds as 30s, or a number of steps", commands=("train", "resume"))
    no_checkpoint: bool = option(
        False, "write no checkpoints: a run that dies goes on from its last snapshot",
        commands=("train", "resume"))
    save_weights_prefix: str = option(
        "", "snapshots are PREFIX_<epoch>.safetensors (default: snapshots/<game>[_<label>])",
        commands=("train", "resume"))
    csv_file: str = option(
        "", "statistics, a row a phase (default: results/<game>[_<label>].csv; a test writes "
        "none unless given)", commands=("train", "resume", "test"))
    overwrite: bool = option(
        False, "replace what an earlier run of this name has left",
        commands=("train", "test", "record", "play"))
    callback: str = option(
        "", "a subclass of agent.Callback, told about every step and update", commands=TRAIN + TEST)
    tensorboard: str = option(
        "", "also write every row as TensorBoard scalars into this folder (needs the extra "
        "'tensorboard')", commands=("train", "resume"))


@dataclass(frozen=True)
class WatchOptions:
    """Watching, playing and recording."""

    games: int = option(
        1, "whole games to play (0: until Esc)", unit="games", low=0, commands=("play",))
    display: str = option(
        "auto", "where to show the game; auto: a window where there is a screen, else the terminal",
        choices=("auto", "window", "terminal", "none"), commands=("play",))
    sound: bool = option(
        True, "play the game's sound, where it has one", commands=("play",),
        only={"display": ("auto", "window", "terminal")})
    save_experience: str = option(
        "", "keep what is played in this file, for train.sh --load_experience", commands=("play",))
    video_file: str = option(
        "", "the video, H.264 and AAC in MP4 (default: videos/<snapshot's name>.mp4)",
        commands=("record",))
    video_scale: int = option(
        0, "rows of the video for each of the game's, whole ones, so that pixels stay sharp; "
        "columns by the pixels' aspect (0: what fits into 1000 rows; Atari: 4, so 1120x840)",
        unit="rows", low=0, high=8, commands=("record",))
    q_values: bool = option(
        False, "draw the Q-values beside the game", commands=("record",))
    gif: bool = option(
        False, "also write the game as GIF, 20 pictures a second, beside the video",
        commands=("record",))


@dataclass(frozen=True)
class PlotOptions:
    """Plot."""

    png_file: str = option(
        "", "the figure; .png, .svg or .pdf (default: results/<name>.png of the first CSV file)",
        commands=("plot",))
    fields: str = option(
        "average_reward,meanq,nr_games,meancost", "columns to plot, with commas between",
        commands=("plot",))
    x_axis: str = option(
        "epoch", "column along the x axis", choices=("epoch", "total_train_steps", "total_time"),
        commands=("plot",))
    dpi: int = option(80, "resolution", unit="dots an inch", low=10, high=1200, commands=("plot",))
    figure_width: float = option(
        16.0, "width of the figure", unit="inches", low=1, high=100, commands=("plot",))
    figure_height: float = option(
        9.0, "height of the figure", unit="inches", low=1, high=100, commands=("plot",))
    follow: bool = option(
        False, "draw again whenever a file has grown, until Ctrl-C", commands=("plot",))


@dataclass(frozen=True)
class VisualizationOptions:
    """Visualization."""

    visualization_filters: int = option(
        4, "the first filters of each convolutional layer to look into", unit="filters", low=1,
        high=64, commands=("visualize",))
    visualization_file: str = option(
        "", "the page (default: results/<snapshot's name>.html)", commands=("visualize",))


@dataclass(frozen=True)
class CommonOptions:
    """Common."""

    preset: str = option(
        "nature", "all other defaults. nature: DeepMind's 2015 code. simple_dqn: the original "
        "toolkit. rainbow: all variants. fast: the best score in an hour or two on two cores. "
        "vector: a small network, by itself for games without screens. tabular: Q-learning in a "
        "table",
        choices=("nature", "simple_dqn", "rainbow", "fast", "vector", "tabular"),
        commands=("train", *PROFILE))
    random_seed: int = option(
        -1, "seed of every random generator (-1: a fresh one, which the results tell)",
        low=-1, high=2**31 - 1)
    log_level: str = option(
        "INFO", "least severe log line that is printed",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        commands=(*TRAIN, *TEST, *WATCH, "plot"))
# fmt: on


# Where things lie and how they are shown is no part of what a run computes: these stay out of a
# snapshot, so that equal runs have equal snapshots wherever they were started.
PLACES = frozenset(
    {
        "display_screen",
        "record_screen_path",
        "record_sound_filename",
        "load_weights",
        "save_weights_prefix",
        "csv_file",
        "overwrite",
        "tensorboard",
        "callback",
        "log_level",
        "play_games",
        "start_epoch",
        "stop_at",
        "checkpoint_every",
        "no_checkpoint",
    }
)


def without_places(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return of the options what tells what a run computes, {option: value}: a snapshot's.

    Files from anybody are read through this, too: no option of theirs names code to run or a file
    to write.
    """
    kept = Config().to_dict().keys() - PLACES
    return {name: value for name, value in values.items() if name in kept}


OPTIMIZER_EPSILON = {"rmsprop": 1e-6, "adam": 1e-8, "adadelta": 1e-6, "sgd": 0.0}
DEEPMIND_EPSILON = 0.01


@dataclass(frozen=True)
class Config:
    """All options of a run, by group."""

    environment: EnvironmentOptions = EnvironmentOptions()
    replay: ReplayOptions = ReplayOptions()
    network: NetworkOptions = NetworkOptions()
    backend: BackendOptions = BackendOptions()
    agent: AgentOptions = AgentOptions()
    run: RunOptions = RunOptions()
    watch: WatchOptions = WatchOptions()
    plot: PlotOptions = PlotOptions()
    visualization: VisualizationOptions = VisualizationOptions()
    common: CommonOptions = CommonOptions()

    def to_dict(self) -> dict[str, Any]:
        """The options of training as one flat dictionary, in the order of ``--help``."""
        return {
            f.name: getattr(getattr(self, group), f.name)
            for group, f, _ in options()
            if "train" in f.metadata["commands"]
        }


def options() -> Iterator[tuple[str, dataclasses.Field[Any], type]]:
    """Yield (group name, field, type) of every option, in the order of ``--help``."""
    for group in fields(Config):
        cls: Any = type(group.default)
        hints = get_type_hints(cls)
        for f in fields(cls):
            yield group.name, f, hints[f.name]
