"""Prepares TensorFlow's C++ code just before it is imported: its log, and the tools that XLA needs on GPUs."""

from __future__ import annotations

import os
import sys
from typing import Any

from vitgan_tf.cuda_tools import use_packaged_tools
from vitgan_tf.gpus import count_gpus

# C++ code reads this variable once. At level 1 it prints warnings and errors, at 3 neither.
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def hide_greeting(num_gpus: int) -> None:
    """Sets the level of TensorFlow's C++ log, unless it is set or absl's verbosity is above INFO.

    On import, TensorFlow 2.15's C++ code logs harmless errors. They are hidden, together with warnings, unless there
    are GPUs: one of the warnings says why TensorFlow cannot use one.

    Args:
      num_gpus: number of GPUs that the NVIDIA driver reports.
    """
    from absl import logging

    if logging.get_verbosity() <= logging.INFO:
        os.environ.setdefault(LOG_LEVEL, "1" if num_gpus else "3")


class _BeforeTensorFlow:
    """Import hook that finds no module: it acts when TensorFlow is about to be imported, not before.

    By then, the program has chosen its levels, and a program that never imports TensorFlow is left alone.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "tensorflow":
            num_gpus = count_gpus()
            hide_greeting(num_gpus)
            if num_gpus:
                use_packaged_tools()


def prepare_at_import() -> None:
    """Prepares TensorFlow from now on, whichever module imports it."""
    sys.meta_path.insert(0, _BeforeTensorFlow())
