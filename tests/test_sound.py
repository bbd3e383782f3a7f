"""The speaker: every sample goes to the mixer once, in order, in whole buffers."""

from __future__ import annotations

import numpy as np
import pytest

pygame = pytest.importorskip("pygame")

from simple_dqn.watch.sound import BUFFER, CHUNK, LONGEST_WAIT, Speaker, open_speaker  # noqa: E402

RATE = 60 * 512
FRAME = 1 / 60


class Channel:
    """A mixer channel that plays ``pace`` buffers per frame of the game."""

    def __init__(self, pace=1.0):
        self.pace, self.credit = pace, 0.0
        self.playing = self.queued = None  # the remaining samples, int16
        self.heard, self.volume, self.stuck = [], None, False

    def get_busy(self):
        return self.playing is not None

    def get_queue(self):
        return self.queued

    def play(self, sound):
        self.playing, self.queued, self.volume = self._samples(sound), None, 1.0

    def queue(self, sound):
        assert self.playing is not None
        assert self.queued is None
        self.queued, self.volume = self._samples(sound), 1.0

    def set_volume(self, volume):
        self.volume = volume

    def _samples(self, sound):
        samples = np.frombuffer(sound.get_raw(), np.int16)
        assert len(samples) % BUFFER == 0  # else the next one starts late
        assert len(samples) >= CHUNK
        return samples

    def advance_frame(self):
        self.credit += self.pace
        while self.credit >= 1:
            self.credit -= 1
            silence = np.zeros(BUFFER, np.int16)
            self.heard.append(silence if self.playing is None else self.playing[:BUFFER])
            if self.playing is not None:
                self.playing = self.playing[BUFFER:] if len(self.playing) > BUFFER else None
                if self.playing is None and not self.stuck:
                    self.playing, self.queued = self.queued, None


@pytest.fixture
def speaker(monkeypatch):
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    speaker = Speaker(RATE)
    yield speaker
    speaker.close()


def noise(frames):
    return np.random.default_rng(0).integers(0, 128, (frames, 512), dtype=np.uint8)  # none silent


def heard(channel):
    """Return what was heard, from the first audible sample on."""
    every = np.concatenate(channel.heard)
    return every[np.flatnonzero(every)[0] :]


def test_frames_play_without_gaps(speaker):
    channel = speaker._channel = Channel()
    frames = noise(200)
    for frame in frames:
        speaker.play(frame, FRAME)
        channel.advance_frame()
    expected = (frames.ravel().astype(int) - 128) * 256
    result = heard(channel)
    assert len(result) > 195 * 512  # it lags by less than 5 frames
    assert np.array_equal(result, expected[: len(result)])


@pytest.mark.parametrize("pace", [0.96, 1.04])
def test_clock_drift_costs_only_an_occasional_buffer(speaker, pace):
    channel = speaker._channel = Channel(pace)
    frames = noise(1000)
    lag = []
    for number, frame in enumerate(frames):
        frame[:] = number % 100 + 1  # which frame it is
        speaker.play(frame, FRAME)
        channel.advance_frame()
        if channel.heard and channel.heard[-1].any():
            lag.append((number - (channel.heard[-1][-1] // 256 + 127)) % 100)
    assert max(lag) <= (CHUNK + LONGEST_WAIT) // BUFFER + 4  # the lag does not grow
    silent = np.mean([not buffer.any() for buffer in channel.heard[10:]])
    assert silent <= max(pace - 1, 0) * 2.5


def test_pitch_follows_the_speed(speaker):
    wave = np.tile(np.array([0, 255], np.uint8).repeat(16), 16)  # 32 samples per period
    for factor in (1 / 4, 1, 2):
        channel = speaker._channel = Channel()
        for _ in range(round(24 / factor)):
            speaker.play(wave, factor * FRAME)
            channel.credit += factor - 1
            channel.advance_frame()
        edges = np.flatnonzero(np.diff(np.sign(heard(channel)[: 4 * 512].astype(int))))
        assert np.diff(edges) == pytest.approx(16 * factor)
    channel = speaker._channel = Channel()
    for _ in range(100):
        speaker.play(wave, 0)  # at full speed nothing can be heard
    assert channel.playing is None


def test_slow_game_is_not_cut_off(speaker):
    channel = speaker._channel = Channel()
    frames = noise(20)
    for frame in frames:  # eight times slower: 4096 samples per frame
        speaker.play(frame, 8 * FRAME)
        for _ in range(8):
            channel.advance_frame()
            speaker.play(np.empty(0, np.uint8), 0)
    expected = (frames.repeat(8).astype(int) - 128) * 256
    result = heard(channel)
    assert np.array_equal(result, expected[: len(result)])
    assert len(result) > 18 * 4096


def test_sound_queued_too_late_does_not_silence_the_rest(speaker):
    channel = speaker._channel = Channel()
    channel.stuck = True  # the mixer never starts what is queued
    for frame in noise(50):
        speaker.play(frame, FRAME)
        channel.advance_frame()
    assert np.count_nonzero(np.concatenate(channel.heard)) > 20 * 512


def test_volume_is_bounded_and_applies_to_new_sounds(speaker):
    speaker.change_volume(-0.1)
    speaker.change_volume(-0.1)
    assert speaker.volume == pytest.approx(0.8)
    assert speaker._channel.get_volume() == pytest.approx(0.8, abs=0.01)
    for frame in noise(8):
        speaker.play(frame, FRAME)
    assert speaker._channel.get_volume() == pytest.approx(0.8, abs=0.01)
    speaker.change_volume(1)
    assert speaker._channel.get_volume() == 1
    speaker.change_volume(-5)
    assert speaker._channel.get_volume() == 0


def test_no_speaker_without_a_device_or_sound(monkeypatch, caplog):
    monkeypatch.setenv("SDL_AUDIODRIVER", "nosuchdriver")
    assert open_speaker(RATE) is None
    assert "there is no sound" in caplog.text
    assert open_speaker(0) is None
