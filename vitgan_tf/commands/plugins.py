"""Flag --plugin: Python files that register parts from outside the package."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Sequence

from absl import flags

from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.errors import UserError

# Real path -> content of the plugins that this process has loaded: what they registered stays.
_loaded: dict[str, bytes] = {}
_lock = threading.Lock()


def define_plugin_flag(given: flags.FlagValues) -> None:
    """Defines --plugin: see `load_plugins`."""
    flags.DEFINE_multi_string(
        "plugin",
        [],
        "Python file that registers further networks, losses, augmentations, scores or data sets.",
        flag_values=given,
    )


def load_plugins(words: Sequence[str]) -> bool:
    """Runs the files of --plugin, before the flags are parsed: other flags can choose what they register.

    A file that this process has loaded before is not run again.

    Args:
      words: command line, without the name of the command.

    Returns:
      Whether there are any.

    Raises:
      UserError: a file is missing, reports an error, or has changed since it was loaded.
    """
    try:
        arguments = flags.FlagValues().read_flags_from_files(list(words), force_gnu=False)
    except flags.Error:
        return False  # absl reports it when it parses the flags
    paths = _plugins(arguments)
    with _lock:
        for path in paths:
            _load(os.path.expanduser(path))
    return bool(paths)


def _plugins(arguments: list[str]) -> list[str]:
    """Returns the values of --plugin=FILE and --plugin FILE."""
    found = []
    for argument, following in zip(arguments, [*arguments[1:], ""]):
        if argument in ("--plugin", "-plugin"):
            found.append(following)
        elif argument.startswith(("--plugin=", "-plugin=")):
            found.append(argument.split("=", 1)[1])
    return found


def _load(path: str) -> None:
    if not path.endswith(".py") or not os.path.isfile(path):
        raise UserError(f"--plugin={path}: there is no such Python file")
    with open(path, "rb") as file:
        content = file.read()
    key = os.path.realpath(path)
    if _loaded.get(key, content) != content:
        raise UserError(f"--plugin={path} has changed since this process loaded it: load it in a new process")
    if key in _loaded:
        return
    import_tensorflow()  # quietly, before the plugin imports it
    name = f"vitgan_plugin_{len(_loaded)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"--plugin={path}: {error}") from error
    _loaded[key] = content
