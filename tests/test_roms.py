import shutil

import numpy as np
import pytest
from ale_py import roms

from simple_dqn.environments.games import TWO_PLAYERS, find_rom
from simple_dqn.errors import UsageError
from simple_dqn.main import main

from .test_environment import make


@pytest.mark.parametrize("name", ["pong", "Pong", "roms/pong.bin", "roms/PONG.rom", "pong.bin"])
def test_shipped_rom_is_found_by_name(in_tmp, name):
    game, path = find_rom(name)
    assert game == "pong"
    assert path.name == "pong.bin"
    assert path.is_file()


def test_local_files_named_like_a_game(in_tmp, capsys):
    (in_tmp / "pong").mkdir()
    assert find_rom("pong")[0] == "pong"  # a folder is not a ROM
    (in_tmp / "breakout").write_text("notes")
    assert find_rom("breakout")[1].name == "breakout.bin"  # a plain name is the game
    assert main(["train", "./breakout"]) == 2
    assert "'breakout' is not an Atari 2600 ROM that ALE knows" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["space_invaders", "SpaceInvaders", "Space Invaders", "space-invaders"]
)
def test_spelling_does_not_matter(in_tmp, name):
    assert find_rom(name)[0] == "space_invaders"


def test_custom_rom_is_identified_by_its_checksum(in_tmp, pong):
    (in_tmp / "roms").mkdir()
    shutil.copy(pong, in_tmp / "roms" / "my old cartridge.dump")
    game, path = find_rom("roms/my old cartridge.dump")
    assert game == "pong"
    assert str(path) == "roms/my old cartridge.dump"
    shutil.copy(pong, in_tmp / "roms" / "breakout.bin")  # the content counts, not the name
    game, path = find_rom("roms/breakout.bin")
    assert game == "pong"
    assert path.name == "pong.bin"  # because ALE goes by the name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("roms/pnog.bin", "no game 'pnog': did you mean .*pong"),
        ("roms/qqqq.bin", "ale-py ships 1.. games for one player"),
        ("text.bin", "is not an Atari 2600 ROM"),
        ("empty.bin", "is not an Atari 2600 ROM"),
        ("folder", "is a folder"),
        ("", "no game ''"),
    ],
)
def test_invalid_roms_are_refused(in_tmp, name, message):
    (in_tmp / "text.bin").write_text("not a ROM")
    (in_tmp / "empty.bin").touch()
    (in_tmp / "folder").mkdir()
    with pytest.raises(UsageError, match=message):
        find_rom(name)


def test_every_shipped_game_is_playable_or_refused():
    for game in roms.get_all_rom_ids():
        if game in TWO_PLAYERS:
            with pytest.raises(UsageError, match="two players only"):
                find_rom(game)
        else:
            env = make(find_rom(game)[1], game_mode=-1, game_difficulty=-1)
            env.restart()
            env.act(np.array([0]))
            env.close()
