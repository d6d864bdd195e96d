"""Log lines while the package works: its own, and no noise from the packages that it uses."""

from __future__ import annotations

import contextlib
import logging as standard_logging
import os
from collections.abc import Iterator

from absl import flags, logging

from vitgan_tf.shared_context import shared_context

# Ends of the paths of TensorFlow's and Keras' files whose warnings are dropped.
_DROPPED = (
    os.path.join("util", "deprecation.py"),
    os.path.join("src", "callbacks.py"),
    os.path.join("polymorphic_function", "polymorphic_function.py"),
)


@shared_context
def shown_logs() -> Iterator[None]:
    """Shows the log lines of this package from INFO on, unless the program has chosen another level.

    Lines about the internals of other packages are dropped. All is as before afterwards.
    """
    logger, root = logging.get_absl_logger(), standard_logging.getLogger()
    tensorflow = standard_logging.getLogger("tensorflow")  # also before TensorFlow is imported
    with contextlib.ExitStack() as before:
        for other in (logger, tensorflow):
            before.callback(other.setLevel, other.level)
        verbosity = flags.FLAGS["verbosity"]
        if verbosity.using_default_value and logger.getEffectiveLevel() == standard_logging.WARNING:
            before.callback(_reset, verbosity)
            verbosity.value = logging.INFO
        tensorflow.setLevel(max(standard_logging.WARNING, tensorflow.level))  # in a notebook, its default is INFO
        if not root.handlers:  # absl would add one for good
            handler = _handler()
            root.addHandler(handler)
            before.callback(root.removeHandler, handler)
        for other, is_kept in ((logger, is_ours_or_serious), (tensorflow, concerns_users)):
            if is_kept not in other.filters:
                other.addFilter(is_kept)
                before.callback(other.removeFilter, is_kept)
        yield


def _reset(flag: flags.Flag) -> None:
    flag.value = flag.default
    flag.using_default_value = True  # no longer, since TensorFlow sets and restores the value where it saves a model


def _handler() -> standard_logging.Handler:
    """Returns a handler that writes absl's format to standard error."""
    handler = standard_logging.StreamHandler()
    handler.setFormatter(logging.PythonFormatter())
    handler.addFilter(_is_unprinted)
    return handler


def _is_unprinted(record: standard_logging.LogRecord) -> bool:
    """Drops lines of loggers that have handlers of their own, as TensorFlow's may."""
    return not standard_logging.getLogger(record.name).handlers


def is_ours_or_serious(record: standard_logging.LogRecord) -> bool:
    """Filter of absl's logger: drops lines about the internals of TensorFlow and tensorflow-datasets.

    tensorflow-datasets' warnings are dropped too: they are about its own deprecated calls.
    """
    if f"{os.sep}tensorflow_datasets{os.sep}" in record.pathname:
        return record.levelno >= standard_logging.ERROR
    return record.levelno >= standard_logging.WARNING or f"{os.sep}tensorflow{os.sep}" not in record.pathname


def concerns_users(record: standard_logging.LogRecord) -> bool:
    """Filter of TensorFlow's logger: drops warnings of deprecated calls, slow callbacks and repeated traces.

    The deprecated calls are in other packages, our callbacks may be slow, and each training in a process is traced.
    """
    return not record.pathname.endswith(_DROPPED)
