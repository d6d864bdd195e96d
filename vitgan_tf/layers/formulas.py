"""Dispatches formulas to `layers.ops`, or inside `with fused_ops():` to their namesakes in `layers.fused`.

The plain formulas are as good where XLA compiles the whole step (TPUs) and in exported models.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.layers import fused, ops

# Thread-local, because strategies trace each replica in its own thread.
_state = threading.local()


@contextlib.contextmanager
def fused_ops(enabled: bool = True) -> Iterator[None]:
    """Selects the fused formulas for calls (traces) inside, or the plain ones with enabled=False."""
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
product_of_activation = _chosen(ops.product_of_activation, fused.product_of_activation)
scaled_leaky_relu = _chosen(ops.scaled_leaky_relu, fused.scaled_leaky_relu)
layer_norm = _chosen(ops.layer_norm, fused.layer_norm)


def input_gradient(function: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
    """d sum(function(inputs)) / d inputs, by the plain formulas, so that it can be differentiated again.

    The fused formulas' hand-written gradients have no second derivatives, or none inside `tf.cond`.
    """
    with fused_ops(False), tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs = function(inputs)
    return tape.gradient(outputs, inputs)
