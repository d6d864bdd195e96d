"""XLA-compiled kernels with hand-written gradients for the formulas of `layers.ops`, under the same names.

On a CPU, TensorFlow runs each operation of a formula as a separate pass over tensors of tens of megabytes. The matrix
products run at the processor's peak, so these passes would take a third of a training step, and their intermediate
results most of its memory. The kernels read their inputs once. What the gradient needs is kept or computed again.
"""

from __future__ import annotations

import functools
import math
from typing import Callable, NoReturn

import tensorflow as tf

from vitgan_tf.layers import ops
from vitgan_tf.layers.gradients import with_gradient
from vitgan_tf.layers.ops import as_float32, as_rows, is_narrow

# Activations of at least this many bytes are computed again: their memory is worth more than the time.
_LARGE = 1 << 24
_kernel: Callable = functools.partial(tf.function, jit_compile=True, autograph=False)


def product(
    inputs: tf.Tensor, kernel: tf.Tensor, scale: tf.Tensor | float = 1.0, kernel_is_transposed: bool = False
) -> tf.Tensor:
    """See `ops.product`. The products of the gradients have the form that oneDNN computes fastest."""
    dtype, rows = inputs.dtype, inputs.shape[0]
    fan_in, units = reversed(kernel.shape) if kernel_is_transposed else kernel.shape
    if rows is not None and rows < units and not is_narrow(inputs) and not kernel_is_transposed:
        inputs *= tf.cast(scale, dtype)  # scales the smaller of the two
    else:
        if units > fan_in and not kernel_is_transposed:
            # oneDNN is slow at multiplying by a transposed matrix when the sum runs over its longer side. Transposed
            # here, the kernel enters the gradient's product as it is.
            kernel, kernel_is_transposed = tf.transpose(kernel), True
        kernel = tf.cast(kernel * scale, dtype)
    return _transposed_product(inputs, kernel) if kernel_is_transposed else _product(inputs, kernel)


