"""TensorFloat-32 for training steps."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class TF32(tf.keras.callbacks.Callback):
    """Enables TensorFloat-32 matrix products while a training step runs, and disables them for all that follows it.

    Must come before the callbacks that draw or score images.
    """

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        tf.config.experimental.enable_tensor_float_32_execution(True)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        tf.config.experimental.enable_tensor_float_32_execution(False)
