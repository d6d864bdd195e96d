"""Counts and times matrix products, and times functions in between."""

from __future__ import annotations

import dataclasses
import math
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, Callable

import psutil
import tensorflow as tf

from vitgan_tf.graphs import called_graphs, is_kernel, live_operations

MATMUL_SIZE = 4096


def start_time(process: psutil.Process) -> float:
    """Returns when a process started, in seconds since 1970.

    On Linux, psutil's own value is up to a second too early: it begins at the full second of the system's start.
    """
    if sys.platform != "linux":
        return process.create_time()
    since_boot = process.create_time() - psutil.boot_time()
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def count_live_operations(graph: tf.Graph) -> int:
    """Counts the live operations of a traced function and, once per call, those of the functions that it calls.

    A call compiled by XLA counts as one operation, since XLA makes one kernel of it.

    Args:
      graph: graph of the function.
    """
    return sum(
        1 if is_kernel(operation) else 1 + sum(map(count_live_operations, called_graphs(operation)))
        for operation in live_operations(graph)
    )


def used_products(function: tf.types.experimental.ConcreteFunction) -> list[tf.Operation]:
    """Returns the matrix products of a traced function whose results are used.

    Raises:
      ValueError: the shape of a product is not static.
    """
    live = live_operations(function.graph)
    products = [operation for operation in live if operation.type in ("MatMul", "BatchMatMulV2")]
    for operation in products:
        shapes = operation.inputs[0].shape, operation.outputs[0].shape
        if not all(shape.is_fully_defined() for shape in shapes):
            raise ValueError(f"the shape of {operation.name} is not static")
    return products


def product_flops(operation: tf.Operation) -> int:
    """Floating-point operations of a matrix product, 2 m n k."""
    left = operation.inputs[0].shape
    transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    return 2 * operation.outputs[0].shape.num_elements() * (left[-2] if transposed else left[-1])


def matmul_flops(function: tf.types.experimental.ConcreteFunction) -> int:
    """Floating-point operations of the matrix products in a traced function; other operations are not counted.

    Raises:
      ValueError: the shape of a product is not static.
    """
    return sum(map(product_flops, used_products(function)))


def convolution_flops(function: tf.types.experimental.ConcreteFunction) -> int:
    """Floating-point operations of the convolutions and their gradients in a traced function, without depthwise ones.

    Raises:
      ValueError: the shape of a convolution is not static.
    """
    operations = [one for one in live_operations(function.graph) if one.type in _FILTERS_AND_OUTPUTS]
    return sum(map(_flops_of_convolution, operations))


# Tensors that have the shapes of the filters, (height, width, channels in, channels out), and of the output.
_FILTERS_AND_OUTPUTS: dict[str, Callable[[tf.Operation], tuple[tf.Tensor, tf.Tensor]]] = {
    "Conv2D": lambda one: (one.inputs[1], one.outputs[0]),
    "Conv2DBackpropInput": lambda one: (one.inputs[1], one.inputs[2]),
    "Conv2DBackpropFilter": lambda one: (one.outputs[0], one.inputs[2]),
}


def _flops_of_convolution(operation: tf.Operation) -> int:
    """Returns 2 x output values x filter height x filter width x channels in."""
    filters, output = (tensor.shape for tensor in _FILTERS_AND_OUTPUTS[operation.type](operation))
    if not (filters.is_fully_defined() and output.is_fully_defined()):
        raise ValueError(f"the shape of {operation.name} is not static")
    return 2 * output.num_elements() * math.prod(filters[:3])


@dataclasses.dataclass(frozen=True)
class Timing:
    """Times of a function's calls, and of the matrix products around each call.

    Attributes:
      seconds: seconds of each call.
      products: by dtype, for each call, the seconds of the products just before and just after it.
    """

    seconds: list[float]
    products: dict[str, list[tuple[float, float]]]

    def peaks(self, flops: int) -> dict[str, float]:
        """Returns the machine's peak speed, and the function's speed relative to it.

        Args:
          flops: floating-point operations of one call.

        Returns:
          matmul_peak_gflops: median speed of the float32 products, 10^9 operations per second.
          fraction_of_matmul_peak: speed of a call relative to its two neighbouring products, median over calls.
          For any other dtype, for example bfloat16: bfloat16_matmul_peak_gflops and
          fraction_of_bfloat16_matmul_peak.
        """
        result, large = {}, 2 * MATMUL_SIZE**3
        for dtype, pairs in self.products.items():
            prefix = "" if dtype == "float32" else f"{dtype}_"
            neighbours = [(before + after) / 2 for before, after in pairs]
            calls_in_products = statistics.median(call / pair for call, pair in zip(self.seconds, neighbours))
            result[f"{prefix}matmul_peak_gflops"] = rounded(large / statistics.median(neighbours) / 1e9)
            result[f"fraction_of_{prefix}matmul_peak"] = rounded(flops / large / calls_in_products)
        return result


def time_between_products(
    functions: Sequence[Callable[[], Any]], repeats: int, dtypes: Sequence[str] = ("float32",)
) -> list[Timing]:
    """Times functions in turns, with large matrix products before and after each call.

    Processor speed drifts by several percent within seconds, so compare each call with the products just before and
    just after it.

    Args:
      functions: functions that block until their work is complete; each must have been called before.
      repeats: timed calls of each function.
      dtypes: dtypes of the 4096 x 4096 products, one of each between two calls.

    Returns:
      One `Timing` per function, in order.
    """
    timers = {dtype: _product_timer(dtype) for dtype in dtypes}
    timings = [Timing([], {dtype: [] for dtype in dtypes}) for _ in functions]
    for timer in timers.values():
        timer()  # traces the product
    before = {dtype: timer() for dtype, timer in timers.items()}
    for _ in range(repeats):
        for function, timing in zip(functions, timings):
            timing.seconds.append(_seconds(function))
            after = {dtype: timer() for dtype, timer in timers.items()}
            for dtype in dtypes:
                timing.products[dtype].append((before[dtype], after[dtype]))
            before = after
    return timings


def _product_timer(dtype: str) -> Callable[[], float]:
    square = tf.cast(tf.random.normal([MATMUL_SIZE, MATMUL_SIZE]), dtype)
    # Fetching one number waits for the product to complete.
    product = tf.function(lambda: tf.matmul(square, square)[0, 0], autograph=False)
    return lambda: _seconds(lambda: product().numpy())


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_memory() -> float:
    """Peak resident memory of the process so far, in 10^9 bytes."""
    return rounded(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)  # kilobytes on Linux


def rounded(value: float) -> float:
    """Rounds to four significant digits."""
    return round(value, 3 - math.floor(math.log10(abs(value)))) if value else 0.0
