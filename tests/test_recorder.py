"""Recordings, decoded again: every emulator frame, the same pixels, sound in sync."""

from __future__ import annotations

import wave
from typing import NamedTuple

import cv2
import numpy as np
import pytest

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")

from simple_dqn.watch.film import Film  # noqa: E402
from simple_dqn.watch.gif import Gif  # noqa: E402
from simple_dqn.watch.recorder import SOUND_RATE, Pictures, Sound, Video, unfinished  # noqa: E402
from simple_dqn.watch.scene import QMeter  # noqa: E402
from tests.test_environment import make  # noqa: E402


class Frame(NamedTuple):
    """An environment at one moment."""

    picture: np.ndarray
    samples: np.ndarray

    def screen(self):
        return self.picture

    def sound(self):
        return self.samples


@pytest.fixture(scope="module")
def game(breakout):
    """The frames and sounds of two seconds of Breakout, from the start of a ball's flight."""
    frames = []
    env = make(breakout, audible=True)
    env.training = env.remembered = False
    env.restart()
    env.on_frame = (lambda env: frames.append(Frame(env.screen(), env.sound())),)
    for action in [1, *[2] * 8, *[3] * 16, *[0] * 5]:
        env.act(np.array([action]))
    return frames


def test_video_has_every_frame_and_sound_in_sync(game, tmp_path):
    path = tmp_path / "game.mp4"
    video = Video(path, 60, 60 * 512, Film(4, 7 / 4, None))
    for frame in game:
        video(frame)
    video.close()
    assert video.frames == len(game) == 120

    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == len(game)
    for picture, (screen, _) in zip(pictures, game, strict=True):
        assert picture.shape == (840, 1120, 3)
        middles = picture[2::4, 3::7].astype(int)  # of each of the game's pixels
        assert np.abs(middles - screen).mean() < 2
        assert np.percentile(np.abs(middles - screen), 99) < 25

    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        start = float(frames[0].pts * frames[0].time_base)
        heard = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        durations = [float(s.duration * s.time_base) for s in container.streams]
    assert durations == pytest.approx([2, 2], abs=0.05)
    assert len(heard) / SOUND_RATE == pytest.approx(2, abs=0.05)
    played = np.concatenate([sound for _, sound in game]).astype(float) - 128
    assert played.any()  # not silence
    times = np.arange(2 * SOUND_RATE) / SOUND_RATE
    expected = np.interp(times, np.arange(len(played)) / (60 * 512), played)
    actual = np.interp(times, start + np.arange(len(heard)) / SOUND_RATE, heard)
    lags = range(-SOUND_RATE // 20, SOUND_RATE // 20, 24)
    best = max(lags, key=lambda lag: np.abs(actual) @ np.roll(np.abs(expected), lag))
    assert abs(best) / SOUND_RATE < 1 / 60  # less than a frame apart


def test_silent_game_makes_a_silent_video(tmp_path):
    video = Video(tmp_path / "a.mp4", 30, 0, Film(1, 1, None))
    for grey in range(10):
        video(Frame(np.full((41, 61, 3), 20 * grey, np.uint8), np.empty(0, np.uint8)))
    video.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [s.type for s in container.streams] == ["video"]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams[0].average_rate == 30
    assert [frame.shape for frame in frames] == [(42, 62, 3)] * 10  # even, and nothing is cut off
    assert [int(frame.mean()) for frame in frames] == pytest.approx(range(0, 200, 20), abs=3)


def test_film_scales_the_screen_by_whole_numbers(game):
    screen = game[5][0]
    assert (Film(4, 7 / 4, None)(screen) == screen.repeat(4, 0).repeat(7, 1)).all()
    assert Film(1, 7 / 4, None)(screen).shape == (210, 320, 3)
    assert Film(0, 7 / 4, None)(screen).shape == (840, 1120, 3)

    class Agent:
        class network:
            predict = staticmethod(lambda states: np.array([[1, 2, 3, 4]], np.float32))

        class buffer:
            states = np.zeros((1, 4, 84, 84), np.uint8)

    film = Film(4, 7 / 4, QMeter(["NOOP", "FIRE", "RIGHT", "LEFT"]))
    before = film(screen)
    assert (before[:, :1120] == screen.repeat(4, 0).repeat(7, 1)).all()
    film.on_act(Agent(), np.array([3]))
    after = film(screen)
    assert after.shape == before.shape == (840, 1120 + 373, 3)
    assert (after[:, :1120] == before[:, :1120]).all()
    assert (after[:, 1120:] != before[:, 1120:]).any()


def test_gif_has_every_third_frame_and_no_flicker(game, tmp_path):
    gif = Gif(tmp_path / "a.gif", 60, True, Film(2, 1, None))
    for frame in game:
        gif(frame)
    gif.close()
    shown = []
    with Image.open(tmp_path / "a.gif") as image:
        for number in range(image.n_frames):
            image.seek(number)
            # Consecutive equal pictures become one of a longer duration.
            shown += [np.array(image.convert("RGB"))] * round(image.info["duration"] / 50)
    assert len(shown) == 40
    for index, picture in enumerate(shown):
        last = 3 * index + 2
        both = np.maximum(game[last][0], game[last - 1][0])
        assert (picture == both.repeat(2, 0).repeat(2, 1)).all()


def test_recordings_of_at_most_one_frame_can_be_closed(game, tmp_path):
    """As after a game of one frame, or Ctrl-C before the first."""
    for frames in (game[:1], []):
        gif = Gif(tmp_path / f"{len(frames)}.gif", 60, True, Film(2, 1, None))
        video = Video(tmp_path / f"{len(frames)}.mp4", 60, 60 * 512, Film(1, 1, None))
        for frame in frames:
            gif(frame)
            video(frame)
        gif.close()
        video.close()
    with Image.open(tmp_path / "1.gif") as image:
        assert (np.array(image.convert("RGB"))[::2, ::2] == game[0].picture).all()
    with av.open(str(tmp_path / "1.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 1
    assert not (tmp_path / "0.gif").exists()


def test_pictures_and_sound_are_lossless(game, tmp_path):
    pictures, sound = Pictures(tmp_path / "frames", 7 / 4), Sound(tmp_path / "a.wav", 60 * 512)
    for frame in game:
        pictures(frame)
        sound(frame)
    sound.close()
    files = sorted((tmp_path / "frames").iterdir())
    assert [file.name for file in files[:2]] == ["000000.png", "000001.png"]
    assert len(files) == len(game)
    for file, (screen, _) in zip(files[::20], game[::20], strict=True):
        picture = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        assert (picture == screen.repeat(2, axis=1)).all()
    with wave.open(str(tmp_path / "a.wav")) as wav:
        assert (wav.getframerate(), wav.getnframes()) == (60 * 512, len(game) * 512)
        assert wav.readframes(10**7) == b"".join(samples.tobytes() for _, samples in game)


def test_failed_recording_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "new" / "a.mp4"

    def fail(error):
        with unfinished(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    assert list(path.parent.iterdir()) == []
    for content in (b"first", b"second"):
        with unfinished(path) as temporary:
            temporary.write_bytes(content)
        assert path.read_bytes() == content
    with pytest.raises(OSError, match="full"):
        fail(OSError("full"))
    assert [p.read_bytes() for p in path.parent.iterdir()] == [b"second"]
