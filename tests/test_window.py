"""The window, on SDL's dummy screen: keys come in as events, a scene goes out as pixels."""

from __future__ import annotations

import numpy as np
import pytest

pygame = pytest.importorskip("pygame")

from simple_dqn.watch.interface import QUIT  # noqa: E402
from simple_dqn.watch.layout import draw  # noqa: E402
from simple_dqn.watch.scene import Scene  # noqa: E402
from simple_dqn.watch.window import SIZE, Window  # noqa: E402


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = Window("breakout")
    window.keys()  # discard the events of its opening
    yield window
    window.close()


def post(kind, **attributes):
    pygame.event.post(pygame.event.Event(kind, **attributes))


def press(key, text=""):
    post(pygame.KEYDOWN, key=key, unicode=text)


def release(key):
    post(pygame.KEYUP, key=key)


def test_characters_follow_the_keyboard_layout(window):
    press(pygame.K_a, "a")
    press(pygame.K_8, "[")  # a German keyboard
    press(pygame.K_m, "M")  # caps lock
    press(pygame.K_ESCAPE, "\x1b")
    press(pygame.K_F5)
    post(pygame.QUIT)
    assert window.keys() == ["a", "[", "m", "escape", QUIT]
    assert window.keys() == []


def test_joystick_reports_held_and_tapped_keys(window):
    press(pygame.K_LEFT)
    press(pygame.K_SPACE, " ")
    release(pygame.K_SPACE)
    assert window.keys() == []
    assert window.joystick() == {"LEFT", "FIRE"}
    assert window.joystick() == {"LEFT"}
    press(pygame.K_3, "3")
    window.keys()
    assert window.joystick() == {"LEFT", "3"}
    release(pygame.K_LEFT)
    release(pygame.K_3)
    window.keys()
    assert window.joystick() == set()
    press(pygame.K_UP)
    post(pygame.WINDOWFOCUSLOST)  # its release goes to another window
    window.keys()
    window.joystick()
    assert window.joystick() == set()


def test_scene_fills_the_window(window):
    screen = np.random.default_rng(0).integers(0, 256, (210, 160, 3), dtype=np.uint8)
    scene = Scene(screen, 7 / 4, "status")
    window.draw(scene)
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    assert (shown == draw(scene, *SIZE)).all()


SCREEN = np.zeros((210, 160, 3), np.uint8)
STATE = np.zeros((4, 84, 84), np.uint8)


def size():
    pygame.event.pump()
    return pygame.display.get_surface().get_size()


def test_the_window_grows_for_the_panel_and_shrinks_again(window):
    plain, beside = Scene(SCREEN, 7 / 4), Scene(SCREEN, 7 / 4, state=STATE)
    sizes = []
    for scene in (plain, beside, beside, plain, beside):
        window.draw(scene)
        sizes.append(size())
    # the dummy screen has 1024x768: nine tenths of it
    assert sizes == [SIZE, (921, 658), (921, 658), SIZE, (921, 658)]


def test_a_window_that_was_resized_by_hand_stays_so(window):
    window.draw(Scene(SCREEN, 7 / 4))
    window._set_size((700, 500))
    window.draw(Scene(SCREEN, 7 / 4, state=STATE))
    assert size() == (700, 500)
    window.draw(Scene(SCREEN, 7 / 4))
    assert size() == (700, 500)


def test_a_window_has_the_shape_of_its_game_not_of_each_picture(window):
    window.draw(Scene(np.zeros((20, 400, 3), np.uint8), 1))
    assert size() == (840, 348)
    window.draw(Scene(np.zeros((400, 20, 3), np.uint8), 1))
    assert size() == (840, 348)


def test_keys_stay_held_when_the_window_grows(window):
    press(pygame.K_LEFT)
    window.keys()
    window.draw(Scene(SCREEN, 7 / 4))
    window.draw(Scene(SCREEN, 7 / 4, state=STATE))
    window.keys()
    window.joystick()
    assert window.joystick() == {"LEFT"}


def test_a_key_tapped_just_before_the_focus_was_lost_does_nothing(window):
    press(pygame.K_RIGHT)
    post(pygame.WINDOWFOCUSLOST)
    window.keys()
    assert window.joystick() == set()
    press(pygame.K_RIGHT)  # back again
    window.keys()
    assert window.joystick() == {"RIGHT"}
