"""Recordings of a game: video with sound, single pictures, sound only.

Each recorder is a listener of ``Environment.on_frame``: it gets every picture of the game, also
the emulator frames inside a frame skip. Its file is complete once it is closed.
"""

from __future__ import annotations

import contextlib
import os
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from simple_dqn.environment import Environment
from simple_dqn.watch.scene import Picture, resize

SOUND_RATE = 48_000  # samples per second in a video; AAC does not support 30720
# BT.709, the default of players for high definition; tagged, so that all of them agree.
COLOUR = dict(colorspace=1, color_primaries=1, color_trc=1, color_range=1)


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Yield a temporary name for writing ``path``; on success it is renamed to ``path``."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Video:
    """An MP4 with H.264 and AAC, which every browser plays.

    Args:
        path: the file, see ``unfinished``.
        frames_per_second: of the game.
        sound_rate: samples per second of the game's sound; 0 for a silent video.
        picture: turns the game's screen into the picture, both RGB uint8 [h, w, 3].

    Attributes:
        frames: frames so far.
    """

    def __init__(
        self,
        path: Path,
        frames_per_second: float,
        sound_rate: int,
        picture: Callable[[Picture], Picture],
    ) -> None:
        import av

        self.frames = 0
        self.picture = picture
        rate = Fraction(frames_per_second).limit_denominator(1001)
        self._container = av.open(str(path), "w", options={"movflags": "+faststart"})
        self._video = self._container.add_stream("libx264", rate=rate)
        self._video.options = {"crf": "16", "preset": "veryfast", "tune": "animation"}
        self._video.pix_fmt = "yuv420p"
        for name, value in COLOUR.items():
            setattr(self._video.codec_context, name, value)
        self._video.codec_context.time_base = 1 / rate
        self._sound = None
        self._samples = 0
        if sound_rate:
            self._sound = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
            self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=SOUND_RATE)
        self._sound_rate = sound_rate

    def __call__(self, environment: Environment) -> None:
        """Add a frame and its sound."""
        import av

        picture = self.picture(environment.screen())
        height, width = picture.shape[:2]  # made even for yuv420p: nothing is cut off
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        if self.frames == 0:
            self._video.height, self._video.width = picture.shape[:2]
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts = self.frames
        self.frames += 1
        self._container.mux(self._video.encode(frame))
        if self._sound is not None:
            samples = environment.sound()
            sound = av.AudioFrame.from_ndarray(samples[None], format="u8", layout="mono")
            sound.sample_rate = self._sound_rate
            sound.pts, self._samples = self._samples, self._samples + len(samples)
            for resampled in self._resampler.resample(sound):
                self._container.mux(self._sound.encode(resampled))

    def close(self) -> None:
        """Flush the encoders and write the index."""
        if self._sound is not None:
            for resampled in self._resampler.resample(None):
                self._container.mux(self._sound.encode(resampled))
            self._container.mux(self._sound.encode(None))
        if self.frames:
            self._container.mux(self._video.encode(None))
        self._container.close()


class Pictures:
    """Every frame as a PNG file, numbered from 000000.

    Args:
        folder: made if it does not exist.
        pixel_aspect: width over height of the game's pixels; columns are repeated this often,
            rounded, at least once: twice in ALE.
    """

    def __init__(self, folder: Path, pixel_aspect: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.columns = max(round(pixel_aspect), 1)
        self.frames = 0

    def __call__(self, environment: Environment) -> None:
        """Write a frame."""
        screen = environment.screen()
        height, width = screen.shape[:2]
        picture = cv2.cvtColor(resize(screen, height, self.columns * width), cv2.COLOR_RGB2BGR)
        path = self.folder / f"{self.frames:06d}.png"
        if not cv2.imwrite(str(path), picture):
            raise OSError(None, "cannot be written", str(path))
        self.frames += 1


class Sound:
    """The sound as an 8-bit WAV file.

    Args:
        path: the file.
        rate: samples per second.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self._wav = wave.open(str(path), "wb")  # noqa: SIM115 (open until close)
        self._wav.setnchannels(1)
        self._wav.setsampwidth(1)
        self._wav.setframerate(rate)

    def __call__(self, environment: Environment) -> None:
        """Add a frame's sound."""
        self._wav.writeframesraw(environment.sound().tobytes())

    def close(self) -> None:
        """Complete the header."""
        self._wav.close()
