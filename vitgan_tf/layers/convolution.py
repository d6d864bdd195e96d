"""Convolution layers of StyleGAN2's networks, its blurred upsampling and downsampling, and one without a blur."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vitgan_tf.layers.equalized import EqualizedDense, equalized_kernel_initializer
from vitgan_tf.layers.ops import as_float32
from vitgan_tf.randomness import BatchRandom


def upsample(images: tf.Tensor) -> tf.Tensor:
    """Upsampling by 2 with the blur of StyleGAN2: upfirdn2d(images, filter, up=2, pad=(2, 1)).

    Zeros are put between the pixels and the filter [1, 3, 3, 1] is run along each axis, normalised to the sum 2.
    Every second product of this convolution is with such a zero; what remains is, zero outside the image,
    y[2 i] = x[i-1] / 4 + 3 x[i] / 4,   y[2 i + 1] = 3 x[i] / 4 + x[i+1] / 4      along each axis.

    Args:
      images: (batch, height, width, channels), of static shape but for the batch.

    Returns:
      (batch, 2 height, 2 width, channels).
    """
    return _resampled(images, up=2, padding=(2, 1))


def downsample(images: tf.Tensor) -> tf.Tensor:
    """Downsampling by 2 with the blur of StyleGAN2: upfirdn2d(images, filter, down=2, pad=(1, 1)).

    The filter [1, 3, 3, 1] / 8 is run along each axis, at every second pixel, zero outside the image:
    y[i] = (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8.

    Args:
      images: (batch, height, width, channels), of static shape but for the batch; height and width even.

    Returns:
      (batch, height / 2, width / 2, channels).
    """
    return _resampled(images, down=2, padding=(1, 1))


def blur(images: tf.Tensor) -> tf.Tensor:
    """The blur that comes before a convolution of stride 2: upfirdn2d(images, filter, pad=(2, 2)).

    Args:
      images: (batch, height, width, channels), of static shape but for the batch.

    Returns:
      (batch, height + 1, width + 1, channels).
    """
    return _resampled(images, padding=(2, 2))


def repeat_pixels(images: tf.Tensor, factor: int) -> tf.Tensor:
    """(batch, height, width, channels) -> (batch, factor height, factor width, channels): the nearest pixel."""
    return tf.repeat(tf.repeat(images, factor, axis=1), factor, axis=2)


def _resampled(images: tf.Tensor, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0)) -> tf.Tensor:
    """upfirdn2d with [1, 3, 3, 1] along each axis, as a product with a matrix.

    A sum of shifted images says the same, but on CPUs its gradient takes far longer.
    """
    height, width, channels = images.shape[1:]
    rows, columns = (
        _filter_matrix(size, up, down, padding).astype(images.dtype.as_numpy_dtype) for size in (height, width)
    )
    images = tf.matmul(rows, tf.reshape(images, [-1, height, width * channels]))
    images = tf.matmul(columns, tf.reshape(images, [-1, width, channels]))
    return tf.reshape(images, [-1, len(rows), len(columns), channels])


@functools.cache
def _filter_matrix(size: int, up: int, down: int, padding: tuple[int, int]) -> np.ndarray:
    """From the pixels of an axis to what the filter makes of them, (new size, size)."""
    taps = np.array([1.0, 3.0, 3.0, 1.0]) * (up / 8.0)
    new_size = (size * up + sum(padding) - len(taps)) // down + 1
    # The tap that meets each pixel, if any does.
    index = up * np.arange(size) + padding[0] - down * np.arange(new_size)[:, None]
    return np.where((index >= 0) & (index < len(taps)), taps[np.clip(index, 0, len(taps) - 1)], 0.0)


class EqualizedConv2D(tf.keras.layers.Layer):
    """Convolution with equalised learning rate, and StyleGAN2's activation (Karras et al. 2020, figure 7).

    out = sqrt(2) * leaky_relu(conv(features, W / sqrt(kernel_size^2 in)) + b), slope 0.2;   W ~ N(0, 1) at the start

    With downsample, the features are blurred and every second pixel is kept: `blur` and a convolution of stride 2;
    of a 1 x 1 kernel, `downsample` before it. Zeros are outside the image.

    Call: features (batch, height, width, in) -> (batch, h, w, units), h = height and w = width, or with downsample
    half of these.

    Args:
      units: number of output features.
      kernel_size: edge of the kernel in pixels; with downsample, 1 or 3.
      downsample: halve the resolution.
      use_bias: adds a learned bias, zero at the start.
      activation: "leaky_relu" as above, or "linear".

    Raises:
      ValueError: units below 1, another kernel_size or activation.
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
            raise ValueError(f"kernel_size must be odd, with downsample 1 or 3, got {kernel_size}")
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
    """StyleGAN2's activation: leaky ReLU of slope 0.2, times sqrt(2)."""
    return math.sqrt(2.0) * tf.nn.leaky_relu(features, 0.2)


class ModulatedConv2D(tf.keras.layers.Layer):
    """Convolution whose weights a style modulates, one style per image; without a bias.

    s = affine(style), its bias 1 at the start;   W' = diag(s) W;
    W'' = W' / sqrt(sum_{kh,kw,in} W'^2 + 1e-8);   out = features * W'', zeros outside the image
    (Karras et al. 2020, section 2.2, Eq. 1 to 3. W is an equalised kernel: N(0, 1), over
    sqrt(kernel_size^2 in) when it is used. The division, the demodulation of each output feature, is optional.)

    W' is never made for each image: the style scales the inputs, demodulation the outputs of one convolution
    with W, and the sum over kh and kw in the demodulation does not depend on the style.

    Call: (features (batch, height, width, in), style (batch, style_dim)) -> (batch, height, width, units).

    Args:
      units: number of output features.
      kernel_size: edge of the kernel in pixels.
      demodulate: normalise the modulated weights.

    Raises:
      ValueError: units below 1, or a kernel_size that is not a positive odd number.
    """

    def __init__(self, units: int, kernel_size: int = 3, demodulate: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {kernel_size}")
        self.units = units
        self.kernel_size = kernel_size
        self.demodulate = demodulate

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
        outputs = tf.nn.conv2d(scaled, tf.cast(kernel, scaled.dtype), strides=1, padding="SAME")
        if not self.demodulate:
            return outputs
        energy = tf.reduce_sum(tf.square(kernel), axis=[0, 1])  # (in, units)
        demodulation = tf.math.rsqrt(tf.matmul(tf.square(as_float32(scale)), energy) + 1e-8)  # (batch, units)
        return tf.cast(as_float32(outputs) * demodulation[:, None, None, :], outputs.dtype)


class StyledConv2D(tf.keras.layers.Layer):
    """One layer of StyleGAN2's synthesis network: modulated 3 x 3 convolution, noise, bias, leaky ReLU.

    out = sqrt(2) * leaky_relu(conv(features, style) + strength * noise + b), slope 0.2
    (Karras et al. 2020, section 2.2 and figure 2. conv is a demodulated `ModulatedConv2D`; strength is one number,
    0 at the start; noise is N(0, 1), one number per pixel which all features share.)

    With upsample=True the features are first upsampled by 2 with a blur. StyleGAN2 has a transposed convolution
    followed by the blur instead, which is the same linear operations in another order: the outputs are equal but
    for the outermost pixels.

    Call: (features (batch, height, width, in), style (batch, style_dim)) -> (batch, h, w, units), h = height and
    w = width, or with upsample twice these. The spatial size is fixed when the layer is built. random: random
    numbers of the images, from which each image's noise is drawn; None for the layer's own fixed noise, the same
    for all images, which is saved with the weights.

    Args:
      units: number of output features.
      upsample: upsample the features by 2 first.

    Raises:
      ValueError: units below 1.
    """

    def __init__(self, units: int, upsample: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        self.units = units
        self.upsample = upsample

    def build(self, input_shape: Any) -> None:
        (batch_size, height, width, fan_in), style_shape = input_shape
        factor = 2 if self.upsample else 1
        height, width = factor * height, factor * width
        self.convolution = ModulatedConv2D(self.units, name="convolution", dtype=self.dtype_policy)
        self.convolution.build([(batch_size, height, width, fan_in), style_shape])
        self.noise_strength = self.add_weight(
            name="noise_strength", shape=(), initializer="zeros", experimental_autocast=False
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.units,), initializer="zeros", experimental_autocast=False
        )
        # No replica ever changes it: any one of the copies may be kept.
        self.fixed_noise = self.add_weight(
            name="fixed_noise",
            shape=(1, height, width, 1),
            initializer=tf.keras.initializers.RandomNormal(stddev=1.0),
            trainable=False,
            experimental_autocast=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], random: BatchRandom | None = None) -> tf.Tensor:
        features, style = inputs
        if self.upsample:
            features = upsample(features)
        outputs = self.convolution((features, style))
        noise = self.fixed_noise
        if random is not None:
            noise = random.normal(*noise.shape[1:], dtype=noise.dtype)
        wide = as_float32(outputs) + noise * self.noise_strength + self.bias
        return tf.cast(activated(wide), outputs.dtype)


class ToImage(tf.keras.layers.Layer):
    """From features to the colours of pixels: modulated 1 x 1 convolution without demodulation.

    out = conv(features, style) + b      (StyleGAN2's tRGB, Karras et al. 2020, figures 2 and 7)

    Call: (features (batch, height, width, in), style (batch, style_dim)) -> (batch, height, width, num_channels).

    Args:
      num_channels: colour channels of the image.

    Raises:
      ValueError: num_channels below 1.
    """

    def __init__(self, num_channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        if num_channels < 1:
            raise ValueError(f"num_channels must be at least 1, got {num_channels}")
        self.num_channels = num_channels

    def build(self, input_shape: Any) -> None:
        self.convolution = ModulatedConv2D(
            self.num_channels, kernel_size=1, demodulate=False, name="convolution", dtype=self.dtype_policy
        )
        self.convolution.build(input_shape)
        self.bias = self.add_weight(name="bias", shape=(self.num_channels,), initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return self.convolution(inputs) + self.bias


class StyledSynthesis(tf.keras.layers.Layer):
    """From a map of features to images, by StyleGAN2's synthesis network      (Karras et al. 2020, figure 7)

    A styled convolution at the resolution of the map; then, until it is that of the image, two more at twice the
    resolution. Each resolution adds an image of its own to the upsampled one before (section 4.1, "output skips").
    Every convolution has a style of its own. The layer that makes a resolution's image shares that of the first
    convolution of the next one; at the last resolution it has one of its own.

    Call: (features (batch, size, size, in), styles (batch, num_styles, style_dim)) -> images (batch, image_size,
    image_size, num_channels), image_size = size * 2^(len(units) - 1). random: as in `StyledConv2D`.

    Args:
      units: features of the convolutions at each resolution, from the lowest on.
      num_channels: colour channels of the image.

    Raises:
      ValueError: no resolution, or an argument below 1.
    """

    def __init__(self, units: Sequence[int], num_channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        if not units or min(*units, num_channels) < 1:
            raise ValueError(f"units and num_channels must be at least 1, got {units}, {num_channels}")
        self.units = tuple(units)
        self.num_channels = num_channels
        self.num_styles = 2 * len(self.units)

    def build(self, input_shape: Any) -> None:
        (batch_size, size, _, features), styles_shape = input_shape
        style_shape = (batch_size, styles_shape[-1])
        self.convolutions: list[StyledConv2D] = []
        self.to_images: list[ToImage] = []
        for resolution, units in enumerate(self.units):
            if resolution > 0:
                self._add_convolution(units, (batch_size, size, size, features), style_shape, upsample=True)
                size, features = 2 * size, units
            self._add_convolution(units, (batch_size, size, size, features), style_shape)
            features = units
            to_image = ToImage(self.num_channels, name=f"to_image_{size}", dtype=self.dtype_policy)
            to_image.build([(batch_size, size, size, features), style_shape])
            self.to_images.append(to_image)
        super().build(input_shape)

    def _add_convolution(self, units: int, features_shape: tuple, style_shape: tuple, upsample: bool = False) -> None:
        size = features_shape[1]
        name = f"upsampling_{2 * size}" if upsample else f"convolution_{size}"
        layer = StyledConv2D(units, upsample=upsample, name=name, dtype=self.dtype_policy)
        layer.build([features_shape, style_shape])
        self.convolutions.append(layer)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], random: BatchRandom | None = None) -> tf.Tensor:
        features, styles = inputs
        styles = tf.unstack(styles, axis=1)
        images = None
        to_images = iter(self.to_images)
        for index, convolution in enumerate(self.convolutions):
            noise = None if random is None else random.fork(index)
            features = convolution((features, styles[index]), random=noise)
            if convolution.upsample:
                continue  # the second convolution of this resolution follows
            details = next(to_images)((features, styles[index + 1]))
            images = details if images is None else upsample(images) + details
        return images
