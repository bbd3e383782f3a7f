"""The speaker's ring: every sample in its place, and silence elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

pygame = pytest.importorskip("pygame")

from simple_dqn.watch import sound  # noqa: E402

RATE = 60 * 512


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    monkeypatch.setattr(sound.time, "perf_counter", clock)
    return clock


@pytest.fixture
def speaker(clock):
    speaker = sound.Speaker(RATE)
    yield speaker
    speaker.close()


def test_frames_follow_one_another_without_a_gap(speaker, clock):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (180, 512), dtype=np.uint8)  # three seconds: three rounds
    for number, frame in enumerate(frames):
        speaker.play(frame, 1 / 60)
        clock.now += 1 / 60
        # What the mixer reads now was written a moment ago, LEAD/2 before.
        end = (number + 1) * 512 + round(sound.LEAD * RATE) // 2
        latest = speaker._ring[np.arange(end - 1024, end) % RATE]
        expected = (frames[: number + 1].ravel()[-1024:].astype(int) - 128) * 256
        if number:
            assert np.array_equal(latest, expected)
    # All that has been heard is silent again: only the lead is left to hear.
    speaker.play(np.empty(0, np.uint8), 0)
    assert np.count_nonzero(speaker._ring) <= sound.LEAD * RATE


def test_a_faster_game_sounds_higher_and_a_slower_lower(speaker, clock):
    wave = np.tile(np.array([0, 255], np.uint8).repeat(16), 16)  # 32 samples a period
    for factor in (0.5, 2):
        speaker._restart()
        speaker.play(wave, factor / 60)
        heard = speaker._ring[speaker._ring != 0]
        assert len(heard) == 512 * factor
        assert np.count_nonzero(np.diff(np.sign(heard))) == 31
    speaker._restart()
    speaker.play(wave, 0)  # at full speed nothing can be heard
    assert not speaker._ring.any()


def test_a_game_held_up_falls_silent_and_comes_back_ahead_of_the_mixer(speaker, clock):
    loud = np.full(512, 255, np.uint8)
    speaker.play(loud, 1 / 60)
    clock.now += 0.5
    speaker.play(np.empty(0, np.uint8), 0)
    assert not speaker._ring.any()
    speaker.play(loud, 1 / 60)
    (where,) = np.nonzero(speaker._ring)
    assert where[0] == RATE // 2 + round(sound.LEAD * RATE) // 2
    for _ in range(100):  # sixty times too fast: it never runs into what is being heard
        speaker.play(loud, 1 / 60)
    assert np.count_nonzero(speaker._ring) <= 3 * sound.LEAD * RATE


def test_the_clocks_are_set_right_in_a_quiet_moment(speaker, clock):
    quiet, loud = np.full(512, 128, np.uint8), np.full(512, 200, np.uint8)
    start = speaker._start
    clock.now += sound.RESTART - 1
    speaker.play(quiet, 1 / 60)
    assert speaker._start == start
    clock.now += 2
    speaker.play(loud, 1 / 60)
    assert speaker._start == start  # not in the middle of a sound
    speaker.play(quiet, 1 / 60)
    assert speaker._start == clock.now


def test_volume_stays_within_its_bounds(speaker):
    speaker.change_volume(-0.1)
    speaker.change_volume(-0.1)
    assert speaker.volume == pytest.approx(0.8)
    assert speaker._channel.get_volume() == pytest.approx(0.8, abs=0.01)
    speaker.change_volume(1)
    assert speaker._channel.get_volume() == 1
    speaker.change_volume(-5)
    assert speaker._channel.get_volume() == 0
    speaker._restart()
    assert speaker._channel.get_volume() == 0


def test_without_a_device_or_sound_there_is_no_speaker(monkeypatch, caplog):
    monkeypatch.setenv("SDL_AUDIODRIVER", "nosuchdriver")
    assert sound.open_speaker(RATE) is None
    assert "there is no sound" in caplog.text
    assert sound.open_speaker(0) is None
