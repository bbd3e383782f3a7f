"""The game's sound through the mixer, without gaps and at any speed."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

BUFFER = 512  # samples that the mixer makes at a time: a frame of ALE's at normal speed
CHUNK = 2 * BUFFER  # the least that is handed to it: smaller is earlier, larger is safer
LONGEST_WAIT = 4 * BUFFER  # samples that may wait behind; more is too late to be heard


def open_speaker(rate: int) -> Speaker | None:
    """Return a speaker for a game of ``rate`` samples a second; None if it can't be heard."""
    try:
        return Speaker(rate) if rate else None
    except OSError as error:
        logger.warning("there is no sound: %s", error)
        return None


class Speaker:
    """Plays a stream of samples.

    The mixer plays one sound and keeps one queued, which begins with the buffer after the one in
    which the first ends. So sounds of whole buffers follow one another without a gap. It takes
    them at its own device's pace: what it has no use for is dropped, what is missing is silence.

    Args:
        rate: samples a second at normal speed.

    Attributes:
        volume: 0 to 1.

    Raises:
        OSError: there is no sound device.
    """

    def __init__(self, rate: int) -> None:
        import pygame

        self.rate = rate
        self.volume = 1.0
        try:
            pygame.mixer.init(rate, size=-16, channels=1, buffer=BUFFER, allowedchanges=0)
        except pygame.error as error:
            raise OSError(str(error)) from None
        self._mixer = pygame.mixer
        self._channel = pygame.mixer.Channel(0)
        self._waiting = np.empty(0, np.int16)

    def play(self, samples: NDArray[np.uint8], seconds: float) -> None:
        """Append ``samples``, around 128, to be heard for ``seconds``: faster is higher.

        Returns at once. A game too fast to hear is silent.
        """
        count = round(seconds * self.rate)
        if len(samples) and count >= len(samples) // 8:
            # Nearest samples will do: the console makes square waves and noise.
            stretched = samples[np.arange(count) * len(samples) // count].astype(np.int16)
            self._waiting = np.concatenate([self._waiting, (stretched - 128) * 256])
        whole = len(self._waiting) // BUFFER * BUFFER
        idle = not self._channel.get_busy()
        if whole >= CHUNK and (idle or self._channel.get_queue() is None):
            chunk, self._waiting = np.split(self._waiting, [whole])
            # What was queued just when the one before it ended is never begun: play replaces it.
            begin = self._channel.play if idle else self._channel.queue
            begin(self._mixer.Sound(chunk.tobytes()))
            self._channel.set_volume(self.volume)  # a new sound begins at full volume
        elif whole > max(LONGEST_WAIT, count):
            self._waiting = self._waiting[whole - CHUNK :]

    def change_volume(self, by: float) -> None:
        """Make it louder or quieter, within 0 and 1."""
        self.volume = min(max(round(self.volume + by, 2), 0.0), 1.0)
        self._channel.set_volume(self.volume)

    def close(self) -> None:
        """Fall silent and give the device back."""
        self._mixer.quit()
