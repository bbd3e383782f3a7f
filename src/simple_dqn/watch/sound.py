"""Speaker: plays the game's sound without gaps, at any speed, by pygame's mixer."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

BUFFER = 512  # samples per mixer callback: one ALE frame at normal speed
CHUNK = 2 * BUFFER  # smallest sound passed to the mixer: smaller has less delay, larger fewer gaps
LONGEST_WAIT = 4 * BUFFER  # samples that may wait; beyond that the delay would be audible


def open_speaker(rate: int) -> Speaker | None:
    """Return a speaker for a game of ``rate`` samples per second; None if there is no sound."""
    try:
        return Speaker(rate) if rate else None
    except OSError as error:
        logger.warning("there is no sound: %s", error)
        return None


def stretch(samples: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return ``samples`` made to last ``count``; silence, so none, above 8 times normal speed."""
    if not len(samples) or count < len(samples) // 8:
        return samples[:0]
    # Nearest-neighbour resampling is enough for the console's square waves and noise.
    return samples[np.arange(count) * len(samples) // count]


class Speaker:
    """Plays a stream of samples.

    The mixer plays one sound and queues another, which starts with the buffer after the one in
    which the first ends. So sounds of whole buffers have no gaps between them. The device sets the
    pace: samples it has no time for are dropped, and missing ones are silence.

    Args:
        rate: samples per second at normal speed.

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
        """Queue ``samples``, uint8 around 128, to last ``seconds``: a faster game sounds higher.

        It does not block.
        """
        count = round(seconds * self.rate)
        stretched = stretch(samples, count).astype(np.int16)
        self._waiting = np.concatenate([self._waiting, (stretched - 128) * 256])
        whole = len(self._waiting) // BUFFER * BUFFER
        idle = not self._channel.get_busy()
        if whole >= CHUNK and (idle or self._channel.get_queue() is None):
            chunk, self._waiting = np.split(self._waiting, [whole])
            # A sound queued at the moment its predecessor ended never starts: play replaces it.
            start = self._channel.play if idle else self._channel.queue
            start(self._mixer.Sound(chunk.tobytes()))
            self._channel.set_volume(self.volume)  # every sound starts at full volume
        elif whole > max(LONGEST_WAIT, count):
            self._waiting = self._waiting[whole - CHUNK :]

    def change_volume(self, by: float) -> None:
        """Change the volume, clipped to 0 to 1."""
        self.volume = min(max(round(self.volume + by, 2), 0.0), 1.0)
        self._channel.set_volume(self.volume)

    def close(self) -> None:
        """Stop playing and release the device."""
        self._mixer.quit()
