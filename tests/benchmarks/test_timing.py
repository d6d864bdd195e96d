"""Counted operations of traced functions, and the start of a process."""

import subprocess
import time

import psutil
import tensorflow as tf

from vitgan_tf.benchmarks.timing import count_live_operations, start_time
from vitgan_tf.benchmarks.training import traced_training_step
from vitgan_tf.graphs import live_operations
from vitgan_tf.presets import preset


def _traced(function):
    return tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([4])).graph


def _types(graph):
    return sorted(operation.type for operation in live_operations(graph))


@tf.function(autograph=False)
def _called(x):
    """Its argument, a constant, a product and the result are alive; a constant and a product are dead."""
    _ = x * 3.0
    return x * 2.0


@tf.function(autograph=False, jit_compile=True)
def _compiled(x):
    return tf.nn.relu(x) * 2.0


@tf.function(autograph=False, jit_compile=False)
def _not_compiled(x):
    return tf.nn.relu(x)


def test_operations_without_effect_on_the_results_are_dead():
    variable = tf.Variable(1.0)

    def function(x):
        tf.exp(x)  # dead
        variable.assign(2.0)  # the result waits for it
        return -x

    graph = _traced(function)
    assert "Exp" in {operation.type for operation in graph.get_operations()}
    types = _types(graph)
    assert "Exp" not in types and {"Placeholder", "Neg", "AssignVariableOp"} <= set(types)
    assert count_live_operations(graph) == len(types) == len(graph.get_operations()) - 1
    # Without a result, the assignment is alive as a control output.
    graph = _traced(lambda x: [variable.assign(2.0), None][1])
    assert "AssignVariableOp" in _types(graph)


def test_called_functions_count_once_per_call():
    """The argument, two calls of four operations and the result."""
    graph = _traced(lambda x: _called(_called(x)))
    assert _types(graph) == ["Identity", "PartitionedCall", "PartitionedCall", "Placeholder"]
    assert count_live_operations(graph) == 1 + 2 * (1 + 4) + 1


def test_functions_that_xla_compiles_count_as_one_operation():
    graph = _traced(lambda x: _called(_compiled(x)))
    assert count_live_operations(graph) == 1 + 1 + (1 + 4) + 1
    graph = _traced(lambda x: _called(_not_compiled(x)))  # argument, ReLU and result
    assert count_live_operations(graph) == 1 + (1 + 3) + (1 + 4) + 1


def test_calls_within_branches_count():
    """Each branch: its argument, the call of a function or none, the result; the condition: argument and constant."""
    graph = _traced(lambda x: tf.cond(tf.reduce_all(x > 0.0), lambda: _called(x), lambda: x))
    branches = (1 + (1 + 4) + 1) + (1 + 1)
    outside = len(live_operations(graph))
    assert "StatelessIf" in _types(graph)
    assert count_live_operations(graph) == outside + branches
    branch = tf.constant(0)
    graph = _traced(lambda x: tf.switch_case(branch, [lambda: _called(x), lambda: x]))
    assert "StatelessCase" in _types(graph)  # its functions are a list
    assert count_live_operations(graph) == len(live_operations(graph)) + branches


def test_a_step_of_the_paper_has_few_operations():
    """Each one costs time when the step is traced, compiled and run: there were 9,935, and 12,033 with dead ones."""
    graph = traced_training_step(preset("cifar10"), xla="kernels").graph
    assert count_live_operations(graph) <= 6_500
    assert len(graph.get_operations()) <= 7_000


def test_the_start_of_a_process():
    before = time.time()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        after = time.time()
        started = start_time(psutil.Process(process.pid))
    tick = 0.01  # the kernel counts hundredths of a second
    assert before - tick <= started <= after + tick
