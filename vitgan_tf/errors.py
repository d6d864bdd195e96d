"""The error that a user can mend."""


class UserError(Exception):
    """A mistake in what the user gave: commands print its one line and exit with code 1, without a traceback."""


class ConfigError(UserError, ValueError):
    """A configuration field has a wrong name, type or value, or does not go with another one."""
