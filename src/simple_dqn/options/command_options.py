"""The options of the commands: the main loop, watching, plotting, and what is common to all."""

from __future__ import annotations

from dataclasses import dataclass

from simple_dqn.options.option import IMPORT, ONLINE, PROFILE, TEST, TRAIN, WATCH, option


# fmt: off
@dataclass(frozen=True)
class RunOptions:
    """Main loop."""

    random_steps: int = option(
        50_000, "random steps that fill the replay memory before training", unit="steps", low=0,
        commands=TRAIN, only=ONLINE)
    train_steps: int = option(
        250_000, "training steps per epoch", unit="steps", low=0,
        commands=("train", "resume", "profile_train"))
    test_steps: int = option(
        125_000, "test steps per epoch", unit="steps", low=0,
        commands=("train", "resume", "test", "profile_test"))
    epochs: int = option(
        200, "total epochs: a training and a test phase each", unit="epochs", low=0,
        commands=("train", "resume"))
    stop_at: float | None = option(
        None, "stop after the first test phase with at least this average score",
        commands=("train", "resume"), scope="place", on_resume="keep", repeated=True)
    start_epoch: int = option(
        0, "epochs already completed, for ε and the counters; resume.sh sets it", unit="epochs",
        low=0, commands=("train",), scope="place", repeated=True)
    play_games: int = option(
        0, "only play this many whole games, with the ε of tests", unit="games", low=0,
        commands=("train",), scope="place")
    test_games: int = option(
        0, "test for this many whole games instead of test_steps; the paper's protocol uses 30",
        unit="games", low=0, commands=("test",))
    validation_size: int = option(
        500, "held-out states whose mean max Q is the column meanq", unit="states", low=1,
        high=100_000, commands=("train", "resume"))
    load_weights: str = option(
        "", "snapshot whose weights the run starts with", commands=("train",), scope="place",
        repeated=True)
    load_experience: tuple[str, ...] = option(
        (), "fill the replay memory with files that play.sh saved; give this option after game "
        "and label", commands=("train", "resume"))
    offline: bool = option(
        False, "learn from --load_experience alone: the agent does not act in training",
        commands=("train", "resume"))
    checkpoint_every: str = option(
        "10m", "how often to write a checkpoint, from which resume.sh continues exactly: minutes "
        "as 10m, seconds as 30s, or a number of steps", commands=("train", "resume"),
        scope="place", on_resume="keep")
    no_checkpoint: bool = option(
        False, "write no checkpoints: an interrupted run resumes from its last snapshot",
        commands=("train", "resume"), scope="place")
    save_weights_prefix: str = option(
        "", "snapshots are PREFIX_<epoch>.safetensors (default: snapshots/<game>[_<label>])",
        commands=("train", "resume", *IMPORT), scope="place")
    csv_file: str = option(
        "", "file for the statistics, a row per phase (default: results/<game>[_<label>].csv; "
        "for a test, none)", commands=("train", "resume", "test"), scope="place", on_resume="ask",
        swept=False)
    overwrite: bool = option(
        False, "replace the files of an earlier run of this name",
        commands=("train", "test", "record", "play", "export", *IMPORT), scope="place",
        saved_play=True)
    callback: str = option(
        "", "MODULE:CLASS of a custom subclass of agent.Callback, called at every step and update",
        commands=TRAIN + TEST, scope="code", on_resume="ask", repeated=True)
    tensorboard: str = option(
        "", "folder in which every row is also written as TensorBoard scalars (needs the extra "
        "'tensorboard')", commands=("train", "resume"), scope="place", on_resume="ask")


@dataclass(frozen=True)
class WatchOptions:
    """Watching, playing and recording."""

    games: int = option(
        1, "whole games to play (0: until Esc)", unit="games", low=0, commands=("play",))
    display: str = option(
        "auto", "where to show the game; auto: in a window if there is a screen, else in the "
        "terminal, else in the browser", choices=("auto", "window", "terminal", "browser", "none"),
        commands=("play",))
    sound: bool = option(
        True, "play the game's sound, if it has any", commands=("play",),
        only={"display": ("auto", "window", "terminal", "browser")})
    page: int | None = option(
        None, "show the run in the browser: its game, its curves, a button to stop; on port N, or "
        "the first free one from 8421", low=0, high=65535, alone="0",
        commands=("train", "resume"), scope="place")
    port: int = option(
        0, "port of --display browser; 0: the first free one from 8421", low=0, high=65535,
        commands=("play",), only={"display": ("auto", "browser")})
    host: str = option(
        "127.0.0.1", "address that the page is served on; by default only this machine reaches it",
        commands=("train", "resume", "play"), scope="place",
        only={"display": ("auto", "browser")})
    open: bool = option(
        True, "open the page where there is a desktop", commands=("train", "resume", "play"),
        scope="place", only={"display": ("auto", "browser")})
    save_experience: str = option(
        "", "save what is played to this file, for train.sh --load_experience", commands=("play",))
    video_file: str = option(
        "", "the video, H.264 and AAC in MP4 (default: videos/<snapshot's name>.mp4)",
        commands=("record",))
    video_scale: int = option(
        0, "rows of the video per row of the game, a whole number to keep pixels sharp; columns "
        "follow from the shape of the pixels (0: as many as fit into 1920x1000; Atari: 4, so "
        "1120x840)", unit="rows", low=0, high=8, commands=("record",))
    q_values: bool = option(
        False, "draw the Q-values beside the game", commands=("record",))
    gif: bool = option(
        False, "also write a GIF beside the video: every picture of the game; of Atari 20 a second",
        commands=("record",))


