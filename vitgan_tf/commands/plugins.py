"""Flag --plugin: Python files that register parts from outside the package."""

from __future__ import annotations

import importlib.util
import os
import sys

from absl import flags

from vitgan_tf.commands.guard import fail
from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.errors import UserError

flags.disclaim_key_flags()


def define_plugin_flag() -> None:
    """Defines --plugin and runs its files, so that other flags can choose what they register."""
    flags.DEFINE_multi_string(
        "plugin", [], "Python file that registers further networks, losses, augmentations, scores or data sets."
    )
    try:
        arguments = flags.FLAGS.read_flags_from_files(sys.argv[1:], force_gnu=False)
    except flags.Error:
        return  # absl reports it when it parses the flags
    for number, path in enumerate(_plugins(arguments)):
        _load(os.path.expanduser(path), f"vitgan_plugin_{number}")


def _plugins(arguments: list[str]) -> list[str]:
    """Returns the values of --plugin=FILE and --plugin FILE."""
    found = []
    for argument, following in zip(arguments, [*arguments[1:], ""]):
        if argument in ("--plugin", "-plugin"):
            found.append(following)
        elif argument.startswith(("--plugin=", "-plugin=")):
            found.append(argument.split("=", 1)[1])
    return found


def _load(path: str, name: str) -> None:
    if not path.endswith(".py") or not os.path.isfile(path):
        fail(f"--plugin={path}: there is no such Python file")
    import_tensorflow()  # quietly, before the plugin imports it
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        fail(f"--plugin={path}: {error}")
