"""StyleGAN2's synthesis network: feature maps to images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vitgan_tf.layers.convolution import ModulatedConv2D, activated
from vitgan_tf.layers.noise import add_fixed_noise, drawn_or_fixed
from vitgan_tf.layers.ops import as_float32
from vitgan_tf.layers.resampling import upsample, upsample_with_margin
from vitgan_tf.randomness import ImageRandom


class StyledConv2D(tf.keras.layers.Layer):
    """Layer of StyleGAN2's synthesis network: modulated 3 x 3 convolution, noise, bias, leaky ReLU.

    out = sqrt(2) * leaky_relu(conv(features, style) + strength * noise + b), slope 0.2
    (Karras et al. 2020, section 2.2 and figure 2. conv is a demodulated `ModulatedConv2D`. strength is a learned
    scalar, initially 0. noise is N(0, 1), one number per pixel, shared by all features.)

    With upsample, the features are first upsampled by 2 with a blur and a margin, which the convolution uses up.
    StyleGAN2's transposed convolution followed by the blur is the same linear map in another order.

    Call: (features (batch, height, width, in), style (batch, style_dim)) -> (batch, h, w, units). h and w are height
    and width, doubled with upsample. The spatial size is fixed at build time. random: random numbers of the images,
    from which per-image noise is drawn; None uses the layer's fixed noise, which is the same for all images and saved
    with the weights.

    Args:
      units: number of output features.
      upsample: whether to upsample the features by 2 first.

    Raises:
      ValueError: units is below 1.
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
        padding = "VALID" if self.upsample else "SAME"
        self.convolution = ModulatedConv2D(self.units, padding=padding, name="convolution", dtype=self.dtype_policy)
        self.convolution.build([(batch_size, height, width, fan_in), style_shape])
        self.noise_strength = self.add_weight(
            name="noise_strength", shape=(), initializer="zeros", experimental_autocast=False
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.units,), initializer="zeros", experimental_autocast=False
        )
        self.fixed_noise = add_fixed_noise(self, height, width)
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], random: ImageRandom | None = None) -> tf.Tensor:
        features, style = inputs
        if self.upsample:
            features = upsample_with_margin(features)
        outputs = self.convolution((features, style))
        noise = drawn_or_fixed(self.fixed_noise, random)
        wide = as_float32(outputs) + noise * self.noise_strength + self.bias
        return tf.cast(activated(wide), outputs.dtype)


class ToImage(tf.keras.layers.Layer):
    """Maps features to colours by a modulated 1 x 1 convolution without demodulation.

    out = conv(features, style) + b      (StyleGAN2's tRGB, Karras et al. 2020, figures 2 and 7)

    Call: (features (batch, height, width, in), style (batch, style_dim)) -> (batch, height, width, num_channels).

    Args:
      num_channels: number of colour channels.

    Raises:
      ValueError: num_channels is below 1.
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
    """StyleGAN2's synthesis network from a feature map to images      (Karras et al. 2020, figure 7)

    One styled convolution at the resolution of the feature map, then two at each doubled resolution up to that of the
    image. Each resolution adds its own image to the upsampled previous one (section 4.1, "output skips"). Every
    convolution has its own style. The to-image layer of a resolution shares the style of the next resolution's first
    convolution; the last to-image layer has its own.

    Call: (features (batch, size, size, in), styles (batch, num_styles, style_dim)) -> images (batch, image_size,
    image_size, num_channels), image_size = size * 2^(len(units) - 1). random: as in `StyledConv2D`.

    Args:
      units: number of features at each resolution, lowest first.
      num_channels: number of colour channels.

    Raises:
      ValueError: units is empty, or an argument is below 1.
    """

    def __init__(self, units: Sequence[int], num_channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        if not units or min(*units, num_channels) < 1:
            raise ValueError(f"units must not be empty, all sizes must be at least 1, got {units}, {num_channels}")
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

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], random: ImageRandom | None = None) -> tf.Tensor:
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
