"""The element-wise formulas between the matrix products, optionally as few compiled passes over memory.

On a CPU, TensorFlow runs each operation of a formula as a pass of its own over tensors of tens of megabytes:
beside matrix products that run at the processor's peak, these passes would be a third of a training step, and
their intermediate results most of its memory. Each function here is a plain formula. Inside
`with compiled_kernels():` the same formula, and its gradient by hand, run as a few kernels compiled by XLA, which
read their inputs once and keep only what the gradient needs. Where XLA compiles the whole step (TPUs), in exported
models, and where gradients of gradients are taken (R1), the plain formulas are used.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from typing import Callable, NoReturn

import tensorflow as tf

# Per thread, because strategies trace each replica in a thread of its own.
_state = threading.local()


@contextlib.contextmanager
def compiled_kernels(enabled: bool = True) -> Iterator[None]:
    """Functions of this module that are called (traced) inside use kernels compiled by XLA."""
    before = _enabled()
    _state.enabled = enabled
    try:
        yield
    finally:
        _state.enabled = before


def _enabled() -> bool:
    return getattr(_state, "enabled", False)


_kernel: Callable = functools.partial(tf.function, jit_compile=True, autograph=False)


def widened(x: tf.Tensor) -> tf.Tensor:
    """float32 where x has 16 bits, else x as it is."""
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def dense(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    scale: tf.Tensor | float = 1.0,
    bias: tf.Tensor | None = None,
    kernel_is_transposed: bool = False,
) -> tf.Tensor:
    """inputs (kernel * scale) + bias, in the inputs' dtype: the kernel is scaled in its own, then rounded once.

    Args:
      inputs: (rows, fan_in).
      kernel: (fan_in, units), float32 whatever the inputs; or with kernel_is_transposed (units, fan_in).
      scale: a scalar.
      bias: (units,), as it is applied.
      kernel_is_transposed: see kernel.
    """
    dtype, rows = inputs.dtype, inputs.shape[0]
    fan_in, units = reversed(kernel.shape) if kernel_is_transposed else kernel.shape
    if _enabled() and rows is not None and rows < units and dtype.size >= 4 and not kernel_is_transposed:
        inputs *= tf.cast(scale, dtype)  # the smaller of the two is scaled
    else:
        if _enabled() and units > fan_in and not kernel_is_transposed:
            # oneDNN is slower at multiplying by a transposed matrix where the sum runs over the longer side: this
            # way, the gradient's product is a plain one.
            kernel, kernel_is_transposed = tf.transpose(kernel), True
        kernel = tf.cast(kernel * scale, dtype)
    if _enabled():
        outputs = _transposed_product(inputs, kernel) if kernel_is_transposed else _product(inputs, kernel)
    else:
        outputs = tf.matmul(inputs, kernel, transpose_b=kernel_is_transposed)
    return outputs if bias is None else add_bias(outputs, bias)


@tf.custom_gradient
def _product(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        return tf.matmul(upstream, kernel, transpose_b=True), _sum_of_outer_products(inputs, upstream)

    return tf.matmul(inputs, kernel), gradient


@tf.custom_gradient
def _transposed_product(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        return tf.matmul(upstream, kernel), _sum_of_outer_products(upstream, inputs)

    return tf.matmul(inputs, kernel, transpose_b=True), gradient


def _sum_of_outer_products(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """left^T right, the sum over their rows, which are many.

    As a batch of one: oneDNN has another code for batches, which is faster at this in float32.
    """
    left, right = tf.expand_dims(left, 0), tf.expand_dims(right, 0)
    return tf.squeeze(tf.matmul(left, right, transpose_a=True), 0)


def add_bias(x: tf.Tensor, bias: tf.Tensor, residual: tf.Tensor | None = None) -> tf.Tensor:
    """x + bias + residual, in the dtype of x.

    Args:
      x: (..., features).
      bias: (features,); float32 where x has 16 bits.
      residual: the shape and dtype of x; None for zeros.
    """
    is_narrow = x.dtype.size < 4
    # TensorFlow takes a bias into the product before it. In 16 bits that product leaves a processor's matrix unit
    # unused, and takes three times as long.
    if _enabled() and (is_narrow or residual is not None):
        return _compiled_add_bias(x, bias) if residual is None else _compiled_add_bias(x, bias, residual)
    # On CPUs, the gradient of bias_add sums 16 bits in 16 bits.
    outputs = x + tf.cast(bias, x.dtype) if is_narrow else tf.nn.bias_add(x, bias)
    return outputs if residual is None else outputs + residual


@tf.custom_gradient
def _compiled_add_bias(x: tf.Tensor, bias: tf.Tensor, *residual: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        return (upstream, _sum_like(upstream, bias), *(upstream for _ in residual))

    return _add_bias(x, bias, *residual), gradient


@_kernel
def _add_bias(*terms: tf.Tensor) -> tf.Tensor:
    return tf.cast(functools.reduce(tf.add, map(widened, terms)), terms[0].dtype)


def gelu(x: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """y * Phi(y), y = x + bias, Phi the distribution function of the standard normal (Hendrycks, Gimpel 2016).

    Args:
      x: (..., features).
      bias: (features,), float32 where x has 16 bits; None for zeros.
    """
    if _enabled():
        return _compiled_gelu(x) if bias is None else _compiled_gelu(x, bias)
    x = x if bias is None else add_bias(x, bias)
    # In 16 bits, 1 + erf would be lost in rounding.
    return tf.cast(tf.nn.gelu(widened(x)), x.dtype)


@tf.custom_gradient
def _compiled_gelu(x: tf.Tensor, *bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        dx = _gelu_gradient(x, upstream, *bias)
        return (dx, *(_sum_like(dx, weights) for weights in bias))

    return _gelu(x, *bias), gradient


@_kernel
def _gelu(x: tf.Tensor, *bias: tf.Tensor) -> tf.Tensor:
    wide = sum(bias, widened(x))
    return tf.cast(0.5 * wide * (1.0 + tf.math.erf(wide * math.sqrt(0.5))), x.dtype)


@_kernel
def _gelu_gradient(x: tf.Tensor, upstream: tf.Tensor, *bias: tf.Tensor) -> tf.Tensor:
    wide = sum(bias, widened(x))
    cumulative = 0.5 * (1.0 + tf.math.erf(wide * math.sqrt(0.5)))
    density = tf.exp(-0.5 * tf.square(wide)) * (1.0 / math.sqrt(2.0 * math.pi))
    return tf.cast(widened(upstream) * (cumulative + wide * density), x.dtype)


def scaled_leaky_relu(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """sqrt(2) * leaky_relu(x * scale + bias), slope 0.2: what follows a demodulated product.

    Args:
      x: (rows, points, features).
      scale: (rows, features), not zero; float32 where x has 16 bits.
      bias: (features,), of the dtype of scale.
    """
    if _enabled():
        return _compiled_scaled_leaky_relu(x, scale, bias)
    return tf.cast(math.sqrt(2.0) * tf.nn.leaky_relu(widened(x) * scale[:, None, :] + bias, 0.2), x.dtype)


@tf.custom_gradient
def _compiled_scaled_leaky_relu(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        dx, x_dx = _scaled_leaky_relu_gradient(x, scale, bias, upstream)
        # dx / scale is the gradient at the sum x * scale + bias, whose row sums suffice here.
        return (
            dx,
            widened(tf.reduce_sum(x_dx, axis=1)) / scale,
            tf.reduce_sum(widened(tf.reduce_sum(dx, axis=1)) / scale, axis=0),
        )

    return _scaled_leaky_relu(x, scale, bias), gradient


@_kernel
def _scaled_leaky_relu(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    y = widened(x) * scale[:, None, :] + bias
    return tf.cast(math.sqrt(2.0) * tf.maximum(y, 0.2 * y), x.dtype)


@_kernel
def _scaled_leaky_relu_gradient(
    x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    scale, wide = scale[:, None, :], widened(x)
    steep, flat = (tf.constant(slope * math.sqrt(2.0), scale.dtype) for slope in (1.0, 0.2))
    slope = tf.where(wide * scale + bias > 0.0, steep, flat)
    dx = widened(upstream) * slope * scale
    return tf.cast(dx, x.dtype), tf.cast(wide * dx, x.dtype)


def layer_norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    """scale * (x - mean) / sqrt(variance + epsilon) + offset, mean and variance over the last axis.

    Args:
      x: (batch, tokens, features).
      scale: (features,), or (batch, 1, features); float32 where x has 16 bits.
      offset: the same shape and dtype as scale.
      epsilon: added to the variance.
    """
    if _enabled():
        return _compiled_layer_norm(x, scale, offset, tf.constant(epsilon, scale.dtype))
    # Not tf.nn.moments, which stops the gradient at the mean in the variance: its second derivative is wrong.
    wide = widened(x)
    mean = tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axis=-1, keepdims=True)
    return tf.cast(tf.nn.batch_normalization(wide, mean, variance, offset, scale, epsilon), x.dtype)


@tf.custom_gradient
def _compiled_layer_norm(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    y, mean, inverse_deviation = _layer_norm(x, scale, offset, epsilon)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        # Of the three, a layer whose weights are not trained in this pass needs the first alone.
        dx = _layer_norm_gradient(x, mean, inverse_deviation, scale, upstream)
        dscale = _sum_like(_normalized_times(x, mean, inverse_deviation, upstream), scale)
        return _differentiable_once(dx), _differentiable_once(dscale), _sum_like(upstream, scale), None

    return y, gradient


@tf.custom_gradient
def _differentiable_once(first_gradient: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Refuses to be differentiated: mean and deviation would count as constants, and the result be wrong."""

    def gradient(*_: tf.Tensor) -> NoReturn:
        raise NotImplementedError("second derivatives of layer_norm need its plain formula: compiled_kernels(False)")

    return tf.identity(first_gradient), gradient


