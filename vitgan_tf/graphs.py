"""Traced functions as graphs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# Operations that call functions, and the attributes that name these.
CALLS = {
    **dict.fromkeys(("While", "StatelessWhile"), ("cond", "body")),
    **dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch")),
    **dict.fromkeys(("Case", "StatelessCase"), ("branches",)),
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), ("f",)),
}


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


def called_graphs(operation: tf.Operation) -> list[tf.Graph]:
    """Returns the graphs of the functions that an operation calls, for example both branches of a condition."""
    values = map(operation.get_attr, CALLS.get(operation.type, ()))
    functions = [function for value in values for function in (value if isinstance(value, list) else [value])]
    return [_function(operation.graph, function.name).graph for function in functions]


def is_kernel(operation: tf.Operation) -> bool:
    """Returns whether XLA compiles the function that an operation calls, as one kernel."""
    return operation.type in CALLS and operation.node_def.attr["_XlaMustCompile"].b


def _function(graph: Any, name: str) -> Any:
    """Returns a function of a graph or of those around it."""
    found = graph._get_function(name)
    return _function(graph.outer_graph, name) if found is None else found
