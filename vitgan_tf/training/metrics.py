"""Metrics over the training steps since the last reset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from vitgan_tf.training.update import Measure


class _Scalars(tf.keras.metrics.Metric):
    """Metric of several scalars by name: one variable for all of them keeps the step small."""

    def __init__(self, names: Iterable[str], **kwargs: Any):
        super().__init__(**kwargs)
        self.names = list(names)

    def reset_state(self) -> None:
        tf.keras.backend.batch_set_value([(state, np.zeros(state.shape)) for state in self.variables])

    def _by_name(self, results: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(self.names, tf.unstack(results)))


class Means(_Scalars):
    """Weighted means since the last reset, over all replicas; 0 for a scalar without weight."""

    def __init__(self, names: Iterable[str]):
        super().__init__(names, name="means")
        self.total = self.add_weight(name="total", shape=[len(self.names)], initializer="zeros")
        self.weight = self.add_weight(name="weight", shape=[len(self.names)], initializer="zeros")

    def update_state(self, measures: list[Measure]) -> None:
        values, weights = map(tf.stack, zip(*((measure.value, measure.weight) for measure in measures)))
        self.total.assign_add(values * weights)
        self.weight.assign_add(weights)

    def result(self) -> dict[str, tf.Tensor]:
        return self._by_name(tf.math.divide_no_nan(self.total, self.weight))


class Maxima(_Scalars):
    """Maxima of non-negative scalars (norms) since the last reset; 0 if there were none.

    All replicas give the same values, because norms are computed from the summed gradients.
    """

    def __init__(self, names: Iterable[str]):
        super().__init__(names, name="maxima")
        self.largest = self.add_weight(
            name="largest",
            shape=[len(self.names)],
            initializer="zeros",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def update_state(self, measures: list[Measure]) -> None:
        values = tf.stack([measure.value if measure.largest is None else measure.largest for measure in measures])
        # Comparisons with NaN are false, so that a NaN replaces the maximum.
        self.largest.assign(tf.where(self.largest > values, self.largest, values))

    def result(self) -> dict[str, tf.Tensor]:
        return self._by_name(self.largest)


class StepMetrics:
    """Means of all measures of a step, and maxima of some of them as NAME_max.

    Args:
      means: names of all measures.
      maxima: names of the measures that also have a maximum.
    """

    def __init__(self, means: Iterable[str], maxima: Iterable[str]):
        self.all = [Means(means), Maxima(maxima)]

    def update(self, measures: dict[str, Measure]) -> dict[str, tf.Tensor]:
        """Adds a step, and returns the results of all metrics by name."""
        for metric in self.all:
            metric.update_state([measures[name] for name in metric.names])
        means, maxima = (metric.result() for metric in self.all)
        return {**means, **{f"{name}_max": value for name, value in maxima.items()}}
