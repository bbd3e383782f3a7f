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
