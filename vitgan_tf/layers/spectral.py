"""Linear layer and convolution with (improved) spectral normalisation."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import tensorflow as tf

from vitgan_tf.config.choices import NORMALIZATIONS
from vitgan_tf.layers.equalized import equalized_kernel_initializer, linear
from vitgan_tf.layers.formulas import bias_act

# From this size on, Lanczos iteration is faster than a full eigendecomposition.
_LANCZOS_SIZE = 64
# `factors` by layer inside `kernel_factors_together`. Thread-local, because strategies trace each replica in its own
# thread.
_together = threading.local()


def leading_singular_triplet(matrix: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Returns (left vector, value, right vector) of the largest singular value of a real matrix, in float64."""
    matrix = np.asarray(matrix, np.float64)
    if matrix.shape[0] > matrix.shape[1]:
        right, sigma, left = leading_singular_triplet(matrix.T)
        return left, sigma, right
    size, gram = matrix.shape[0], matrix @ matrix.T
    if size < _LANCZOS_SIZE:
        left = scipy.linalg.eigh(gram, subset_by_index=[size - 1, size - 1])[1][:, 0]
    else:
        left = scipy.sparse.linalg.eigsh(gram, k=1, v0=np.ones(size))[1][:, 0]
    right = matrix.T @ left
    sigma = float(np.linalg.norm(right))
    return left, sigma, right / sigma


