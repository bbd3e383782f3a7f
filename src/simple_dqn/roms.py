"""Finding the ROM of a game: the user's own file, or the one that ale-py ships."""

from __future__ import annotations

import difflib
import shutil
import tempfile
from pathlib import Path

from ale_py import ALEInterface, LoggerMode, roms

from simple_dqn.errors import UsageError

ALEInterface.setLoggerMode(LoggerMode.Error)

# ALE has these only for two players, and ends the whole process if one player loads them.
TWO_PLAYERS = ("combat", "joust", "maze_craze", "warlords")


def find_rom(name: str) -> tuple[str, Path]:
    """Return (game, path of its ROM) for a file or a game's name.

    An existing file is identified by its checksum, whatever it is called. Otherwise the last part
    of ``name`` without its extension is looked up among the ROMs of ale-py, so that
    ``roms/pong.bin``, ``pong`` and ``Pong`` all work without any file.

    Raises:
        UsageError: the file is no ROM that ALE knows, or no game has that name.
    """
    game, path = _find(name)
    if game in TWO_PLAYERS:
        raise UsageError(f"{game} is for two players only: ALE cannot play it alone")
    return game, path


def _find(name: str) -> tuple[str, Path]:
    """Do what find_rom does, for games of two players too."""
    path = Path(name)
    by_letters = {_letters(game): game for game in roms.get_all_rom_ids()}
    named = by_letters.get(_letters(path.stem))
    if path.is_file():
        game = _identify(path)
        if named in (game, None):
            return game, path
        # ALE believes a file's name before its content and would load the wrong game.
        shipped = Path(roms.get_rom_path(game))
        if shipped.read_bytes() != path.read_bytes():
            raise UsageError(f"'{name}' holds {game}, not {named}: rename it to {game}.bin")
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
    """Return the game in a file, by its checksum alone: under a name that says nothing.

    Raises:
        UsageError: ALE knows no such ROM.
    """
    with tempfile.TemporaryDirectory() as folder:
        game: str | None = ALEInterface.isSupportedROM(shutil.copy(path, f"{folder}/rom.bin"))
    if game is None:
        raise UsageError(
            f"'{path}' is no Atari 2600 ROM that ALE knows (by its checksum); "
            f"to use the ROM that comes with ale-py, give a name like roms/pong.bin without a file"
        )
    return game


def _letters(name: str) -> str:
    """Fold a name to what does not depend on its spelling: SpaceInvaders = space_invaders."""
    return "".join(c for c in name.lower() if c.isalnum())
