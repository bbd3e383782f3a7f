"""The one exception that a user is meant to read."""


class UsageError(Exception):
    """Something the user gave cannot be used.

    The message is one line that says what is wrong and what to do. ``main`` prints it on stderr
    and exits with status 2; no result on disk has been touched by then.
    """
