"""The options of the environment: the game, and how its frames become observations."""

from __future__ import annotations

from dataclasses import dataclass

from simple_dqn.options.option import ALE, IMPORT, TEST, TRAIN, WATCH, option


# fmt: off
@dataclass(frozen=True)
class EnvironmentOptions:
    """Environment: the game, and how its frames become observations."""

    environment: str = option(
        "auto", "what GAME names: an Atari ROM (ale), a Gymnasium id (gym) or whichever fits "
        "(auto); or a custom subclass of Environment",
        choices=("auto", "ale", "gym", "MODULE:CLASS"),
        commands=(*TRAIN, *TEST, *WATCH, *IMPORT, "export"))
    num_envs: int = option(
        1, "games played side by side (lanes); step counts are totals over all of them",
        unit="games", low=1, high=4096, commands=TRAIN)
    test_envs: int = option(
        32, "games played side by side in a test, at most one per 2000 steps of the test; scores "
        "have the same statistics as those of games played one after another",
        unit="games", low=1, high=4096, commands=TRAIN + TEST)
    workers: int = option(
        0, "processes that run the training games (0: they run in the training process)",
        unit="processes", low=0, high=1024, commands=TRAIN)
    test_workers: int = option(
        -1, "processes that run the test games (0: none; -1: for Atari games one per thread of "
        "--threads, or beside a GPU one per core)", unit="processes", low=-1, high=1024,
        commands=TRAIN + TEST)
    frame_skip: int = option(
        4, "emulator frames for which each action is repeated", unit="frames", low=1, high=60,
        only=ALE, recipe="atari")
    repeat_action_probability: float = option(
        0.0, "probability, in each frame, that the previous action is repeated (sticky actions; "
        "Machado et al. 2018 use 0.25)", low=0, high=1, only=ALE, recipe="atari")
    minimal_action_set: bool = option(
        True, "use only the actions that the game responds to; false: all 18", only=ALE,
        recipe="atari")
    game_mode: int = option(
        -1, "position of the console's game-select switch (-1: the cartridge's default)", low=-1,
        only=ALE, recipe="atari")
    game_difficulty: int = option(
        -1, "position of the console's difficulty switch (-1: the cartridge's default)", low=-1,
        only=ALE, recipe="atari")
    color_averaging: bool = option(
        False, "remove flicker by ALE's average of the last two frames; false: by their maximum",
        only=ALE, recipe="atari")
    resize: str = option(
        "area", "how screens are scaled down: by the mean of the covered area, or bilinearly",
        choices=("area", "linear"), recipe="screen")
    screen_width: int = option(
        84, "width of an observation", unit="pixels", low=1, high=512, recipe="screen")
    screen_height: int = option(
        84, "height of an observation", unit="pixels", low=1, high=512, recipe="screen")
    life_loss_terminal: bool = option(
        True, "in training, treat the loss of a life as the end of the return; the game itself "
        "continues", commands=(*TRAIN, "play"), only=ALE, recipe="atari", saved_play=True)
    random_starts: int = option(
        30, "start each game with a random number of no-ops, at most this many (0: always one)",
        unit="frames or steps", low=0, high=10_000, commands=(*TRAIN, *TEST, *WATCH, *IMPORT),
        only=ALE)
    random_starts_unit: str = option(
        "frames", "unit of random_starts: emulator frames, at least 1; or agent steps, at least "
        "history_length + 1 and at most random_starts + 1", choices=("frames", "steps"),
        commands=(*TRAIN, *TEST, *WATCH, *IMPORT), only=ALE)
    fire_on_reset: bool = option(
        False, "play FIRE and the action after it at the start of a game and after a lost life, as "
        "networks of other packages expect (FireResetEnv of OpenAI baselines)",
        commands=(*TRAIN, *TEST, *WATCH, *IMPORT), only=ALE)
    observe_time: bool = option(
        False, "append the share of the time limit that has passed to the vectors of a Gymnasium "
        "game (Pardo et al. 2018; TimeAwareObservation)",
        commands=(*TRAIN, *TEST, *WATCH, *IMPORT))
    test_frame_cap: int = option(
        18_000, "cut off a test game after this many emulator frames: 18000 are 5 minutes "
        "(0: never)", unit="frames", low=0, only=ALE)
    display_screen: bool = option(
        False, "show the first game in a window (press h there for its keys)",
        commands=("train", "resume", *TEST), scope="place")
    record_screen_path: str = option(
        "", "folder for every picture of the first game as PNG; of Atari 60 frames per second",
        commands=("train", "resume", *TEST, "record"), scope="place")
    record_sound_filename: str = option(
        "", "WAV file for the sound of the first game",
        commands=("train", "resume", *TEST, "record"), only=ALE, scope="place")
# fmt: on
