"""Memory of a training step, estimated from the shapes in its graph.

The tensors of a graph are counted as if its operations ran one after the other, in the order in which they were
traced: a tensor takes memory from the operation that makes it to the last one that reads it. No network needs a
formula of its own. The working space of single operations is not counted, nor what Python, TensorFlow, the allocator
and the driver take for themselves.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import psutil
import tensorflow as tf

from vitgan_tf.gpus import gpu_bytes
from vitgan_tf.graphs import CALLS, called_graphs, is_kernel, live_operations
from vitgan_tf.training.build import trace_step
from vitgan_tf.training.gan import GAN

# Results without memory of their own: that of an input, of a variable, or of the caller.
_VIEWS = (
    "Identity",
    "IdentityN",
    "Reshape",
    "ExpandDims",
    "Squeeze",
    "StopGradient",
    "PreventGradient",
    "EnsureShape",
)
_ELSEWHERE = ("ReadVariableOp", "Placeholder", "Const")
_PRODUCTS = ("MatMul", "BatchMatMulV2", "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
# Operations whose results are in memory where XLA compiles; it computes others within those that read them.
_NOT_FUSED = (*_PRODUCTS, *CALLS, "Sum", "Mean", "Max", "L2Loss", "BiasAddGrad")


def state_bytes(gan: GAN) -> int:
    """Returns the bytes of all variables: weights, moving average, Adam's moments and small state."""
    owners = (gan, gan.generator_optimizer, gan.discriminator_optimizer)
    variables = {id(variable): variable for owner in owners for variable in owner.variables}
    return sum(variable.shape.num_elements() * variable.dtype.size for variable in variables.values())


def step_bytes(graph: tf.Graph, is_compiled: bool = False) -> int:
    """Returns the largest number of bytes that the tensors of a traced function take at a time.

    Arguments and variables are not counted, nor are tensors whose shape is not static.

    Args:
      graph: graph of the function.
      is_compiled: whether XLA compiles it, and fuses element-wise operations.
    """
    operations = live_operations(graph)
    owners = _owners(operations, is_compiled)
    last_use = {owner: len(operations) for tensor in graph.outputs for owner in owners[tensor.name]}
    for number, operation in reversed(list(enumerate(operations))):
        for tensor in operation.inputs:
            for owner in owners[tensor.name]:
                last_use.setdefault(owner, number)
    freed: dict[int, int] = defaultdict(int)
    alive = most = 0
    for number, operation in enumerate(operations):
        for tensor in operation.outputs:
            if tensor.name in owners[tensor.name] and tensor.name in last_use:
                alive += _bytes(tensor)
                freed[last_use[tensor.name]] += _bytes(tensor)
        most = max(most, alive + _bytes_within(operation, is_compiled))
        alive -= freed[number]
    return most


def _owners(operations: list[tf.Operation], is_compiled: bool) -> dict[str, frozenset[str]]:
    """Returns for each tensor the tensors whose memory must be kept to read it."""
    operands = _operands(operations) if is_compiled else frozenset()
    owners: dict[str, frozenset[str]] = {}
    for operation in operations:
        inherits = operation.type in _VIEWS or (is_compiled and operation.type not in _NOT_FUSED)
        inherited = frozenset().union(*(owners[tensor.name] for tensor in operation.inputs))
        for tensor in operation.outputs:
            if operation.type in _ELSEWHERE:
                owners[tensor.name] = frozenset()
            elif inherits and tensor.name not in operands:
                owners[tensor.name] = inherited
            else:
                owners[tensor.name] = frozenset([tensor.name])
    return owners


def _operands(operations: list[tf.Operation]) -> frozenset[str]:
    """Returns the tensors that matrix products read, themselves or as views."""
    operands = set()
    for operation in reversed(operations):
        is_view = operation.type in _VIEWS and operation.outputs[0].name in operands
        if is_view:
            operands.discard(operation.outputs[0].name)
        if is_view or operation.type in _PRODUCTS:
            operands.update(tensor.name for tensor in operation.inputs)
    return frozenset(operands)


def _bytes_within(operation: tf.Operation, is_compiled: bool) -> int:
    """Returns the bytes that the functions in an operation take beside its inputs; branches exclude each other."""
    compiles = is_compiled or is_kernel(operation)
    return max((step_bytes(graph, compiles) for graph in called_graphs(operation)), default=0)


def _bytes(tensor: tf.Tensor) -> int:
    count = tensor.shape.num_elements()  # None if it is not static
    return 0 if tensor.dtype in (tf.resource, tf.variant, tf.string) else (count or 0) * tensor.dtype.size


def bytes_for_steps(gan: GAN) -> int | None:
    """Returns the bytes that a device has for the tensors of steps; None if they are not known.

    On a GPU, its memory, or `train.gpu_memory_gb` of it, less the variables; on a CPU, what is available now.
    """
    if isinstance(gan.plan.strategy, tf.distribute.TPUStrategy):
        return None
    if not tf.config.list_physical_devices("GPU"):
        return psutil.virtual_memory().available
    total = int(gan.config.train.gpu_memory_gb * 1e9) or gpu_bytes()
    return None if total is None else total - state_bytes(gan)


def fitting_microbatch(gan: GAN, available: int) -> int | None:
    """Returns the largest microbatch below the plan's whose steps take at most so many bytes; None if there is none.

    Traces a step for some of the microbatches. One replica alone.
    """
    generator, discriminator = gan.config.chosen_networks()
    share, group = gan.config.train.batch_size, discriminator.group_size(gan.config)
    sizes = [size for size in range(group, gan.plan.microbatch, group) if share % size == 0]
    if generator.needs_whole_share:
        return None
    fitting, first = None, 0
    while first < len(sizes):
        middle = (first + len(sizes)) // 2
        if bytes_of_microbatch(gan, sizes[middle]) <= available:
            fitting, first = sizes[middle], middle + 1
        else:
            del sizes[middle:]
    return fitting


def bytes_of_microbatch(gan: GAN, microbatch: int) -> int:
    """Traces a step with a microbatch other than the plan's, and returns its `step_bytes`."""
    plan = gan.plan
    gan.plan = dataclasses.replace(plan, microbatch=microbatch)
    try:
        return step_bytes(trace_step(gan).graph, plan.compiles_step)
    finally:
        gan.plan = plan
