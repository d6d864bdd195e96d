"""The largest value since a metric was last reset."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class Maximum(tf.keras.metrics.Metric):
    """Largest of the scalars given since the last reset, 0 when there was none: for norms, which are not negative.

    All replicas give the same value, that of the gradients that they have summed up.
    """

    def __init__(self, name: str, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.largest = self.add_weight(
            name="largest",
            initializer="zeros",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def update_state(self, value: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        # Comparisons with NaN are false: a value that is not a number must not be lost.
        keep = self.largest > tf.cast(value, self.dtype)
        self.largest.assign(tf.where(keep, self.largest, tf.cast(value, self.dtype)))

    def result(self) -> tf.Tensor:
        return tf.identity(self.largest)
