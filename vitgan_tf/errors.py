"""The error that a user can mend, and what to say of the errors of others."""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake in what the user gave: commands print its one line and exit with code 1, without a traceback."""


class ConfigError(UserError, ValueError):
    """A configuration field has a wrong name, type or value, or does not go with another one."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, without the place in TensorFlow's graph; its type if it is empty."""
    text = re.sub(r"^\{\{.*?\}\} ", "", str(getattr(error, "message", error)).strip())  # TensorFlow's own place
    return text.splitlines()[0] if text else type(error).__name__
