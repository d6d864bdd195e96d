"""Names of trained generators: what a source of `load` is. Importing this module imports no TensorFlow."""

from __future__ import annotations

import os

from vitgan_tf.runs.directory import is_run, is_saved_model

_SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shipped")


def shipped_names() -> list[str]:
    """Returns the names of the generators that come with the package."""
    return sorted(os.listdir(_SHIPPED)) if os.path.isdir(_SHIPPED) else []


def shipped_folder(name: str) -> str:
    """Returns the folder of a generator that comes with the package."""
    return os.path.join(_SHIPPED, name)


def is_run_source(source: str | None) -> bool:
    """True for a run directory whose name is not that of a shipped generator."""
    return source is not None and source not in shipped_names() and is_run(os.path.expanduser(source))


def is_saved_model_source(source: str) -> bool:
    """True for the folder of a SavedModel whose name is not that of a shipped generator."""
    return source not in shipped_names() and is_saved_model(os.path.expanduser(source))
