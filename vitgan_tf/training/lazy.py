"""Regularisers that are computed in every n-th step alone."""

from __future__ import annotations

from typing import Callable

import tensorflow as tf


def lazily(
    penalty: Callable[[], list[tf.Tensor]],
    num_values: int,
    variables: list[tf.Variable],
    step: tf.Tensor,
    interval: int,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Values in every interval-th step, and the interval, their weight; in the other steps all are 0.

    The weight keeps the mean strength what it would be at every step (Karras et al. 2020, section 3.1, "lazy
    regularization").

    Args:
      penalty: computes the values; the first value can be differentiated with respect to the variables.
      num_values: how many there are.
      variables: see penalty.
      step: number of this step.
      interval: in steps.
    """
    if interval == 1:
        return penalty(), tf.ones([])

    def with_gradients() -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            values = penalty()
        unconnected = tf.UnconnectedGradients.ZERO
        return [*values, *tape.gradient(values[0], variables, unconnected_gradients=unconnected)]

    def nothing() -> list[tf.Tensor]:
        return [*[tf.zeros([])] * num_values, *(tf.zeros(variable.shape) for variable in variables)]

    # XLA refuses a condition that is differentiated from outside: its gradients are computed inside, and what
    # comes out is made a linear function that has them.
    due = step % interval == 0
    results = [tf.stop_gradient(result) for result in tf.cond(due, with_gradients, nothing)]
    values, gradients = results[:num_values], results[num_values:]
    for variable, gradient in zip(variables, gradients):
        values[0] += tf.reduce_sum(gradient * (variable - tf.stop_gradient(variable)))
    return values, tf.where(due, float(interval), 0.0)
