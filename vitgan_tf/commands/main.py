"""Entry point of `vitgan COMMAND`; starts every command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence

from absl import flags

import vitgan_tf
from vitgan_tf.commands.calls import CommandLine, check_arguments, command_module, defined_flags
from vitgan_tf.commands.guard import fail, guarded_run
from vitgan_tf.errors import UserError
from vitgan_tf.invocation import MODULE, SCRIPTS, invocation
from vitgan_tf.version import __version__

_SUMMARIES = {
    "run": "train a GAN",
    "tables": "train and write the paper's tables",
    "evaluate": "score a run or an exported generator: FID, IS, KID, precision, recall",
    "generate": "draw images, walks between latents and tables of styles",
    "export": "write a generator as SavedModel, TFLite, ONNX or NumPy's archive, with a model card",
    "project": "find the latents of given pictures",
    "view": "serve a page to play with generators",
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
        print(f"vitgan_tf {__version__} (TensorFlow {importlib.metadata.version('tensorflow')})")
        return
    command = arguments[0]
    try:
        command_module(command)
    except UserError as error:
        fail(str(error))
    before = sys.argv
    program = MODULE if before[0].endswith("__main__.py") else before[0]
    # Error lines begin with this name, and messages that name another command are spelled after it.
    sys.argv = [f"{program} {command}", *arguments[1:]]
    try:
        start(command)
    finally:
        sys.argv = before


def _usage() -> str:
    width = max(map(len, SCRIPTS))
    lines = [f"  {command:<{width}}  {_SUMMARIES[command]}" for command in SCRIPTS]
    return "\n".join(
        [vitgan_tf.__doc__.split("\n")[0], "", "usage: vitgan COMMAND [--flags], vitgan COMMAND --help", "", *lines]
    )


def start(command: str) -> None:
    """Runs a command with the arguments of this process, and ends the process: see `guard.guarded_run`.

    Args:
      command: a key of `SCRIPTS`.
    """
    module, words = command_module(command), sys.argv[1:]
    try:
        given = defined_flags(module, words)
    except UserError as error:
        fail(str(error))

    def run(arguments: Sequence[str]) -> None:
        given.mark_as_parsed()
        check_arguments(module, arguments)
        module.main(CommandLine(words, given, arguments, owns_process=True))

    with _in_help(given, (module.__doc__ or "").replace(f"vitgan {command}", invocation(command))):
        guarded_run(run)


@contextlib.contextmanager
def _in_help(given: flags.FlagValues, documentation: str) -> Iterator[None]:
    """Makes absl parse these flags, and --help show them below the documentation."""
    main_module = sys.modules["__main__"]
    before, main_module.__doc__ = main_module.__doc__, documentation
    for name in given:
        flags.DEFINE_flag(given[name], module_name=sys.argv[0])  # absl's name of the main module
    try:
        yield
    finally:
        flags.FLAGS.remove_flag_values(given)
        main_module.__doc__ = before
