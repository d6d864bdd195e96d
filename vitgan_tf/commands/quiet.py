"""Imports TensorFlow without its internal log lines, and builds the strategy of the flags."""

from __future__ import annotations

import logging as standard_logging
import os
from typing import Any

from absl import flags, logging

# C++ code reads this variable once. At level 1 it prints warnings and errors, at 3 neither.
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_NVIDIA_DRIVER = "/proc/driver/nvidia/version"


def import_tensorflow() -> Any:
    """Imports and returns TensorFlow; unless --verbosity=1 is given, without its greeting.

    On import, TensorFlow 2.15's C++ code logs harmless errors. They are hidden, together with warnings, unless there
    is an NVIDIA driver: one of the warnings says why TensorFlow cannot use a GPU.
    """
    if logging.get_verbosity() <= logging.INFO:
        os.environ.setdefault(_LOG_LEVEL, "1" if os.path.exists(_NVIDIA_DRIVER) else "3")
    import tensorflow

    logger = tensorflow.get_logger()
    logger.setLevel(max(standard_logging.WARNING, logger.level))
    logger.addFilter(_concerns_users)
    return tensorflow


def _concerns_users(record: standard_logging.LogRecord) -> bool:
    """Drops warnings of deprecated calls in other packages, and Keras' warnings of slow callbacks: ours may be."""
    return not record.pathname.endswith((os.path.join("util", "deprecation.py"), os.path.join("src", "callbacks.py")))


def strategy_from_flags(several_processes: bool = False) -> Any:
    """Imports TensorFlow and builds the `tf.distribute` strategy of the flags of `define_strategy_flags`.

    Args:
      several_processes: see `define_strategy_flags`; if False, --strategy=auto ignores TF_CONFIG.

    Raises:
      UserError: the devices are missing or cannot be reached.
    """
    import_tensorflow()
    from vitgan_tf.training.strategies import build_strategy

    given = flags.FLAGS
    return build_strategy(given.strategy, given.tpu, given.logical_cpus, several_processes)
