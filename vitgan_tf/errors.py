"""Errors that the user can fix, and helpers for one-line error messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix: commands print its message without a traceback and exit with its code."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A configuration field has a wrong name, type or value, or conflicts with another one."""


class DivergedError(UserError):
    """A loss or gradient of the training is not finite, or too many updates in a row were skipped because of that."""

    exit_code = 3


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the state of the training is saved: commands print its message and exit with its code.

    Args:
      signal_number: signal received; the exit code is 128 + signal_number, as for a process that it kills.
      message: what was saved and how to resume.
    """

    def __init__(self, signal_number: int, message: str = ""):
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, without TensorFlow's graph node; its type if it is empty.

    TensorFlow's messages from inside a graph begin with places in the code: the cause stands before the first node.
    """
    text = re.sub(r"^\{\{.*?\}\} ", "", str(getattr(error, "message", error)).strip())  # {{node NAME}}
    if text.startswith("Graph execution error:"):
        return text.split("\n\t [[")[0].splitlines()[-1].strip()
    return text.splitlines()[0] if text else type(error).__name__


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Returns the end of an error line that suggests the closest valid name; empty if none is close."""
    nearest = difflib.get_close_matches(str(name), map(str, valid), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
