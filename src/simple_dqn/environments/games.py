"""Finding a game by name, and making the environment that plays it.

This does not import torch, so that worker processes can do without it.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms

from simple_dqn.environment import Environment
from simple_dqn.environments.atari import ALEEnvironment
from simple_dqn.environments.custom import CustomEnvironment
from simple_dqn.errors import UsageError
from simple_dqn.options import custom_classes
from simple_dqn.options.definitions import Config
from simple_dqn.options.environment_options import EnvironmentOptions

ALEInterface.setLoggerMode(LoggerMode.Error)


def find_game(name: str, kind: str) -> tuple[str, str, Path | None]:
    """Return (ale, gym or module:Class, game, ROM) for the ``name`` that the user gave.

    Raises:
        UsageError: there is no such game.
    """
    if kind == "gym" or ":" in kind:
        return kind, name, None
    try:
        return "ale", *find_rom(name)
    except UsageError:
        import gymnasium

        from simple_dqn.environments.gymnasium_games import is_registered

        if kind == "auto" and (":" in name or is_registered(name)):
            return "gym", name, None
        if Path(name).is_file():
            raise
        family = (name.rpartition("-v")[0] or name).lower()
        near = [i for i in gymnasium.registry if i.rpartition("-v")[0].lower() == family]
        if kind == "auto" and near:
            hint = " or ".join(near)
            raise UsageError(f"'{name}' is not a Gymnasium id: did you mean {hint}?") from None
        if kind == "auto" and re.search(r"-v\d+$", name):
            near = difflib.get_close_matches(name, gymnasium.registry, n=2, cutoff=0.75)
            hint = f"did you mean {' or '.join(near)}? F" if near else "f"
            raise UsageError(
                f"'{name}' is not a Gymnasium id here: {hint}or another package, give module:id"
            ) from None
        raise


def find_preset(kind: str, game: str) -> str:
    """Return the preset that suits a game, by its observations: screens, boards or vectors.

    Args:
        kind, game: see ``find_game``.

    Raises:
        UsageError: the game cannot be made.
    """
    if kind == "ale":
        return "nature"
    shape, _ = observations_of(kind, game, EnvironmentOptions(environment=kind))
    return {2: "nature", 3: "minatar"}.get(len(shape), "vector")


@cache
def observations_of(
    kind: str, game: str, options: EnvironmentOptions
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return (shape, dtype) of one observation of a game.

    Args:
        kind, game: see ``find_game``.
        options: how screens are made.

    Raises:
        UsageError: the game cannot be made.
    """
    if kind == "ale":
        return (options.screen_height, options.screen_width), np.dtype(np.uint8)
    environment = make_environment(Config(options), game, None, 1, np.random.SeedSequence(0))
    environment.close()
    return environment.observation_shape, environment.observation_dtype


def make_environment(
    config: Config,
    game: str,
    rom: Path | None,
    num_envs: int,
    seed: np.random.SeedSequence,
    shown: bool = False,
    workers: int = 0,
) -> Environment:
    """Return the environment of a game: a custom one, ALE if there is a ROM, or Gymnasium.

    Args:
        config: the options, except the number of lanes.
        game, rom: see ``find_game``.
        num_envs: the number of lanes.
        seed: of all that is random in the games.
        shown: whether the frames and the sound of the first game are used.
        workers: processes to distribute the lanes over, unless they are shown; 0 for none.

    Raises:
        UsageError: the game cannot be made.
    """
    env = config.environment
    audible = shown or bool(env.record_sound_filename)  # a display while training is silent
    shown = shown or env.display_screen or bool(env.record_screen_path)
    if not workers or shown or audible:
        return _make(config, game, rom, num_envs, seed, shown, audible)
    from simple_dqn.environments.parallel import ParallelEnvironment

    make = partial(_make_lane, config, game, rom)
    return ParallelEnvironment(make, num_envs, seed, workers)


def _make_lane(
    config: Config, game: str, rom: Path | None, seed: np.random.SeedSequence
) -> Environment:
    """Return an environment of one lane."""
    return _make(config, game, rom, 1, seed, shown=False, audible=False)