class ISNDense(tf.keras.layers.Layer):
    """Equalised linear layer whose spectral norm is held at its initial value.

    W_ISN = sigma(W_init) * W / sigma(W),    y = x W_ISN + b        (paper, "Improved Spectral Normalization")

    W is the equalised kernel: `kernel`, drawn from N(0, 1), divided by sqrt(fan_in). sigma(W), its largest singular
    value, comes from one power iteration on a persistent vector u, which `move_power_iterations` advances once per
    training step (Miyato et al. 2018, algorithm 1). Gradients flow through sigma(W) but not through u and v. u is
    initialised to the leading singular vector of W_init, so that W_ISN = W initially. sigma(W_init)
    (`initial_sigma`) and u are non-trainable weights and saved with the layer.

    The kernel itself is never overwritten. `tf.keras.layers.SpectralNormalization` and its tensorflow-addons
    counterpart overwrite it, so that no gradient passes through sigma.

    Call: (..., fan_in) -> (..., units): gain * y + offset + residual, all three optional. offset and residual
    broadcast to the outputs; they need a bias. adds_bias=False leaves out b. With input_activation=(bias, name), x is
    activation(inputs + bias).

    Args:
      units: number of output features.
      use_bias: whether to add a learned bias, initially 0.
      normalization: "isn" as above; "sn" for plain spectral normalisation, W / sigma(W); "none" for a plain
        equalised layer.

    Raises:
      ValueError: units is below 1 or normalization is unknown.
    """

    def __init__(self, units: int, use_bias: bool = True, normalization: str = "isn", **kwargs: Any):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization must be one of {NORMALIZATIONS}, got {normalization!r}")
        self.units = units
        self.use_bias = use_bias
        self.normalization = normalization

    def build(self, input_shape: Any) -> None:
        fan_in = input_shape[-1]
        # Drawn here rather than by add_weight, because u and initial_sigma depend on the values.
        kernel = equalized_kernel_initializer()((fan_in, self.units)).numpy()
        self.kernel = self.add_weight(
            name="kernel",
            shape=kernel.shape,
            initializer=tf.keras.initializers.Constant(kernel),
            experimental_autocast=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.units,), initializer="zeros", experimental_autocast=False
            )
        if self.normalization != "none":
            _, sigma, u = leading_singular_triplet(kernel)
            initial_sigma = sigma / math.sqrt(fan_in) if self.normalization == "isn" else 1.0
            self.u = self._add_state("u", u[None])
            self.initial_sigma = self._add_state("initial_sigma", np.asarray(initial_sigma))
        super().build(input_shape)

    def _add_state(self, name: str, value: np.ndarray) -> tf.Variable:
        # All replicas compute the same value from the same kernel, so any copy may be kept.
        return self.add_weight(
            name=name,
            shape=value.shape,
            initializer=tf.keras.initializers.Constant(value),
            trainable=False,
            experimental_autocast=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def power_iteration(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs one power iteration on `kernel`, starting from the stored u; does not assign u.

        Returns:
          sigma(kernel), a scalar differentiable with respect to the kernel, and the new u, (1, units).
        """
        ((_, sigma, u),) = _power_iterations([self])
        return sigma[0], u[0]

    def applied_kernel(self) -> tf.Tensor:
        """Returns W_ISN, the matrix that multiplies the inputs, (fan_in, units)."""
        return self.kernel * self._kernel_factor()

    def _kernel_factor(self) -> tf.Tensor | float:
        """Returns the scalar W_ISN / `kernel`."""
        if self.normalization == "none":
            return 1.0 / math.sqrt(self.kernel.shape[0])
        factors = getattr(_together, "factors", {})
        return (factors if id(self) in factors else _kernel_factors([self]))[id(self)]

    def call(
        self,
        inputs: tf.Tensor,
        gain: float = 1.0,
        offset: tf.Tensor | None = None,
        residual: tf.Tensor | None = None,
        adds_bias: bool = True,
        input_activation: tuple[tf.Tensor, str] | None = None,
    ) -> tf.Tensor:
        bias, scale = self.bias if adds_bias else None, self._kernel_factor() * gain
        if bias is not None and gain != 1.0:
            bias = bias * gain
        if offset is residual is None:
            return linear(inputs, self.kernel, bias, scale, input_activation=input_activation)
        outputs = linear(inputs, self.kernel, scale=scale, input_activation=input_activation)
        return bias_act(outputs, bias if offset is None else offset + bias, residual=residual)


class ISNConv2D(ISNDense):
    """Equalised convolution with (improved) spectral normalisation and zero padding.

    The kernel is normalised as a matrix (kernel_size^2 in, units), as in Miyato et al. 2018. Its norm bounds that of
    the convolution up to a factor of kernel_size. Otherwise like `ISNDense`.

    Call: (batch, height, width, in) -> (batch, height, width, units).

    Args:
      units: number of output features.
      kernel_size: edge of the kernel in pixels.
      use_bias: whether to add a learned bias, initially 0.
      normalization: "isn", "sn" or "none", see `ISNDense`.

    Raises:
      ValueError: units or kernel_size is below 1, or normalization is unknown.
    """

    def __init__(
        self, units: int, kernel_size: int = 3, use_bias: bool = True, normalization: str = "isn", **kwargs: Any
    ):
        super().__init__(units, use_bias, normalization, **kwargs)
        if kernel_size < 1:
            raise ValueError(f"kernel_size must be at least 1, got {kernel_size}")
        self.kernel_size = kernel_size

    def build(self, input_shape: Any) -> None:
        super().build((None, self.kernel_size**2 * input_shape[-1]))

    # Convolutions take nothing else.
    def call(self, inputs: tf.Tensor) -> tf.Tensor:  # type: ignore[override]
        shape = [self.kernel_size, self.kernel_size, inputs.shape[-1], self.units]
        kernel = tf.reshape(self.applied_kernel(), shape)
        outputs = tf.nn.conv2d(inputs, tf.cast(kernel, inputs.dtype), strides=1, padding="SAME")
        return outputs if self.bias is None else outputs + tf.cast(self.bias, outputs.dtype)


def normalized_layers(network: tf.keras.Model) -> list[ISNDense]:
    """Returns the spectrally normalised layers of a network."""
    return [layer for layer in network.submodules if isinstance(layer, ISNDense) and layer.normalization != "none"]


def move_power_iterations(layers: list[ISNDense]) -> None:
    """Advances every power iteration once; called once per training step."""
    for group, _, u in _power_iterations(layers):
        for layer, own_u in zip(group, tf.unstack(u)):
            layer.u.assign(own_u)


@contextlib.contextmanager
def kernel_factors_together(network: tf.keras.Model) -> Iterator[None]:
    """Computes the factors of all normalised kernels of a network at once, for the calls of its layers inside."""
    before = getattr(_together, "factors", {})
    _together.factors = {**before, **_kernel_factors(normalized_layers(network))}
    try:
        yield
    finally:
        _together.factors = before


def _kernel_factors(layers: list[ISNDense]) -> dict[int, tf.Tensor]:
    """Returns the scalar W_ISN / `kernel` of each layer, by the layer's id."""
    factors: dict[int, tf.Tensor] = {}
    for group, sigma, _ in _power_iterations(layers):
        of_group = tf.unstack(tf.stack([layer.initial_sigma for layer in group]) / sigma)
        factors.update(zip(map(id, group), of_group))
    return factors


def _power_iterations(layers: Iterable[ISNDense]) -> Iterator[tuple[list[ISNDense], tf.Tensor, tf.Tensor]]:
    """Runs one power iteration per layer; layers whose kernels have the same shape, (fan_in, units), are one batch.

    Yields:
      For each batch, the layers, their sigma(kernel), (layers,), and their new u, (layers, 1, units).
    """
    groups: dict[tuple[int, ...], list[ISNDense]] = {}
    for layer in layers:
        groups.setdefault(tuple(layer.kernel.shape), []).append(layer)
    for group in groups.values():
        kernels, u = tf.stack([layer.kernel for layer in group]), tf.stack([layer.u for layer in group])
        v = tf.math.l2_normalize(tf.matmul(u, kernels, transpose_b=True), axis=-1)  # (layers, 1, fan_in)
        v_kernels = tf.matmul(tf.stop_gradient(v), kernels)  # (layers, 1, units)
        u = tf.stop_gradient(tf.math.l2_normalize(v_kernels, axis=-1))
        yield group, tf.reduce_sum(v_kernels * u, axis=[1, 2]), u