@_kernel
def _layer_norm(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    wide = widened(x)
    mean = _feature_mean(lambda x: x, wide)
    variance = _feature_mean(lambda x: tf.math.squared_difference(x, mean), wide)
    inverse_deviation = tf.math.rsqrt(variance + epsilon)
    return tf.cast((wide - mean) * inverse_deviation * scale + offset, x.dtype), mean, inverse_deviation


@_kernel
def _normalized_times(x: tf.Tensor, mean: tf.Tensor, inverse_deviation: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return tf.cast((widened(x) - mean) * inverse_deviation * widened(upstream), x.dtype)


@_kernel
def _layer_norm_gradient(
    x: tf.Tensor, mean: tf.Tensor, inverse_deviation: tf.Tensor, scale: tf.Tensor, upstream: tf.Tensor
) -> tf.Tensor:
    # With n the normalised x and g = upstream * scale: dx = (g - mean(g) - n * mean(g n)) / deviation.
    dtype, x, upstream = x.dtype, widened(x), widened(upstream)

    def g(scale: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        return upstream * scale

    def gn(x: tf.Tensor, scale: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        return upstream * scale * ((x - mean) * inverse_deviation)

    mean_g = _feature_mean(g, scale, upstream)
    mean_gn = _feature_mean(gn, x, scale, upstream)
    dx = inverse_deviation * (upstream * scale - mean_g - (x - mean) * inverse_deviation * mean_gn)
    return tf.cast(dx, dtype)


def _feature_mean(function: Callable[..., tf.Tensor], *tensors: tf.Tensor) -> tf.Tensor:
    """Mean over the last axis of an element-wise function of tensors, that axis kept with size 1.

    XLA's CPU back end sums over the last axis one number at a time. Here slices of it are added up first, which
    are vectors.
    """
    features = tensors[0].shape[-1]
    width = math.gcd(features, 32)
    parts = [function(*slices) for slices in zip(*(tf.split(x, features // width, axis=-1) for x in tensors))]
    while len(parts) > 1:  # in pairs, the order in which the rounding errors stay smallest
        pairs = [first + second for first, second in zip(parts[::2], parts[1::2])]
        parts = pairs + parts[2 * len(pairs) :]
    return tf.reduce_sum(parts[0], axis=-1, keepdims=True) / features


def _sum_like(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Sum of x over the axes along which weights, (features,) or (batch, 1, features), is broadcast to it."""
    if weights.shape.rank == 1:
        total = _sum_of_rows(tf.reshape(x, [-1, x.shape[-1]]))
    else:
        total = tf.reduce_sum(x, axis=1, keepdims=True)
    return tf.cast(total, weights.dtype)


def _sum_of_rows(x: tf.Tensor) -> tf.Tensor:
    """(rows, features) -> (features,): a product with ones, which TensorFlow runs at the speed of memory."""
    return tf.squeeze(tf.matmul(tf.ones([1, x.shape[0]], x.dtype), x), 0)
