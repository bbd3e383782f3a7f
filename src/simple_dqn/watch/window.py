"""Window: a game in a window, by pygame."""

from __future__ import annotations

import os
import warnings

import pygame

from simple_dqn.errors import UsageError
from simple_dqn.watch.interface import QUIT, Display
from simple_dqn.watch.joystick import DOWN, FIRE, LEFT, RIGHT, UP
from simple_dqn.watch.layout import GAME_ROOM, STATUS_HEIGHT, draw, ideal_size
from simple_dqn.watch.scene import Scene

SIZE = (GAME_ROOM[0], GAME_ROOM[1] + STATUS_HEIGHT)  # pixels: before the game is known
LEAST = (160, 120)
OF_SCREEN = 0.9  # of its width and height that a window takes by itself at most

JOYSTICK = {
    pygame.K_UP: UP,
    pygame.K_DOWN: DOWN,
    pygame.K_LEFT: LEFT,
    pygame.K_RIGHT: RIGHT,
    pygame.K_SPACE: FIRE,
}


class Window(Display):
    """A resizable window.

    It has the shape of the game, and grows when there is something to show beside it; but once the
    user has resized it, the size is theirs.

    Raises:
        UsageError: the window cannot be opened.
    """

    def __init__(self, title: str) -> None:
        try:
            pygame.display.init()
            self._surface = pygame.display.set_mode(SIZE, pygame.RESIZABLE)
        except pygame.error as error:
            raise UsageError(f"cannot open a window: {error}") from None
        # If the DISPLAY is gone, SDL falls back to a driver without a screen instead of failing.
        unseen = pygame.display.get_driver() in ("dummy", "offscreen")
        if unseen and not os.environ.get("SDL_VIDEODRIVER"):
            pygame.display.quit()
            raise UsageError("cannot open a window: the screen named by DISPLAY is not available")
        pygame.display.set_caption(title)
        self._size = self._surface.get_size()  # as we made it
        self._with_panel: bool | None = None  # what that size is for; None for no game yet
        self._held: dict[int, str] = {}  # key -> part of the joystick
        self._tapped: set[str] = set()

    def keys(self) -> list[str]:
        """See Display."""
        pressed = []
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                pressed.append(QUIT)
            elif event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE:
                pressed.append("escape")
            elif event.type == pygame.KEYDOWN:
                # By character, so that every keyboard layout works.
                part = JOYSTICK.get(event.key, event.unicode)
                if event.key in JOYSTICK or part.isdecimal():
                    self._held[event.key] = part
                    self._tapped.add(part)
                elif part:
                    pressed.append(part.lower())
            elif event.type == pygame.KEYUP:
                self._held.pop(event.key, None)
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._held.clear()
                self._tapped.clear()
        return pressed

    def joystick(self) -> set[str]:
        """See Display."""
        held, self._tapped = self._tapped.union(self._held.values()), set()
        return held

    def draw(self, scene: Scene) -> None:
        """See Display."""
        if scene.has_panel != self._with_panel:
            self._with_panel = scene.has_panel
            self._resize(scene)
        width, height = (
            max(*pair) for pair in zip(self._surface.get_size(), LEAST, strict=True)
        )  # fmt: skip
        picture = draw(scene, width, height)
        surface = pygame.image.frombuffer(picture.tobytes(), (width, height), "RGB")
        self._surface.blit(surface, (0, 0))
        pygame.display.flip()

    def _resize(self, scene: Scene) -> None:
        """Give the window the size for what it shows, unless the user has resized it."""
        if self._surface.get_size() == self._size:
            desktop = pygame.display.get_desktop_sizes()[0]
            size = ideal_size(scene, (int(OF_SCREEN * desktop[0]), int(OF_SCREEN * desktop[1])))
            if size != self._size:
                self._size = size
                self._set_size(size)

    def _set_size(self, size: tuple[int, int]) -> None:
        """Change the window's size. pygame-ce can keep the window, so that keys stay held."""
        with warnings.catch_warnings():  # the way may go; then there is a new window
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                pygame.Window.from_display_module().size = size
            except AttributeError:
                self._surface = pygame.display.set_mode(size, pygame.RESIZABLE)

    def close(self) -> None:
        """See Display."""
        pygame.display.quit()
