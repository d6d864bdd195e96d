"""Lazy regularisation: penalties that are computed only every n steps."""

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
    """Computes values every `interval` steps, with the weight `interval`; in other steps, values and weight are 0.

    The weight preserves the mean strength of a penalty in every step (Karras et al. 2020, section 3.1, "lazy
    regularization").

    Args:
      penalty: computes the values; the first value is differentiable with respect to the variables.
      num_values: number of values.
      variables: variables of the first value's gradient.
      step: number of this step.
      interval: steps from one penalty to the next.
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

    # XLA cannot differentiate a condition from outside: gradients are computed inside, and the first value becomes a
    # linear function with these gradients.
    due = step % interval == 0
    results = [tf.stop_gradient(result) for result in tf.cond(due, with_gradients, nothing)]
    values, gradients = results[:num_values], results[num_values:]
    for variable, gradient in zip(variables, gradients):
        values[0] += tf.reduce_sum(gradient * (variable - tf.stop_gradient(variable)))
    return values, tf.where(due, float(interval), 0.0)
