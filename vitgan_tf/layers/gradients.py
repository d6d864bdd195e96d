"""Functions with a hand-written gradient."""

from __future__ import annotations

import functools
from typing import Any, Callable

import tensorflow as tf
from tensorflow.python.eager import record


def with_gradient(function: Callable) -> Callable:
    """Decorates a function of tensors that returns its results and their gradient, as for `tf.custom_gradient`.

    In a graph, that one adds an IdentityN, zeros for each argument and other operations to every call, for the sake
    of `tf.gradients`: a sixth of all operations of a training step, and more of the time to trace it. It also keeps
    every such graph for ever. Here, gradient tapes inside the graph see the function; what differentiates the graph
    from outside (a tape around a `tf.function`) sees the operations that the function is made of.

    Args:
      function: tensors -> (a tensor or tuple of tensors, gradients of the results -> gradients of the arguments).

    Returns:
      Tensors or variables -> the results.
    """

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        inputs = [tf.convert_to_tensor(argument) for argument in arguments]
        with record.stop_recording():
            results, gradient = function(*inputs)

        def backward(*upstream: tf.Tensor) -> list[tf.Tensor | None]:
            return tf.nest.flatten(gradient(*upstream))

        record.record_operation(function.__name__, tf.nest.flatten(results), inputs, backward)
        return results

    return call
