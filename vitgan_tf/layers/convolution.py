"""StyleGAN2's convolution layers."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from vitgan_tf.layers.equalized import EqualizedDense, equalized_kernel_initializer
from vitgan_tf.layers.ops import as_float32
from vitgan_tf.layers.resampling import blur, downsample


class EqualizedConv2D(tf.keras.layers.Layer):
    """Convolution with equalised learning rate and StyleGAN2's activation (Karras et al. 2020, figure 7).

    out = sqrt(2) * leaky_relu(conv(features, W / sqrt(kernel_size^2 in)) + b), slope 0.2;   W ~ N(0, 1) at the start

    With downsample, a 3 x 3 kernel is a `blur` followed by a stride-2 convolution; a 1 x 1 kernel is applied after
    `downsample`. Padding is with zeros.

    Call: features (batch, height, width, in) -> (batch, h, w, units). h and w are height and width, halved with
    downsample.

    Args:
      units: number of output features.
      kernel_size: edge of the kernel in pixels, odd; with downsample, 1 or 3.
      downsample: whether to halve the resolution.
      use_bias: whether to add a learned bias, initially 0.
      activation: "leaky_relu" as above, or "linear".

    Raises:
      ValueError: units is below 1, or kernel_size or activation is not one of the above.
    """

    def __init__(
        self,
        units: int,
        kernel_size: int = 3,
        downsample: bool = False,
        use_bias: bool = True,
        activation: str = "leaky_relu",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        if kernel_size < 1 or kernel_size % 2 == 0 or (downsample and kernel_size > 3):
            raise ValueError(f"kernel_size must be odd, and 1 or 3 with downsample, got {kernel_size}")
        if activation not in ("leaky_relu", "linear"):
            raise ValueError(f"activation must be 'leaky_relu' or 'linear', got {activation!r}")
        self.units = units
        self.kernel_size = kernel_size
        self.downsample = downsample
        self.use_bias = use_bias
        self.activation = activation

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.units),
            initializer=equalized_kernel_initializer(),
            experimental_autocast=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.units,), initializer="zeros", experimental_autocast=False
            )
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self.kernel * (1.0 / math.sqrt(math.prod(self.kernel.shape[:-1]))), features.dtype)
        if self.downsample and self.kernel_size == 3:
            outputs = tf.nn.conv2d(blur(features), kernel, strides=2, padding="VALID")
        else:
            features = downsample(features) if self.downsample else features
            outputs = tf.nn.conv2d(features, kernel, strides=1, padding="SAME")
        if self.use_bias:
            outputs += tf.cast(self.bias, outputs.dtype)
        return activated(outputs) if self.activation == "leaky_relu" else outputs


def activated(features: tf.Tensor) -> tf.Tensor:
    """Applies StyleGAN2's activation: leaky ReLU with slope 0.2 and gain sqrt(2)."""
    return math.sqrt(2.0) * tf.nn.leaky_relu(features, 0.2)


class ModulatedConv2D(tf.keras.layers.Layer):
    """Convolution with style-modulated weights, one style per image, without a bias.

    s = affine(style), bias initially 1;   W' = diag(s) W;
    W'' = W' / sqrt(sum_{kh,kw,in} W'^2 + 1e-8);   out = features * W'', zero-padded or not
    (Karras et al. 2020, section 2.2, Eq. 1 to 3. W is an equalised kernel: drawn from N(0, 1), divided by
    sqrt(kernel_size^2 in) at use. The division by the square root, called demodulation, is optional.)

    W' is not computed per image: the style scales the inputs and demodulation the outputs of one convolution with W.
    The sum over kh and kw in the demodulation does not depend on the style.

    Call: (features (batch, height, width, in), style (batch, style_dim)) -> (batch, height, width, units); with
    padding="VALID", height and width shrink by kernel_size - 1.

    Args:
      units: number of output features.
      kernel_size: edge of the kernel in pixels, odd.
      demodulate: whether to normalise the modulated weights.
      padding: "SAME" for zeros outside the image, or "VALID".

    Raises:
      ValueError: units is below 1, or kernel_size is not a positive odd number.
    """

    def __init__(
        self, units: int, kernel_size: int = 3, demodulate: bool = True, padding: str = "SAME", **kwargs: Any
    ):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {kernel_size}")
        self.units = units
        self.kernel_size = kernel_size
        self.demodulate = demodulate
        self.padding = padding

    def build(self, input_shape: Any) -> None:
        features_shape, style_shape = input_shape
        fan_in = features_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, fan_in, self.units),
            initializer=equalized_kernel_initializer(),
            experimental_autocast=False,
        )
        self.affine = EqualizedDense(fan_in, bias_initial_value=1.0, name="affine", dtype=self.dtype_policy)
        self.affine.build(style_shape)
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        features, style = inputs
        kernel = self.kernel * (1.0 / math.sqrt(math.prod(self.kernel.shape[:-1])))
        scale = self.affine(style)  # (batch, in)
        scaled = features * scale[:, None, None, :]
        outputs = tf.nn.conv2d(scaled, tf.cast(kernel, scaled.dtype), strides=1, padding=self.padding)
        if not self.demodulate:
            return outputs
        energy = tf.reduce_sum(tf.square(kernel), axis=[0, 1])  # (in, units)
        demodulation = tf.math.rsqrt(tf.matmul(tf.square(as_float32(scale)), energy) + 1e-8)  # (batch, units)
        return tf.cast(as_float32(outputs) * demodulation[:, None, None, :], outputs.dtype)
