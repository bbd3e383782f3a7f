"""The speaker: every sample goes to the mixer once, in order, in whole buffers."""

from __future__ import annotations

import numpy as np
import pytest

pygame = pytest.importorskip("pygame")

from simple_dqn.watch.sound import BUFFER, CHUNK, LONGEST_WAIT, Speaker, open_speaker  # noqa: E402

RATE = 60 * 512
FRAME = 1 / 60


class Channel:
    """A mixer's channel that plays ``pace`` buffers for each frame of ours."""

    def __init__(self, pace=1.0):
        self.pace, self.credit = pace, 0.0
        self.playing = self.queued = None  # what is left, int16
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
        assert len(samples) % BUFFER == 0  # else the next begins late
        assert len(samples) >= CHUNK
        return samples

    def a_frame_passes(self):
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
    """What was heard from its first sample on."""
    every = np.concatenate(channel.heard)
    return every[np.flatnonzero(every)[0] :]


def test_frames_follow_one_another_without_a_gap(speaker):
    channel = speaker._channel = Channel()
    frames = noise(200)
    for frame in frames:
        speaker.play(frame, FRAME)
        channel.a_frame_passes()
    expected = (frames.ravel().astype(int) - 128) * 256
    result = heard(channel)
    assert len(result) > 195 * 512  # it lags by less than 5 frames
    assert np.array_equal(result, expected[: len(result)])


@pytest.mark.parametrize("pace", [0.96, 1.04])
def test_a_device_with_a_clock_of_its_own_costs_a_buffer_now_and_then(speaker, pace):
    channel = speaker._channel = Channel(pace)
    frames = noise(1000)
    lag = []
    for number, frame in enumerate(frames):
        frame[:] = number % 100 + 1  # which frame it is
        speaker.play(frame, FRAME)
        channel.a_frame_passes()
        if channel.heard and channel.heard[-1].any():
            lag.append((number - (channel.heard[-1][-1] // 256 + 127)) % 100)
    assert max(lag) <= (CHUNK + LONGEST_WAIT) // BUFFER + 4  # never later and later
    silent = np.mean([not buffer.any() for buffer in channel.heard[10:]])
    assert silent <= max(pace - 1, 0) * 2.5


def test_a_faster_game_sounds_higher_and_a_slower_lower(speaker):
    wave = np.tile(np.array([0, 255], np.uint8).repeat(16), 16)  # 32 samples a period
    for factor in (1 / 4, 1, 2):
        channel = speaker._channel = Channel()
        for _ in range(round(24 / factor)):
            speaker.play(wave, factor * FRAME)
            channel.credit += factor - 1
            channel.a_frame_passes()
        edges = np.flatnonzero(np.diff(np.sign(heard(channel)[: 4 * 512].astype(int))))
        assert np.diff(edges) == pytest.approx(16 * factor)
    channel = speaker._channel = Channel()
    for _ in range(100):
        speaker.play(wave, 0)  # at full speed nothing can be heard
    assert channel.playing is None


def test_a_slow_game_is_not_cut(speaker):
    channel = speaker._channel = Channel()
    frames = noise(20)
    for frame in frames:  # eight times slower: 4096 samples a frame
        speaker.play(frame, 8 * FRAME)
        for _ in range(8):
            channel.a_frame_passes()
            speaker.play(np.empty(0, np.uint8), 0)
    expected = (frames.repeat(8).astype(int) - 128) * 256
    result = heard(channel)
    assert np.array_equal(result, expected[: len(result)])
    assert len(result) > 18 * 4096


def test_what_was_queued_too_late_to_begin_does_not_silence_the_rest(speaker):
    channel = speaker._channel = Channel()
    channel.stuck = True  # the mixer never begins what is queued
    for frame in noise(50):
        speaker.play(frame, FRAME)
        channel.a_frame_passes()
    assert np.count_nonzero(np.concatenate(channel.heard)) > 20 * 512


def test_volume_stays_within_its_bounds_and_holds_for_new_sounds(speaker):
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


def test_without_a_device_or_sound_there_is_no_speaker(monkeypatch, caplog):
    monkeypatch.setenv("SDL_AUDIODRIVER", "nosuchdriver")
    assert open_speaker(RATE) is None
    assert "there is no sound" in caplog.text
    assert open_speaker(0) is None
