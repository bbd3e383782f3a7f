"""The exceptions that a user is meant to read, and how."""

from signal import Signals


class UsageError(Exception):
    """Something the user gave cannot be used.

    The message is one line that says what is wrong and what to do. ``main`` prints it on stderr
    and exits with status 2. What is on the disk by then stays whole.
    """


class Interrupted(BaseException):
    """A run was left, or did not come to begin, as a signal asked for.

    Like KeyboardInterrupt no Exception: nobody is to take it for a failure of what was going on.

    Args:
        signal: which.
        advice: how to go on, behind "; ".
    """

    def __init__(self, signal: Signals, advice: str = "") -> None:
        super().__init__(advice)
        self.signal = signal


def refusal(error: OSError) -> str:
    """Return what the system would not do, and with which file."""
    place = f" '{error.filename}'" if error.filename else ""
    return f"{error.strerror or error}{place}"
