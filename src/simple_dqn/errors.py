"""The exceptions that a user is meant to read."""

from signal import Signals


class UsageError(Exception):
    """Something the user gave cannot be used.

    The message is one line that says what is wrong and what to do. ``main`` prints it on stderr
    and exits with status 2. What is on the disk by then stays whole.
    """


class Interrupted(Exception):
    """A run was left between two of its steps, as a signal asked for.

    Args:
        signal: which.
        advice: how to go on, behind "; ".
    """

    def __init__(self, signal: Signals, advice: str = "") -> None:
        super().__init__(advice)
        self.signal = signal
