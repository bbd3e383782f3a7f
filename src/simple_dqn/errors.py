"""Exceptions whose message is shown to the user."""

from signal import Signals


class UsageError(Exception):
    """The user's input cannot be used.

    The message is one line that says what is wrong and what to do. ``main`` prints it on stderr
    and exits with status 2. Files that are on the disk by then stay intact.
    """


class Interrupted(BaseException):
    """A signal stopped the run, before or after its start.

    Like KeyboardInterrupt it is not an Exception, so that no handler takes it for a failure.

    Args:
        signal: which one.
        advice: how to resume, after "; ".
    """

    def __init__(self, signal: Signals, advice: str = "") -> None:
        super().__init__(advice)
        self.signal = signal


def refusal(error: OSError) -> str:
    """Return the reason of an OSError and the file concerned."""
    place = f" '{error.filename}'" if error.filename else ""
    return f"{error.strerror or error}{place}"