@dataclass(frozen=True)
class PlotOptions:
    """Plot."""

    png_file: str = option(
        "", "the figure: .png, .svg or .pdf (default: results/<name>.png of the first CSV file)",
        commands=("plot",))
    fields: str = option(
        "average_reward,meanq,nr_games,meancost", "columns to plot, separated by commas",
        commands=("plot",))
    x_axis: str = option(
        "epoch", "column on the x axis", choices=("epoch", "total_train_steps", "total_time"),
        commands=("plot",))
    dpi: int = option(
        80, "resolution", unit="dots per inch", low=10, high=1200, commands=("plot",))
    figure_width: float = option(
        16.0, "width of the figure", unit="inches", low=1, high=100, commands=("plot",))
    figure_height: float = option(
        9.0, "height of the figure", unit="inches", low=1, high=100, commands=("plot",))
    follow: bool = option(
        False, "redraw whenever a file has grown, until Ctrl-C", commands=("plot",))


@dataclass(frozen=True)
class SweepOptions:
    """Sweep."""

    label: str = option(
        "sweep", "name of the study: results/<label>/ and snapshots/<label>/",
        commands=("sweep",), scope="place")
    seeds: int = option(
        3, "runs of each game and variant, with the seeds from --random_seed (1) on", unit="seeds",
        low=1, high=10_000, commands=("sweep",), scope="place")
    grid: tuple[str, ...] = option(
        (), "option=value,value...: a variant for every value, or for every combination",
        commands=("sweep",), scope="place")
    search: tuple[str, ...] = option(
        (), "option=uniform(a,b), loguniform(a,b), randint(a,b), lograndint(a,b) or "
        "choice(a,b...): search the best values of these options by the test score",
        commands=("sweep",), scope="place")
    trials: int = option(
        20, "values to try for each game; poor ones are stopped early", unit="trials", low=1,
        high=100_000, commands=("sweep",), scope="place")
    grace_epochs: int = option(
        0, "epochs before a trial may be stopped (0: a tenth of all)", unit="epochs", low=0,
        high=1_000_000, commands=("sweep",), scope="place")
    storage: str = option(
        "sweeps", "where checkpoints, rows and snapshots of the runs are kept: a folder, on a "
        "cluster a shared one, or a URI such as s3://bucket/folder", commands=("sweep",),
        scope="place")
    address: str = option(
        "", "of a Ray cluster to join (default: the cores of this machine)", commands=("sweep",),
        scope="place")
    cpus_per_run: float = option(
        1.0, "cores that each run gets; it has as many threads", low=0.01, high=1024,
        commands=("sweep",), scope="place")
    gpus_per_run: float = option(
        0.0, "GPUs that each run gets; a fraction shares one", low=0, high=64,
        commands=("sweep",), scope="place")


@dataclass(frozen=True)
class CompareOptions:
    """Comparison."""

    comparison_file: str = option(
        "results/comparison", "where the results are written, with .csv, .png and .html added",
        commands=("compare",), scope="place")
    normalize: str = option(
        "auto", "what a normalised score of 1 is: the published human score, or the best label's "
        "mean; auto: human if all games have a human score", choices=("auto", "human", "best"),
        commands=("compare",))


@dataclass(frozen=True)
class VisualizationOptions:
    """Visualization."""

    visualization_filters: int = option(
        4, "show the first this many filters of each convolutional layer", unit="filters", low=1,
        high=64, commands=("visualize",))
    visualization_file: str = option(
        "", "the page (default: results/<snapshot's name>.html)", commands=("visualize",))


@dataclass(frozen=True)
class ExportOptions:
    """Export."""

    format: str = option(
        "onnx", "onnx: Q-values of uint8 screens or float32 vectors; stable_baselines3, cleanrl: "
        "state dicts that they load; float16: a snapshot half as large; folder: snapshot, options "
        "and a card to share",
        choices=("onnx", "stable_baselines3", "cleanrl", "float16", "folder"), commands=("export",))
    export_file: str = option(
        "", "what is written (default: exports/<snapshot's name>)", commands=("export",),
        scope="place")


@dataclass(frozen=True)
class CommonOptions:
    """Common."""

    preset: str = option(
        "nature", "defaults of all other options. nature: DeepMind's 2015 code. simple_dqn: the "
        "original toolkit. rainbow: all variants. fast: a good score in an hour or two on two "
        "cores. minatar, vector: small networks, used by default for boards and for other games "
        "without screens. tabular: Q-learning in a table",
        choices=("nature", "simple_dqn", "rainbow", "fast", "vector", "minatar", "tabular"),
        commands=("train", *PROFILE))
    random_seed: int = option(
        -1, "seed of all random generators (-1: a new one, stored with the results)",
        low=-1, high=2**31 - 1)
    log_level: str = option(
        "INFO", "lowest severity of the log lines that are printed",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        commands=(*TRAIN, *TEST, *WATCH, *IMPORT, "export", "plot", "compare", "sweep"),
        scope="place")
# fmt: on
