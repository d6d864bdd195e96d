"""The error that a user can mend, and what to say of the errors of others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user gave: commands print its one line and exit with its code, without a traceback."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A configuration field has a wrong name, type or value, or does not go with another one."""


class DivergedError(UserError):
    """A loss or gradient of the training is not finite, or nearly all steps are left out because of that."""

    exit_code = 3


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, once the state of the training is saved: commands print its line and exit with its code.

    Args:
      signal_number: that was received; the exit code is 128 more, as of a process that it ends.
      message: what was saved, and how to go on.
    """

    def __init__(self, signal_number: int, message: str = ""):
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def first_line(error: Exception) -> str:
    """The first line of an error's message, without the place in TensorFlow's graph; its type if it is empty."""
    text = re.sub(r"^\{\{.*?\}\} ", "", str(getattr(error, "message", error)).strip())  # TensorFlow's own place
    return text.splitlines()[0] if text else type(error).__name__


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of an error line that names the valid name nearest to a wrong one; empty where none is near."""
    nearest = difflib.get_close_matches(str(name), map(str, valid), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
