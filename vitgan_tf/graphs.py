"""Traced functions as graphs."""

from __future__ import annotations

import tensorflow as tf


def live_operations(graph: tf.Graph) -> list[tf.Operation]:
    """Returns the operations of a traced function that its outputs or side effects depend on, in order of tracing.

    Args:
      graph: graph of the function.
    """
    live: set[str] = set()
    pending = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    while pending:
        operation = pending.pop()
        if operation.name not in live:
            live.add(operation.name)
            pending += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return [operation for operation in graph.get_operations() if operation.name in live]
