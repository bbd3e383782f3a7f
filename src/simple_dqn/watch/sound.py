"""The game's sound through the mixer, without gaps and at any speed."""

from __future__ import annotations

import logging
import time

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

RING = 1.0  # seconds of sound that the mixer goes round
LEAD = 0.08  # seconds that we write ahead of what is heard: less stutters, more lags
RESTART = 20.0  # seconds after which the mixer's clock and ours may differ enough to hear


def open_speaker(rate: int) -> Speaker | None:
    """Return a speaker for a game of ``rate`` samples a second; None if it can't be heard."""
    try:
        return Speaker(rate) if rate else None
    except OSError as error:
        logger.warning("there is no sound: %s", error)
        return None


class Speaker:
    """Plays a stream of samples.

    The mixer plays whole sounds, and one queued behind another begins late, with a click. So it
    gets a single sound of one second that it repeats for ever, and we write into its memory
    just ahead of where it reads: a ring. What has been heard is silenced for the next round.

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
            pygame.mixer.init(frequency=rate, size=-16, channels=1, buffer=512, allowedchanges=0)
        except pygame.error as error:
            raise OSError(str(error)) from None
        self._mixer = pygame.mixer
        self._sound = pygame.mixer.Sound(bytes(2 * round(RING * rate)))
        self._ring: NDArray[np.int16] = pygame.sndarray.samples(self._sound)  # its own memory
        self._silenced = self._written = 0  # samples since the start
        self._restart()

    def play(self, samples: NDArray[np.uint8], seconds: float) -> None:
        """Append ``samples``, around 128, to be heard for ``seconds``: faster is higher.

        Returns at once. Call it without samples while nothing happens, so that there is silence.
        A game too fast to hear is silent.
        """
        lead, quiet = round(LEAD * self.rate), not (samples != 128).any()
        if quiet and self._heard() > RESTART * self.rate:
            self._restart()
        heard = self._heard()
        self._write(self._silenced, np.zeros(heard - self._silenced, np.int16))
        self._silenced = heard

        self._written = max(self._written, heard + lead // 2)  # the game was held up
        count = round(seconds * self.rate)
        if count < len(samples) // 8 or self._written + count > heard + 3 * lead:
            return
        if not quiet:
            # Nearest samples will do: the console makes square waves and noise.
            stretched = samples[np.arange(count) * len(samples) // count].astype(np.int16)
            self._write(self._written, (stretched - 128) * 256)
        self._written += count

    def change_volume(self, by: float) -> None:
        """Make it louder or quieter, within 0 and 1."""
        self.volume = min(max(round(self.volume + by, 2), 0.0), 1.0)
        self._channel.set_volume(self.volume)

    def close(self) -> None:
        """Fall silent and give the device back."""
        self._mixer.quit()

    def _restart(self) -> None:
        """Begin a round anew: from now on we know where the mixer reads."""
        self._sound.stop()
        self._ring[:] = 0
        self._channel = self._sound.play(loops=-1)
        self._channel.set_volume(self.volume)
        self._start = time.perf_counter()
        self._silenced = self._written = 0

    def _heard(self) -> int:
        """Samples that have been heard since the start, by our clock."""
        return int((time.perf_counter() - self._start) * self.rate)

    def _write(self, start: int, samples: NDArray[np.int16]) -> None:
        """Write into the ring behind the first ``start`` samples since the start."""
        samples = samples[-len(self._ring) :]
        self._ring[np.arange(start, start + len(samples)) % len(self._ring)] = samples
