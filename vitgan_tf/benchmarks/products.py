"""Speed of a training step reduced to its matrix products, run one after the other."""

from __future__ import annotations

import collections
import math
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.benchmarks.timing import product_flops, rounded, time_between_products, used_products
from vitgan_tf.benchmarks.training import traced_training_step
from vitgan_tf.config import ExperimentConfig

# Smaller products take less time than their launch and are not timed.
MIN_FLOPS = 10**8


def measure_products(config: ExperimentConfig, repeats: int, min_flops: int = MIN_FLOPS) -> dict[str, Any]:
    """Times each matrix product of a training step by itself, between large ones.

    Args:
      config: experiment; the whole batch is processed at once.
      repeats: timed calls of each product.
      min_flops: products with fewer floating-point operations are not timed but counted at peak speed.

    Returns:
      dataset, batch_size, precision, repeats.
      gflops_per_step: floating-point operations of all products, 10^9.
      fraction_of_matmul_peak: speed of all products, run one after the other, relative to the peak. A step that runs
        two small products at a time can exceed it. With mixed_bfloat16, named fraction_of_bfloat16_matmul_peak and
        relative to that peak.
      products: one row for all products of the same shapes, by decreasing share of the time,
        product: "rows x inner x columns", preceded by "batch x" if batched; ^T marks a transposed factor.
        dtype: dtype of the product.
        count: number in a step.
        share_of_time: share of the time of all rows.
        fraction_of_matmul_peak, or fraction_of_bfloat16_matmul_peak: speed relative to the peak.
    """
    peak = "bfloat16" if config.train.precision == "mixed_bfloat16" else "float32"
    name = "fraction_of_matmul_peak" if peak == "float32" else f"fraction_of_{peak}_matmul_peak"
    operations = used_products(traced_training_step(config, xla="kernels"))
    total = sum(map(product_flops, operations))
    like = {}
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for operation in operations:
        key = (_text(operation), operation.outputs[0].dtype.name)
        like[key] = operation
        counts[key] += 1
    rows, at_peak = [], 0.0
    for key, operation in like.items():
        flops = product_flops(operation)
        if flops < min_flops:
            at_peak += flops * counts[key]
            continue
        (timing,) = time_between_products([_call(operation)], repeats, (peak,))
        fraction = timing.peaks(flops)[name]
        rows.append((flops * counts[key] / fraction, key, fraction))
    seconds = sum(time for time, *_ in rows)
    return {
        "dataset": config.data.dataset,
        "batch_size": config.train.batch_size,
        "precision": config.train.precision,
        "repeats": repeats,
        "gflops_per_step": rounded(total / 1e9),
        name: rounded(total / (at_peak + seconds)),
        "products": [
            {
                "product": key[0],
                "dtype": key[1],
                "count": counts[key],
                "share_of_time": rounded(time / seconds),
                name: fraction,
            }
            for time, key, fraction in sorted(rows, reverse=True)
        ],
    }


def _text(operation: tf.Operation) -> str:
    (*batch, rows, columns), inner = operation.outputs[0].shape, _inner(operation)
    left, right = ("^T" if transposed else "" for transposed in _transposed(operation))
    size = math.prod(batch)
    return f"{f'{size} x ' if batch else ''}{rows}{left} x {inner} x {columns}{right}"


def _inner(operation: tf.Operation) -> int:
    return operation.inputs[0].shape[-2 if _transposed(operation)[0] else -1]


def _transposed(operation: tf.Operation) -> tuple[bool, bool]:
    names = ("transpose_a", "transpose_b") if operation.type == "MatMul" else ("adj_x", "adj_y")
    return tuple(map(operation.get_attr, names))


def _call(operation: tf.Operation) -> Callable[[], None]:
    """Returns a call of the same product with random factors, which blocks until completion."""
    factors = [tf.cast(tf.random.normal(factor.shape), factor.dtype) for factor in operation.inputs]
    transposed = dict(zip(("transpose_a", "transpose_b"), _transposed(operation)))
    function = tf.function(lambda: tf.matmul(*factors, **transposed), autograph=False)

    def call() -> None:
        tf.reshape(function(), [-1])[0].numpy()

    call()
    return call
