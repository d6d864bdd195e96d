"""Entry point of `vitgan COMMAND`; starts every command."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

from absl import flags

import vitgan_tf
from vitgan_tf.commands.guard import fail, guarded_run
from vitgan_tf.errors import did_you_mean
from vitgan_tf.invocation import MODULE, SCRIPTS, invocation

flags.disclaim_key_flags()

_SUMMARIES = {
    "run": "train a GAN",
    "tables": "train and write the paper's tables",
    "evaluate": "score a run or a SavedModel: FID, IS, KID, precision, recall",
    "generate": "draw images, interpolations and style mixing from a SavedModel",
    "prepare-data": "make a resized data set from its official files",
    "report": "write an HTML page about a run",
    "benchmark": "measure speed and memory",
}


def main() -> None:
    """Runs the command that the first argument names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(_usage())
        return
    if arguments[0] == "--version":
        print(f"vitgan_tf {vitgan_tf.__version__} (TensorFlow {importlib.metadata.version('tensorflow')})")
        return
    command = arguments[0]
    if command not in SCRIPTS:
        fail(f"there is no command {command!r}{did_you_mean(command, SCRIPTS)} (available: {', '.join(SCRIPTS)})")
    program = MODULE if sys.argv[0].endswith("__main__.py") else sys.argv[0]
    # absl lists the flags that are defined under this name, and error lines begin with it.
    sys.argv[:2] = [f"{program} {command}"]
    start(command)


def _usage() -> str:
    width = max(map(len, SCRIPTS))
    lines = [f"  {command:<{width}}  {_SUMMARIES[command]}" for command in SCRIPTS]
    return "\n".join(
        [vitgan_tf.__doc__.split("\n")[0], "", "usage: vitgan COMMAND [--flags], vitgan COMMAND --help", "", *lines]
    )


def start(command: str) -> None:
    """Defines the flags of a command, parses them and runs it: see `guard.guarded_run`.

    Args:
      command: a key of `SCRIPTS`.
    """
    module = importlib.import_module(f"vitgan_tf.commands.{command.replace('-', '_')}")
    # absl prints the docstring of the main module above the flags.
    sys.modules["__main__"].__doc__ = (module.__doc__ or "").replace(f"vitgan {command}", invocation(command))
    module.define_flags()
    guarded_run(module.main, getattr(module, "TAKES_ARGUMENTS", False))
