"""Metrics over the training steps since the last reset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from vitgan_tf.training.update import Measure


class Maximum(tf.keras.metrics.Metric):
    """Maximum of non-negative scalars (norms) since the last reset; 0 if there were none.

    All replicas give the same value, because norms are computed from the summed gradients.
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
        # Comparisons with NaN are false, so that a NaN replaces the maximum.
        keep = self.largest > tf.cast(value, self.dtype)
        self.largest.assign(tf.where(keep, self.largest, tf.cast(value, self.dtype)))

    def result(self) -> tf.Tensor:
        return tf.identity(self.largest)


class StepMetrics:
    """Means of all measures of a step, and maxima of some of them as NAME_max.

    Args:
      means: names of all measures.
      maxima: names of the measures that also have a maximum.
    """

    def __init__(self, means: Iterable[str], maxima: Iterable[str]):
        self._means = {name: tf.keras.metrics.Mean(name) for name in means}
        self._maxima = {name: Maximum(f"{name}_max") for name in maxima}

    @property
    def all(self) -> list[tf.keras.metrics.Metric]:
        return [*self._means.values(), *self._maxima.values()]

    def update(self, measures: dict[str, Measure]) -> dict[str, tf.Tensor]:
        """Adds a step, and returns the results of all metrics by name."""
        for name, metric in self._means.items():
            metric.update_state(measures[name].value, sample_weight=measures[name].weight)
        for name, metric in self._maxima.items():
            metric.update_state(measures[name].value)
        return {metric.name: metric.result() for metric in self.all}
