"""Imports TensorFlow without its internal log lines, and builds the strategy of the flags."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib.util
import logging as standard_logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import psutil
from absl import flags, logging

from vitgan_tf.gpus import count_gpus
from vitgan_tf.greeting import LOG_LEVEL, hide_greeting
from vitgan_tf.logs import concerns_users

# Parameter of `mallopt` in glibc's malloc.h.
_M_ARENA_MAX = -8
# Some of the packages of TensorFlow's extra and-cuda, below the namespace nvidia.
_CUDA_PACKAGES = ("cublas", "cuda_runtime", "cudnn", "cufft", "cusolver", "cusparse")


def import_tensorflow() -> Any:
    """Imports and returns TensorFlow with TensorFloat-32 off; unless --verbosity=1 is given, without its greeting."""
    hide_greeting(count_gpus())
    # Memory of GPUs is taken as needed by commands that build no strategy too.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    _pool_memory()
    with contextlib.nullcontext() if "tensorflow" in sys.modules else _permanent_objects():
        import tensorflow

    logger = tensorflow.get_logger()
    logger.setLevel(max(standard_logging.WARNING, logger.level))
    logger.addFilter(concerns_users)
    # On by default on GPUs since Ampere, where it would round the features of scores too.
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)
    _warn_of_unused_gpus(tensorflow)
    return tensorflow


@contextlib.contextmanager
def _permanent_objects() -> Iterator[None]:
    """Collects no garbage within this context, and later not among the objects that exist at its end.

    A quarter of the import's time would go into searching TensorFlow's modules for garbage, again and again, and so
    would a tenth of the time for building networks and tracing steps.
    """
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _pool_memory() -> None:
    """Lets TensorFlow keep the memory of a step's tensors for the next step, up to the machine's memory.

    malloc returns it to the system and takes it again, page by page, in every step. The rest, most of it left over by
    compilers, stays in malloc's heaps: one per core instead of eight, unless glibc's environment variables are set.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, os.cpu_count())
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(psutil.virtual_memory().total >> 20))


@functools.cache
def _warn_of_unused_gpus(tensorflow: Any) -> None:
    """Warns, once, of GPUs that the driver reports and TensorFlow cannot use."""
    count = count_gpus()
    if count == 0 or tensorflow.config.list_physical_devices("GPU"):
        return
    if tensorflow.test.is_built_with_cuda() and not _lacks_cuda_packages():
        advice = f"TensorFlow's warnings, with {LOG_LEVEL}=1, say why; the NVIDIA driver may be too old for CUDA 12"
    else:
        advice = (
            "its CUDA packages are not installed. This installs them: "
            "pip install 'tensorflow[and-cuda]==2.15.1' (in a checkout: make GPU=1 run)"
        )
    logging.warning("TensorFlow computes on the CPU, though the driver reports GPUs (%d): %s", count, advice)


def _lacks_cuda_packages() -> bool:
    """True if a package of TensorFlow's extra and-cuda is not installed."""
    if importlib.util.find_spec("nvidia") is None:
        return True
    return any(importlib.util.find_spec(f"nvidia.{name}") is None for name in _CUDA_PACKAGES)


def strategy_from_flags(given: flags.FlagValues, several_processes: bool = False, gpu_memory_gb: float = 0.0) -> Any:
    """Imports TensorFlow and builds the `tf.distribute` strategy of the flags of `define_strategy_flags`.

    Args:
      given: flags of the command.
      several_processes: see `define_strategy_flags`; if False, --strategy=auto ignores TF_CONFIG.

    Raises:
      UserError: the devices are missing or cannot be reached.
    """
    import_tensorflow()
    from vitgan_tf.training.strategies import build_strategy

    return build_strategy(given.strategy, given.tpu, given.logical_cpus, several_processes, gpu_memory_gb)
