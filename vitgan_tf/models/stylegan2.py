"""StyleGAN2 at the paper's resolutions: a baseline, and partner of the ViT networks in hybrids."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from vitgan_tf.layers.convolution import EqualizedConv2D, activated
from vitgan_tf.layers.equalized import EqualizedDense
from vitgan_tf.layers.minibatch import MinibatchStandardDeviation
from vitgan_tf.layers.synthesis import StyledSynthesis
from vitgan_tf.models.contrad import Contrast, head
from vitgan_tf.models.mapping import MappingNetwork
from vitgan_tf.models.style_generator import StyleGenerator
from vitgan_tf.randomness import ImageRandom

LOWEST_RESOLUTION = 4


def _features(image_size: int, channel_base: int, channel_max: int) -> dict[int, int]:
    """Returns the number of features per resolution, 4 to image_size: min(channel_base / resolution, channel_max)."""
    if channel_max < 1 or channel_base < image_size:
        raise ValueError(
            f"channel_max must be at least 1 and channel_base at least image_size {image_size}, "
            f"got {channel_max} and {channel_base}"
        )
    if image_size < 2 * LOWEST_RESOLUTION or image_size & (image_size - 1):
        raise ValueError(f"image_size must be a power of 2 of at least {2 * LOWEST_RESOLUTION}, got {image_size}")
    resolutions = (2**exponent for exponent in range(2, image_size.bit_length()))
    return {resolution: min(channel_base // resolution, channel_max) for resolution in resolutions}


class StyleGAN2Generator(StyleGenerator):
    """StyleGAN2's generator with output skips      (Karras et al. 2020, figure 7; sizes as in StyleGAN2-ADA)

    w = mapping(z);   images = synthesis(constant, w): one styled convolution at 4 x 4, then two per resolution, see
    `StyledSynthesis`. Features at resolution r: min(channel_base / r, channel_max).

    Call: as `StyleGenerator`.

    Args:
      image_size: edge of the images in pixels; a power of 2, at least 8.
      num_channels: number of colour channels.
      latent_dim: size of z.
      style_dim: size of w.
      channel_base: number of features times resolution.
      channel_max: maximum number of features.
      mapping_layers: number of layers of the mapping network.
      mapping_lr_multiplier: relative learning rate of the mapping network.

    Raises:
      ValueError: image_size is not a power of 2 or is below 8, channel_base is below image_size, or channel_max is
        below 1.
    """

    def __init__(
        self,
        image_size: int,
        num_channels: int,
        latent_dim: int = 512,
        style_dim: int = 512,
        channel_base: int = 32_768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_size = image_size
        self.num_channels = num_channels
        self.latent_dim = latent_dim
        self.style_dim = style_dim
        units = list(_features(image_size, channel_base, channel_max).values())
        self.mapping = MappingNetwork(
            style_dim, mapping_layers, mapping_lr_multiplier, name="mapping", dtype=self.variable_dtype
        )
        self.synthesis = StyledSynthesis(units, num_channels, name="synthesis")

    @property
    def num_styles(self) -> int:
        """Number of places that can have their own style: every convolution, and the last to-image layer."""
        return self.synthesis.num_styles

    renders_at_any_scale = False

    @property
    def has_noise(self) -> bool:
        return True

    def build(self, input_shape: Any) -> None:
        size, units = LOWEST_RESOLUTION, self.synthesis.units[0]
        self.mapping.build(input_shape)
        self.constant = self.add_weight(
            name="constant",
            shape=(1, size, size, units),
            initializer=tf.keras.initializers.RandomNormal(stddev=1.0),
            experimental_autocast=False,
        )
        self.synthesis.build(((None, size, size, units), (None, self.num_styles, self.style_dim)))
        self.built = True

    def synthesize(self, styles: tf.Tensor, random: ImageRandom | None = None) -> tf.Tensor:
        styles = self.styles_by_place(styles)
        batch_size = tf.shape(styles)[0] if styles.shape[0] is None else styles.shape[0]
        features = tf.tile(tf.cast(self.constant, self.compute_dtype), [batch_size, 1, 1, 1])
        images = self.synthesis((features, styles), random=random)
        return tf.cast(images, self.variable_dtype)


class ResidualBlock(tf.keras.layers.Layer):
    """Block of StyleGAN2's residual discriminator that halves the resolution      (Karras et al. 2020, figure 7)

    out = (conv_down(conv(x)) + skip(x)) / sqrt(2); the convolutions are 3 x 3 with activation, the skip is 1 x 1 and
    linear.

    Call: (batch, height, width, in) -> (batch, height / 2, width / 2, units).

    Args:
      units: number of output features.
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.convolution = EqualizedConv2D(input_shape[-1], name="convolution")
        self.downsampling = EqualizedConv2D(self.units, downsample=True, name="downsampling")
        self.skip = EqualizedConv2D(
            self.units, kernel_size=1, downsample=True, use_bias=False, activation="linear", name="skip"
        )
        for layer in (self.convolution, self.downsampling, self.skip):
            layer.build(input_shape)
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        details = self.downsampling(self.convolution(features))
        return (details + self.skip(features)) * math.sqrt(0.5)


