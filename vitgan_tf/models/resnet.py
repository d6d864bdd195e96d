"""ResNet discriminator of spectrally normalised GANs, paired with the ViT generator in the paper's hybrids."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.layers.spectral import ISNConv2D, ISNDense

LOWEST_RESOLUTION = 8
BLOCKS_AT_LOWEST = 2


class ResNetBlock(tf.keras.layers.Layer):
    """Pre-activated residual block of a discriminator      (Miyato et al. 2018, figure 8 and table 3)

    out = pool(conv(relu(conv(relu(x))))) + pool(skip(x))

    pool is the mean of 2 x 2 pixels with downsample, else the identity. skip is a 1 x 1 convolution if the number of
    features or the resolution changes, else the identity. The first block of a network, whose input is the image,
    has no first ReLU; the original pools there before the skip, which is equivalent.

    Call: (batch, height, width, in) -> (batch, h, w, width). h and w are height and width, halved with downsample.

    Args:
      width: number of output features.
      downsample: whether to halve the resolution.
      is_first: whether this is the first block of the network.
      spectral_norm: normalisation of the convolutions, see `ISNConv2D`.
    """

    def __init__(
        self, width: int, downsample: bool, is_first: bool = False, spectral_norm: str = "sn", **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.width = width
        self.downsample = downsample
        self.is_first = is_first
        self.spectral_norm = spectral_norm

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        self.first = ISNConv2D(self.width, normalization=self.spectral_norm, name="first")
        self.first.build(input_shape)
        self.second = ISNConv2D(self.width, normalization=self.spectral_norm, name="second")
        self.second.build((*input_shape[:-1], self.width))
        self.skip = None
        if self.downsample or features != self.width:
            self.skip = ISNConv2D(self.width, kernel_size=1, normalization=self.spectral_norm, name="skip")
            self.skip.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        features = self.first(inputs if self.is_first else tf.nn.relu(inputs))
        features = self.second(tf.nn.relu(features))
        if self.downsample:
            # The 1 x 1 convolution commutes with the mean; after it, it takes a quarter of the work.
            inputs, features = (tf.nn.avg_pool2d(part, 2, 2, "VALID") for part in (inputs, features))
        return features + (inputs if self.skip is None else self.skip(inputs))


class ResNetDiscriminator(tf.keras.Model):
    """Discriminator of spectrally normalised GANs      (Miyato et al. 2018, table 3)

    Blocks that halve the resolution down to 8 x 8 (at least one), two blocks that keep it, ReLU, sum over all pixels,
    linear layer. At 32 x 32, this is their CIFAR-10 network. Their wider networks for larger images are not
    implemented.

    Call: images (batch, image_size, image_size, num_channels) in [-1, 1] -> logits (batch,), no sigmoid.

    Args:
      image_size: edge of the images in pixels; a power of 2, at least 8.
      num_channels: number of colour channels.
      width: number of features of every block.
      spectral_norm: normalisation of all layers, "sn", "isn" or "none", see `ISNConv2D`.

    Raises:
      ValueError: image_size is not a power of 2 or is below 8.
    """

    def __init__(
        self, image_size: int, num_channels: int, width: int = 128, spectral_norm: str = "sn", **kwargs: Any
    ):
        super().__init__(**kwargs)
        if image_size < LOWEST_RESOLUTION or image_size & (image_size - 1):
            raise ValueError(f"image_size must be a power of 2 of at least {LOWEST_RESOLUTION}, got {image_size}")
        self.image_size = image_size
        self.num_channels = num_channels
        self.width = width
        self.spectral_norm = spectral_norm
        halvings = max(1, (image_size // LOWEST_RESOLUTION).bit_length() - 1)
        self.blocks = [
            ResNetBlock(width, index < halvings, index == 0, spectral_norm, name=f"block_{index}")
            for index in range(halvings + BLOCKS_AT_LOWEST)
        ]
        # Logits and the sums they are computed from are float32.
        self.head = ISNDense(1, normalization=spectral_norm, name="head", dtype=self.variable_dtype)

    def build(self, input_shape: Any) -> None:
        size, features = self.image_size, self.num_channels
        for block in self.blocks:
            block.build((None, size, size, features))
            size, features = size // (2 if block.downsample else 1), self.width
        self.head.build((None, self.width))
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        features = images
        for block in self.blocks:
            features = block(features)
        pixels = tf.cast(tf.nn.relu(features), self.variable_dtype)
        return self.head(tf.reduce_sum(pixels, axis=[1, 2]))[:, 0]
