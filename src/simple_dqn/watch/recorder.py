"""Recordings of a game: video with sound, GIF, single pictures, sound only.

Each recorder is a listener of ``Environment.on_frame``: it gets every emulator frame, also those
inside a frame skip. Its file is complete once it is closed.
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
from numpy.typing import NDArray

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.environment import Environment
from simple_dqn.watch.scene import (
    BACKGROUND,
    PANEL_WIDTH,
    Picture,
    QMeter,
    QValues,
    Scene,
    draw_panel,
    enlarge,
)

SOUND_RATE = 48_000  # samples per second in a video; AAC does not support 30720
# BT.709, the default of players for high definition; tagged, so that all of them agree.
COLOUR = dict(colorspace=1, color_primaries=1, color_trc=1, color_range=1)
MOST_ROWS = 1000  # of a video with automatic scale
GIF_EVERY = 3  # frames per picture, for a delay of 50 ms: GIF delays are multiples of 10 ms


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


class Film(Callback):
    """The picture of a video: the game, scaled by whole numbers, and optionally the Q-values.

    Args:
        scale: rows per row of the game, 0 for as many as fit into MOST_ROWS.
        pixel_aspect: width over height of the game's pixels; scales the columns, rounded.
        names: of the actions [A], to draw their Q-values; None to omit them.
    """

    def __init__(self, scale: int, pixel_aspect: float, names: list[str] | None) -> None:
        self.scale = scale
        self.pixel_aspect = pixel_aspect
        self.meter = QMeter(names) if names else None
        self.q: QValues | None = None
        self._panel: Picture | None = None

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """Compute the Q-values of the current state."""
        if self.meter is not None:
            values = agent.network.predict(agent.buffer.states[:1])[0]
            self.q, self._panel = self.meter.read(values, int(actions[0])), None

    def __call__(self, screen: Picture) -> Picture:
        """Return the picture for a screen of the game."""
        height, width = screen.shape[:2]
        scale = self.scale or max(MOST_ROWS // height, 1)
        game = enlarge(screen, height * scale, width * round(scale * self.pixel_aspect))
        if self.meter is None:
            return game
        if self._panel is None:  # shared by all frames of a step
            self._panel = np.full((game.shape[0], PANEL_WIDTH, 3), BACKGROUND, np.uint8)
            draw_panel(self._panel, Scene(screen, 1, q_values=self.q))
        return np.concatenate([game, self._panel], axis=1)


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
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2  # even, for yuv420p
        if self.frames == 0:
            self._video.width, self._video.height = width, height
        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(picture[:height, :width]), format="rgb24"
        ).reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
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


class Gif:
    """A GIF with 20 pictures per second, each the maximum of two frames to avoid flicker.

    Args:
        path: the file, see ``unfinished``.
        frames_per_second: of the game.
        picture: turns the game's screen into the picture, both RGB uint8 [h, w, 3].
    """

    def __init__(
        self, path: Path, frames_per_second: float, picture: Callable[[Picture], Picture]
    ) -> None:
        import PIL.Image  # noqa: F401 (fails before the game if it is missing)

        self.path = path
        self.milliseconds = round(1000 * GIF_EVERY / frames_per_second)
        self.picture = picture
        self._frames = 0
        self._last: Picture | None = None
        self._pictures: list[bytes] = []  # PNG: there may be thousands

    def __call__(self, environment: Environment) -> None:
        """Add a frame if it is the next one to show."""
        self._frames += 1
        screen = environment.screen()
        if self._frames % GIF_EVERY == 0 and self._last is not None:
            both: Picture = np.maximum(screen, self._last)
            self._pictures.append(cv2.imencode(".png", self.picture(both))[1].tobytes())
        self._last = screen

    def close(self) -> None:
        """Write the file, if there were any frames."""
        from PIL import Image

        if not self._pictures and self._last is not None:  # fewer than three frames
            self._pictures.append(cv2.imencode(".png", self.picture(self._last))[1].tobytes())
        if not self._pictures:
            return

        def images() -> Iterator[Image.Image]:
            for data in self._pictures:
                array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
                # Atari has at most 128 colours, so a palette per picture is lossless.
                yield Image.fromarray(np.asarray(array)).quantize(256)

        rest = images()
        next(rest).save(
            self.path, format="GIF", save_all=True, append_images=rest,
            duration=self.milliseconds, loop=0, optimize=False,
        )  # fmt: skip


class Pictures:
    """Every frame as a PNG file, numbered from 000000.

    Args:
        folder: made if it does not exist.
        pixel_aspect: width over height of the game's pixels; columns are repeated this often,
            rounded: twice in ALE.
    """

    def __init__(self, folder: Path, pixel_aspect: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.columns = round(pixel_aspect)
        self.frames = 0

    def __call__(self, environment: Environment) -> None:
        """Write a frame."""
        screen = environment.screen()
        height, width = screen.shape[:2]
        picture = cv2.cvtColor(enlarge(screen, height, self.columns * width), cv2.COLOR_RGB2BGR)
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