def _make(
    config: Config,
    game: str,
    rom: Path | None,
    num_envs: int,
    seed: np.random.SeedSequence,
    shown: bool,
    audible: bool,
) -> Environment:
    """Return an environment whose games run in this process."""
    env = config.environment
    if env.observe_time and (rom or ":" in env.environment):
        raise UsageError("--observe_time is for Gymnasium's games that show vectors: leave it out")
    screen = dict(resize=env.resize, screen_width=env.screen_width, screen_height=env.screen_height)
    if ":" in env.environment:
        base: Any = Environment
        environment: Environment = custom_classes.make(
            env.environment, base, "environment", game, num_envs=num_envs, seed=seed
        )
        if shown and type(environment).screen is Environment.screen:
            raise UsageError(f"{env.environment} cannot be shown: it has no method 'screen'")
        return CustomEnvironment(environment, env.environment)
    if rom is None:
        from simple_dqn.environments.gymnasium_games import GymEnvironment

        custom_classes.see_current_folder()  # for module:id
        make: Any = partial(
            GymEnvironment, game, num_envs=num_envs, seed=seed, observe_time=env.observe_time,
            **screen,  # type: ignore[arg-type]
        )  # fmt: skip
        if config.watch.page is not None:  # drawn if it can be
            with contextlib.suppress(UsageError):
                environment = make(render=True)
                return environment
        environment = make(render=shown)
        return environment

    in_steps = env.random_starts_unit == "steps" and env.random_starts > 0
    return ALEEnvironment(
        rom,
        num_envs=num_envs,
        seed=seed,
        frame_skip=env.frame_skip,
        repeat_action_probability=env.repeat_action_probability,
        minimal_action_set=env.minimal_action_set,
        game_mode=env.game_mode,
        game_difficulty=env.game_difficulty,
        color_averaging=env.color_averaging,
        life_loss_terminal=env.life_loss_terminal,
        random_starts=noop_frames(config),
        random_starts_multiple=env.frame_skip if in_steps else 1,
        test_frame_cap=env.test_frame_cap,
        fire_on_reset=env.fire_on_reset,
        audible=audible,
        **screen,  # type: ignore[arg-type]
    )


def noop_frames(config: Config) -> tuple[int, int]:
    """Return (least, most) no-op frames at the start of an Atari game."""
    env = config.environment
    if env.random_starts_unit == "steps" and env.random_starts:
        # The original drew from {history_length, ..., random_starts} and took one step more.
        least = min(config.replay.history_length, env.random_starts) + 1
        return least * env.frame_skip, (env.random_starts + 1) * env.frame_skip
    return 1, max(env.random_starts, 1)


# ALE has these only for two players and ends the process when they are loaded for one.
TWO_PLAYERS = ("combat", "joust", "maze_craze", "warlords")


def find_rom(name: str) -> tuple[str, Path]:
    """Return (game, path of its ROM) for a file or a game's name.

    An existing file is identified by its checksum, whatever it is called, but beside a plain name
    of a game it counts for nothing. Otherwise the last part of ``name`` without its extension is
    looked up among the ROMs of ale-py, so that ``roms/pong.bin``, ``pong`` and ``Pong`` all work
    without any file.

    Raises:
        UsageError: the file is not a ROM known to ALE, or no game has that name.
    """
    game, path = _find(name)
    if game in TWO_PLAYERS:
        raise UsageError(f"{game} is for two players only: ALE cannot play it alone")
    return game, path


def _find(name: str) -> tuple[str, Path]:
    """Do the work of ``find_rom``, including two-player games."""
    path = Path(name)
    by_letters = {_letters(game): game for game in roms.get_all_rom_ids()}
    named = by_letters.get(_letters(path.stem))
    plain = named is not None and not path.suffix and path.name == name
    if path.is_file() and not plain:  # a log file may be called as its game
        game = _identify(path)
        if named in (game, None):
            return game, path
        # ALE goes by the file's name, not its content, and would load the wrong game.
        shipped = Path(roms.get_rom_path(game))
        if shipped.read_bytes() != path.read_bytes():
            raise UsageError(f"'{name}' contains {game}, not {named}: rename it to {game}.bin")
        return game, shipped
    if name and path.is_dir() and named is None:
        raise UsageError(f"'{name}' is a folder, not a ROM file; give a file or a game's name")
    if named is None:
        near = difflib.get_close_matches(_letters(path.stem), by_letters, n=3)
        hint = (
            f"did you mean {' or '.join(by_letters[n] for n in near)}?"
            if near
            else f"ale-py ships {len(by_letters) - len(TWO_PLAYERS)} games for one player, such as "
            f"breakout, pong and space_invaders"
        )
        raise UsageError(f"there is no ROM file '{name}' and no game '{path.stem}': {hint}")
    return named, Path(roms.get_rom_path(named))


def _identify(path: Path) -> str:
    """Return the game in a file by its checksum alone, using a copy with a neutral name.

    Raises:
        UsageError: ALE does not know the ROM.
    """
    with tempfile.TemporaryDirectory() as folder:
        game: str | None = ALEInterface.isSupportedROM(shutil.copy(path, f"{folder}/rom.bin"))
    if game is None:
        raise UsageError(
            f"'{path}' is not an Atari 2600 ROM that ALE knows (by its checksum); "
            f"to use the ROM that comes with ale-py, give a name like roms/pong.bin without a file"
        )
    return game


def _letters(name: str) -> str:
    """Normalise the spelling of a name, so that SpaceInvaders equals space_invaders."""
    return "".join(c for c in name.lower() if c.isalnum())
