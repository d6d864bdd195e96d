"""The commands as functions: call("evaluate", model="runs/digits")."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from absl import flags

from vitgan_tf.commands.guard import LONG_FLAG, clear_errors
from vitgan_tf.commands.plugins import load_plugins
from vitgan_tf.errors import ConfigError, UserError, did_you_mean
from vitgan_tf.invocation import SCRIPTS
from vitgan_tf.logs import shown_logs

# Flags that may be given several times, once for each value.
REPEATED = ("model", "plugin", "row", "table")


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """Words, flags and arguments of a command.

    Attributes:
      words: what follows the name of the command, as typed.
      flags: the flags among them, parsed.
      arguments: the words that are neither flags nor their values.
      owns_process: whether the process ends with the command.
    """

    words: Sequence[str]
    flags: flags.FlagValues
    arguments: Sequence[str]
    owns_process: bool = False


def call(command: str, *words: str, **flag_values: Any) -> Any:
    """Runs a command in this process, as often as wanted: from a script, a notebook, any thread or a coroutine.

    `call("run", dataset="digits", total_kimg=24)` and `call("run", "--dataset=digits", "--total_kimg=24")` are
    `vitgan run --dataset=digits --total_kimg=24`. absl's own flags, such as --help and --verbosity, and the program's
    are left alone.

    Args:
      command: name of the command, such as "run".
      *words: as on the command line.
      **flag_values: values by the name of the flag, a full one as in `**{"generator.num_blocks": 2}`; lists for flags
        with several values, None for the default.

    Returns:
      run: the run directory; with --dry_run, the configuration. evaluate, benchmark: the result. generate: the paths
      of the pictures. report: the path of the page. prepare-data, tables: the folder.

    Raises:
      UserError: what the command line reports in one line.
      Interrupted: Ctrl-C or SIGTERM during a training, which is saved.
    """
    module = command_module(command)
    words = (*words, *_as_words(flag_values))
    with shown_logs(), clear_errors():
        given = defined_flags(module, words)
        try:
            _, *arguments = given([command, *words])
        except flags.Error as error:
            raise ConfigError(" ".join(str(error).splitlines())) from error
        except RecursionError as error:
            raise ConfigError(LONG_FLAG) from error
        check_arguments(module, arguments)
        return module.main(CommandLine(words, given, arguments))


def _as_words(flag_values: Mapping[str, Any]) -> list[str]:
    words = []
    for name, value in flag_values.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        if name not in REPEATED and values is value:
            values = [",".join(map(str, value))]
        words += [f"--{name}={value}" for value in values if value is not None]
    return words


def command_module(command: str) -> ModuleType:
    """Returns the module of a command.

    Raises:
      UserError: there is no such command.
    """
    if command not in SCRIPTS:
        raise UserError(
            f"there is no command {command!r}{did_you_mean(command, SCRIPTS)} (available: {', '.join(SCRIPTS)})"
        )
    return importlib.import_module(f"vitgan_tf.commands.{command.replace('-', '_')}")


def defined_flags(module: ModuleType, words: Sequence[str]) -> flags.FlagValues:
    """Returns the flags of a command, not yet parsed, and loads its plugins.

    Raises:
      UserError: see `load_plugins`.
    """
    given = flags.FlagValues()
    module.define_flags(given)
    if "plugin" in given and load_plugins(words):
        given = flags.FlagValues()  # the plugins may have added fields
        module.define_flags(given)
    return given


def check_arguments(module: ModuleType, arguments: Sequence[str]) -> None:
    """Raises UserError if there are arguments that are not flags, unless the command takes them."""
    if arguments and not getattr(module, "TAKES_ARGUMENTS", False):
        raise UserError(f"unexpected argument {arguments[0]!r}: every option is written --name=value (see --help)")