class StyleGAN2Discriminator(tf.keras.Model):
    """StyleGAN2's residual discriminator      (Karras et al. 2020, figure 7; sizes as in StyleGAN2-ADA)

    A 1 x 1 convolution, one `ResidualBlock` per resolution down to 4 x 4, minibatch standard deviation, a convolution
    and two linear layers. Features at resolution r: min(channel_base / r, channel_max).

    Call: images (batch, image_size, image_size, num_channels) in [-1, 1] -> logits (batch,), no sigmoid. A logit
    depends on all images of its group, see `MinibatchStandardDeviation`.

    Args:
      image_size: edge of the images in pixels; a power of 2, at least 8.
      num_channels: number of colour channels.
      channel_base: number of features times resolution.
      channel_max: maximum number of features.
      group_size: number of images per group, at least 1.
      contrad_units: hidden width of a `ContraDHead` in the place of both linear layers; 0 for none.

    Raises:
      ValueError: image_size is not a power of 2 or is below 8, channel_base is below image_size, or channel_max or
        group_size is below 1.
    """

    def __init__(
        self,
        image_size: int,
        num_channels: int,
        channel_base: int = 32_768,
        channel_max: int = 512,
        group_size: int = 4,
        contrad_units: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        features = _features(image_size, channel_base, channel_max)
        self.image_size = image_size
        self.num_channels = num_channels
        self.group_size = group_size
        self.from_image = EqualizedConv2D(features[image_size], kernel_size=1, name="from_image")
        self.blocks = [
            ResidualBlock(features[resolution // 2], name=f"block_{resolution}")
            for resolution in sorted(features, reverse=True)[:-1]
        ]
        self.deviation = MinibatchStandardDeviation(group_size, name="deviation")
        self.convolution = EqualizedConv2D(features[LOWEST_RESOLUTION], name="convolution")
        # Logits and the sums they are computed from are float32.
        self.hidden = None
        if not contrad_units:
            self.hidden = EqualizedDense(features[LOWEST_RESOLUTION], name="hidden", dtype=self.variable_dtype)
        self.head = head(contrad_units, name="head", dtype=self.variable_dtype)

    def build(self, input_shape: Any) -> None:
        size = self.image_size
        self.from_image.build((None, size, size, self.num_channels))
        features = self.from_image.units
        for block in self.blocks:
            block.build((None, size, size, features))
            size, features = size // 2, block.units
        self.convolution.build((None, size, size, features + 1))
        units = size * size * features
        if self.hidden is not None:
            self.hidden.build((None, units))
            units = features
        self.head.build((None, units))
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        features = self.representation(images)
        return self.head(features if self.hidden is None else activated(self.hidden(features)))[:, 0]

    def contrast(self, images: tf.Tensor) -> Contrast:
        """Computes the outputs of the `ContraDHead`."""
        return self.head.contrast(self.representation(images))

    def representation(self, images: tf.Tensor) -> tf.Tensor:
        """Computes the last convolution's features: images -> (batch, 16 times their number)."""
        features = self.from_image(images)
        for block in self.blocks:
            features = block(features)
        features = self.convolution(self.deviation(features))
        return tf.reshape(features, [-1, math.prod(features.shape[1:])])
