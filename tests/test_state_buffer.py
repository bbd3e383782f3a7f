import numpy as np

from simple_dqn.replay.state_buffer import StateBuffer


def test_states_follow_the_observations_of_each_lane():
    buffer = StateBuffer(2, 3, (), np.int64)
    buffer.restart(None, np.array([1, 101]))
    assert buffer.states.tolist() == [[0, 0, 1], [0, 0, 101]]
    buffer.add(np.array([2, 102]))
    buffer.add(np.array([3, 103]))
    buffer.add(np.array([4, 104]))
    assert buffer.states.tolist() == [[2, 3, 4], [102, 103, 104]]
    buffer.restart(np.array([1]), np.array([201]))
    assert buffer.states.tolist() == [[2, 3, 4], [0, 0, 201]]


def test_screens_are_laid_out_channels_last():
    """Equal to stacking; the H values of a pixel lie side by side in memory."""
    rng = np.random.default_rng(0)
    buffer = StateBuffer(3, 4, (5, 7), np.uint8)
    seen = [rng.integers(0, 256, (3, 5, 7), dtype=np.uint8) for _ in range(6)]
    buffer.restart(None, seen[0])
    for screens in seen[1:]:
        buffer.add(screens)
    states = buffer.states
    assert (states == np.stack(seen[2:], axis=1)).all()
    assert states.strides == (5 * 7 * 4, 1, 7 * 4, 4)


def test_loaded_states_continue_as_the_saved_ones():
    rng = np.random.default_rng(0)
    first, second = StateBuffer(2, 4, (3, 3), np.uint8), StateBuffer(2, 4, (3, 3), np.uint8)
    first.restart(None, rng.integers(0, 256, (2, 3, 3), dtype=np.uint8))
    for _ in range(5):
        first.add(rng.integers(0, 256, (2, 3, 3), dtype=np.uint8))
    second.load(first.states.copy())
    for _ in range(5):
        screens = rng.integers(0, 256, (2, 3, 3), dtype=np.uint8)
        first.add(screens)
        second.add(screens)
        assert (first.states == second.states).all()