@with_gradient
def _product(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        return tf.matmul(upstream, kernel, transpose_b=True), _sum_of_outer_products(inputs, upstream)

    return tf.matmul(inputs, kernel), gradient


@with_gradient
def _transposed_product(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        return tf.matmul(upstream, kernel), _sum_of_outer_products(upstream, inputs)

    return tf.matmul(inputs, kernel, transpose_b=True), gradient


def _sum_of_outer_products(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """left^T right, summed over many rows."""
    return tf.matmul(left, right, transpose_a=True)


def bias_act(
    x: tf.Tensor, bias: tf.Tensor, activation: str = "linear", residual: tf.Tensor | None = None
) -> tf.Tensor:
    """See `ops.bias_act`. Cases that take a single pass use TensorFlow's own operations, which are as good."""
    if bias.shape.rank > 1 or _has_one_token(x):
        return ops.bias_act(x, bias, activation, residual)
    if activation == "gelu":
        outputs = _compiled_gelu(x, bias)
        return outputs if residual is None else outputs + residual
    if activation == "linear" and residual is not None:
        return _compiled_add_bias(x, bias, residual)
    if not is_narrow(x):
        return ops.bias_act(x, bias, activation, residual)
    # TensorFlow would fuse the bias into the product before it. In 16 bits, the fused product does not use the
    # processor's matrix unit and takes three times as long.
    outputs = ops.activate(_compiled_add_bias(x, bias), activation)
    return outputs if residual is None else outputs + residual


def _has_one_token(x: tf.Tensor) -> bool:
    """True for the class token alone, (batch, 1, features): compiling a kernel would take longer than it saves."""
    return x.shape.rank == 3 and x.shape[1] == 1


def product_of_activation(
    x: tf.Tensor,
    bias: tf.Tensor,
    activation: str,
    kernel: tf.Tensor,
    scale: tf.Tensor | float = 1.0,
    kernel_is_transposed: bool = False,
) -> tf.Tensor:
    """See `ops.product_of_activation`. The gradient computes a large GELU again instead of keeping it."""
    is_large = x.shape.is_fully_defined() and x.shape.num_elements() * x.dtype.size >= _LARGE
    if activation == "gelu" and is_large and not kernel_is_transposed:
        return _product_of_gelu(as_rows(x), bias, tf.cast(kernel * scale, x.dtype))
    return product(as_rows(bias_act(x, bias, activation)), kernel, scale, kernel_is_transposed)


@with_gradient
def _product_of_gelu(x: tf.Tensor, bias: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Otherwise TensorFlow would merge this call with the equal one below, and keep that result until here.
        with tf.control_dependencies([upstream]):
            dkernel = _sum_of_outer_products(_gelu(x, bias), upstream)
        dx = _gelu_gradient(x, bias, tf.matmul(upstream, kernel, transpose_b=True))
        return dx, _sum_like(dx, bias), dkernel

    return tf.matmul(_gelu(x, bias), kernel), gradient


@with_gradient
def _compiled_add_bias(x: tf.Tensor, bias: tf.Tensor, *residual: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        return (upstream, _sum_like(upstream, bias), *(upstream for _ in residual))

    return _add_bias(x, bias, *residual), gradient


@_kernel
def _add_bias(*terms: tf.Tensor) -> tf.Tensor:
    return tf.cast(functools.reduce(tf.add, map(as_float32, terms)), terms[0].dtype)


@with_gradient
def _compiled_gelu(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        dx = _gelu_gradient(x, bias, upstream)
        return dx, _sum_like(dx, bias)

    return _gelu(x, bias), gradient


@_kernel
def _gelu(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    wide = bias + as_float32(x)
    return tf.cast(0.5 * wide * (1.0 + tf.math.erf(wide * math.sqrt(0.5))), x.dtype)


@_kernel
def _gelu_gradient(x: tf.Tensor, bias: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    wide = bias + as_float32(x)
    cumulative = 0.5 * (1.0 + tf.math.erf(wide * math.sqrt(0.5)))
    density = tf.exp(-0.5 * tf.square(wide)) * (1.0 / math.sqrt(2.0 * math.pi))
    return tf.cast(as_float32(upstream) * (cumulative + wide * density), x.dtype)


def scaled_leaky_relu(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """See `ops.scaled_leaky_relu`."""
    return _compiled_scaled_leaky_relu(x, scale, bias)


@with_gradient
def _compiled_scaled_leaky_relu(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        dx, x_dx = _scaled_leaky_relu_gradient(x, scale, bias, upstream)
        # dx / scale is the gradient with respect to x * scale + bias. Dividing after the sum over points suffices.
        return (
            dx,
            as_float32(tf.reduce_sum(x_dx, axis=1)) / scale,
            tf.reduce_sum(as_float32(tf.reduce_sum(dx, axis=1)) / scale, axis=0),
        )

    return _scaled_leaky_relu(x, scale, bias), gradient


@_kernel
def _scaled_leaky_relu(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    y = as_float32(x) * scale[:, None, :] + bias
    return tf.cast(math.sqrt(2.0) * tf.maximum(y, 0.2 * y), x.dtype)


@_kernel
def _scaled_leaky_relu_gradient(
    x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    scale, wide = scale[:, None, :], as_float32(x)
    steep, flat = (tf.constant(slope * math.sqrt(2.0), scale.dtype) for slope in (1.0, 0.2))
    slope = tf.where(wide * scale + bias > 0.0, steep, flat)
    dx = as_float32(upstream) * slope * scale
    return tf.cast(dx, x.dtype), tf.cast(wide * dx, x.dtype)


def layer_norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    """See `ops.layer_norm`.

    Raises:
      NotImplementedError: the second derivative is requested, and there are several tokens.
    """
    if _has_one_token(x):
        return ops.layer_norm(x, scale, offset, epsilon)
    return _compiled_layer_norm(x, scale, offset, tf.constant(epsilon, scale.dtype))


@with_gradient
def _compiled_layer_norm(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    y, mean, inverse_deviation = _layer_norm(x, scale, offset, epsilon)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        # Separate kernels: a pass that does not train this layer's weights needs only dx.
        dx = _layer_norm_gradient(x, mean, inverse_deviation, scale, upstream)
        dscale = _sum_like(_normalized_times(x, mean, inverse_deviation, upstream), scale)
        return _differentiable_once(dx), _differentiable_once(dscale), _sum_like(upstream, scale), None

    return y, gradient


@with_gradient
def _differentiable_once(first_gradient: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Identity without a gradient: mean and deviation would count as constants, and the result would be wrong."""

    def gradient(*_: tf.Tensor) -> NoReturn:
        raise NotImplementedError(
            "second derivatives of layer_norm need its plain formula: use formulas.input_gradient"
        )

    return tf.identity(first_gradient), gradient


@_kernel
def _layer_norm(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    wide = as_float32(x)
    mean = _feature_mean(lambda x: x, wide)
    variance = _feature_mean(lambda x: tf.math.squared_difference(x, mean), wide)
    inverse_deviation = tf.math.rsqrt(variance + epsilon)
    return tf.cast((wide - mean) * inverse_deviation * scale + offset, x.dtype), mean, inverse_deviation


@_kernel
def _normalized_times(x: tf.Tensor, mean: tf.Tensor, inverse_deviation: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return tf.cast((as_float32(x) - mean) * inverse_deviation * as_float32(upstream), x.dtype)


@_kernel
def _layer_norm_gradient(
    x: tf.Tensor, mean: tf.Tensor, inverse_deviation: tf.Tensor, scale: tf.Tensor, upstream: tf.Tensor
) -> tf.Tensor:
    # With n the normalised x and g = upstream * scale: dx = (g - mean(g) - n * mean(g n)) / deviation.
    dtype, x, upstream = x.dtype, as_float32(x), as_float32(upstream)

    def g(scale: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        return upstream * scale

    def gn(x: tf.Tensor, scale: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        return upstream * scale * ((x - mean) * inverse_deviation)

    mean_g = _feature_mean(g, scale, upstream)
    mean_gn = _feature_mean(gn, x, scale, upstream)
    dx = inverse_deviation * (upstream * scale - mean_g - (x - mean) * inverse_deviation * mean_gn)
    return tf.cast(dx, dtype)


def _feature_mean(function: Callable[..., tf.Tensor], *tensors: tf.Tensor) -> tf.Tensor:
    """Mean of an element-wise function of tensors over the last axis, which is kept with size 1.

    XLA's CPU back end sums over the last axis one number at a time. Adding slices of it first uses vectors.
    """
    features = tensors[0].shape[-1]
    width = math.gcd(features, 32)
    parts = [function(*slices) for slices in zip(*(tf.split(x, features // width, axis=-1) for x in tensors))]
    while len(parts) > 1:  # pairwise summation keeps the rounding errors small
        pairs = [first + second for first, second in zip(parts[::2], parts[1::2])]
        parts = pairs + parts[2 * len(pairs) :]
    return tf.reduce_sum(parts[0], axis=-1, keepdims=True) / features


def _sum_like(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Sums x over the axes along which weights, (features,) or (batch, 1, features), are broadcast to it."""
    if weights.shape.rank > 1:
        return tf.cast(tf.reduce_sum(x, axis=1, keepdims=True), weights.dtype)
    if not is_narrow(x):
        return tf.raw_ops.BiasAddGrad(out_backprop=x)
    # As a product with ones, which is summed in float32.
    rows = tf.reshape(x, [-1, x.shape[-1]])
    return tf.cast(tf.squeeze(tf.matmul(tf.ones([1, rows.shape[0]], x.dtype), rows), 0), weights.dtype)
