"""Warning of steps that do not fit the memory of the device."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from absl import logging

from vitgan_tf.training.memory import bytes_for_steps, fitting_microbatch, step_bytes


class MemoryCheck(tf.keras.callbacks.Callback):
    """Warns before the first step if steps take more memory than the device has: see `training.memory`.

    The step is traced once: `fit` uses the same graph. Several replicas are not checked.

    Args:
      batches: what `fit` reads.
    """

    def __init__(self, batches: tf.data.Dataset):
        super().__init__()
        self._batches = batches

    def on_train_begin(self, logs: Any = None) -> None:
        gan, available = self.model, bytes_for_steps(self.model)
        if available is None or gan.plan.strategy.num_replicas_in_sync > 1:
            return
        iterator = tf.data.IteratorSpec(self._batches.element_spec)
        needed = step_bytes(gan.make_train_function().get_concrete_function(iterator).graph)
        if needed > available:
            _warn(needed, available, fitting_microbatch(gan, available), gan.plan.precision == "float32")


def _warn(needed: int, available: int, microbatch: int | None, is_float32: bool) -> None:
    advice = [] if microbatch is None else [f"--microbatch={microbatch} fits"]
    advice += ["--precision=mixed_bfloat16 takes less"] if is_float32 else []
    logging.warning(
        "the tensors of a step take about %.3g GB, and the device has %.3g GB for them: %s",
        needed / 1e9,
        available / 1e9,
        ", ".join(advice) or "choose smaller networks, images or batches",
    )
