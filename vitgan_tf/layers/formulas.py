"""The formulas of `layers.ops`, or inside `with fused_ops():` their namesakes in `layers.fused`.

Where XLA compiles the whole step (TPUs) and in exported models, the plain formulas are as good.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.layers import fused, ops

# Per thread, because strategies trace each replica in a thread of its own.
_state = threading.local()


@contextlib.contextmanager
def fused_ops(enabled: bool = True) -> Iterator[None]:
    """Formulas that are called (traced) inside are the fused ones, or with enabled=False the plain ones."""
    before = _is_fused()
    _state.enabled = enabled
    try:
        yield
    finally:
        _state.enabled = before


def _is_fused() -> bool:
    return getattr(_state, "enabled", False)


def _chosen(plain: Callable, kernel: Callable) -> Callable:
    @functools.wraps(plain)
    def formula(*args: Any, **kwargs: Any) -> tf.Tensor:
        return (kernel if _is_fused() else plain)(*args, **kwargs)

    return formula


product = _chosen(ops.product, fused.product)
bias_act = _chosen(ops.bias_act, fused.bias_act)
scaled_leaky_relu = _chosen(ops.scaled_leaky_relu, fused.scaled_leaky_relu)
layer_norm = _chosen(ops.layer_norm, fused.layer_norm)


def input_gradient(function: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
    """d sum(function(inputs)) / d inputs, which can be differentiated again: of plain formulas.

    The fused formulas' gradients by hand have no second derivatives, or none inside `tf.cond`.
    """
    with fused_ops(False), tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs = function(inputs)
    return tape.gradient(outputs, inputs)
