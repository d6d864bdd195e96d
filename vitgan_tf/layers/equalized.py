"""Linear layer with equalised learning rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from vitgan_tf.layers.formulas import bias_act, product, product_of_activation
from vitgan_tf.layers.ops import as_rows


def equalized_kernel_initializer(lr_multiplier: float = 1.0) -> tf.keras.initializers.Initializer:
    """N(0, 1) / lr_multiplier: initial values of every equalised kernel, which is scaled at use."""
    return tf.keras.initializers.RandomNormal(stddev=1.0 / lr_multiplier)


def linear(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor | None = None,
    scale: tf.Tensor | float = 1.0,
    kernel_is_transposed: bool = False,
    input_activation: tuple[tf.Tensor, str] | None = None,
) -> tf.Tensor:
    """inputs (kernel * scale) + bias -> (..., units), as one two-dimensional product.

    A batched product would compute the kernel's gradient per batch entry and sum afterwards. 16-bit inputs give
    16-bit outputs; the kernel is scaled in float32, then rounded once.

    Args:
      inputs: (..., fan_in).
      kernel: (fan_in, units), float32; with kernel_is_transposed, (units, fan_in).
      bias: (units,), not scaled; None for no bias.
      scale: scalar factor of the kernel.
      kernel_is_transposed: see kernel.
      input_activation: bias (fan_in,) and activation that the inputs go through first; None for none.
    """
    if input_activation is None:
        outputs = product(as_rows(inputs), kernel, scale, kernel_is_transposed)
    else:
        outputs = product_of_activation(inputs, *input_activation, kernel, scale, kernel_is_transposed)
    outputs = outputs if bias is None else bias_act(outputs, bias)
    if inputs.shape.rank == 2:
        return outputs
    lead = [tf.shape(inputs)[i] if size is None else size for i, size in enumerate(inputs.shape[:-1])]
    return tf.reshape(outputs, [*lead, outputs.shape[-1]])


class EqualizedDense(tf.keras.layers.Layer):
    """Linear layer with equalised learning rate: weights learn at the same speed whatever the fan-in.

    y = x (W * m / sqrt(fan_in)) + m * b,   W ~ N(0, 1) / m initially,   m = lr_multiplier
    (Karras et al. 2018, section 4.1; multiplier after Karras et al. 2019, appendix C.)

    Initially, inputs of unit variance give outputs of unit variance. Adam's step does not depend on the scale of the
    gradient, so W, which has variance 1 in every layer, moves by the same relative amount in every layer. A
    multiplier below 1 slows the layer down by that factor.

    Call: (..., fan_in) -> (..., units).

    Args:
      units: number of output features.
      use_bias: whether to add a learned bias.
      bias_initial_value: initial value of the bias as applied (after the multiplier), a number or (units,).
      lr_multiplier: m above.

    Raises:
      ValueError: units is below 1 or lr_multiplier is not positive.
    """

    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        bias_initial_value: float | np.ndarray = 0.0,
        lr_multiplier: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        if lr_multiplier <= 0:
            raise ValueError(f"lr_multiplier must be positive, got {lr_multiplier}")
        self.units = units
        self.use_bias = use_bias
        self.bias_initial_value = bias_initial_value
        self.lr_multiplier = lr_multiplier

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=equalized_kernel_initializer(self.lr_multiplier),
            experimental_autocast=False,
        )
        self.bias = None
        if self.use_bias:
            initial_value = tf.keras.initializers.Constant(self.bias_initial_value / self.lr_multiplier)
            self.bias = self.add_weight(
                name="bias", shape=(self.units,), initializer=initial_value, experimental_autocast=False
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        bias, scale = self.bias, self.lr_multiplier / math.sqrt(self.kernel.shape[0])
        if bias is not None and self.lr_multiplier != 1.0:
            bias = bias * self.lr_multiplier
        return linear(inputs, self.kernel, bias, scale)
