"""BigGAN's unconditional generator, a baseline of the paper; its discriminator is in `models.resnet`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.layers.normalization import BatchNorm
from vitgan_tf.layers.resampling import repeat_pixels
from vitgan_tf.layers.spectral import ISNConv2D, ISNDense
from vitgan_tf.models.style_generator import StyleGenerator
from vitgan_tf.randomness import ImageRandom

LOWEST_RESOLUTION = 4


class ConditionalBatchNorm(tf.keras.layers.Layer):
    """Batch normalisation with gain and offset linear in a chunk of z      (Brock et al. 2019, appendix B)

    out = (1 + z W_g) (x - mean) / sqrt(variance + epsilon) + z W_b

    mean and variance come from `BatchNorm`: batch statistics with use_batch_statistics, else moving averages. W_g and
    W_b have spectral norm 1.

    Call: (features (batch, height, width, units), z (batch, chunk_dim)) -> shape of features.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        features_shape, latents_shape = input_shape
        self.norm = BatchNorm(epsilon=self.epsilon, name="norm")
        self.norm.build(features_shape)
        self.gain, self.offset = (
            ISNDense(features_shape[-1], use_bias=False, normalization="sn", name=name) for name in ("gain", "offset")
        )
        self.gain.build(latents_shape)
        self.offset.build(latents_shape)
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], use_batch_statistics: bool = False) -> tf.Tensor:
        features, latents = inputs
        gain, offset = (layer(latents)[:, None, None] for layer in (self.gain, self.offset))
        return self.norm(features, use_batch_statistics=use_batch_statistics) * (1.0 + gain) + offset


class UpsamplingBlock(tf.keras.layers.Layer):
    """Residual block of BigGAN's generator that doubles the resolution      (Brock et al. 2019, figure 15a)

    out = conv(relu(bn(conv(up(relu(bn(x))))))) + skip(up(x)); up repeats each pixel 2 x 2, skip is a 1 x 1 conv.

    Call: (features (batch, height, width, in), z (batch, chunk_dim)) -> (batch, 2 height, 2 width, width).
    use_batch_statistics: as in `BatchNorm`.

    Args:
      width: number of output features.
    """

    def __init__(self, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape: Any) -> None:
        features_shape, latents_shape = input_shape
        middle_shape = (*features_shape[:-1], self.width)
        self.first_norm = ConditionalBatchNorm(name="first_norm")
        self.first_norm.build(input_shape)
        self.first = ISNConv2D(self.width, normalization="sn", name="first")
        self.first.build(features_shape)
        self.second_norm = ConditionalBatchNorm(name="second_norm")
        self.second_norm.build((middle_shape, latents_shape))
        self.second = ISNConv2D(self.width, normalization="sn", name="second")
        self.second.build(middle_shape)
        self.skip = ISNConv2D(self.width, kernel_size=1, normalization="sn", name="skip")
        self.skip.build(features_shape)
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], use_batch_statistics: bool = False) -> tf.Tensor:
        features, latents = inputs
        details = tf.nn.relu(self.first_norm(inputs, use_batch_statistics=use_batch_statistics))
        details = self.first(repeat_pixels(details, 2))
        details = tf.nn.relu(self.second_norm((details, latents), use_batch_statistics=use_batch_statistics))
        details = self.second(details)
        # The 1 x 1 convolution commutes with repeating pixels; before that, it takes a quarter of the work.
        return details + repeat_pixels(self.skip(features), 2)


class BigGANGenerator(StyleGenerator):
    """BigGAN's generator without classes      (Brock et al. 2019, appendix B; constant width as for CIFAR-10)

    z is split into chunks. A linear layer maps the first chunk to features at 4 x 4. Every other chunk conditions the
    batch norms of one `UpsamplingBlock`, up to the image resolution. Batch norm, ReLU, a convolution and tanh follow.
    All linear layers and convolutions are spectrally normalised. Without classes, only z conditions the batch norms.

    The style is z itself. Given one style per place, each place takes its own chunk of its style.

    Call: as `StyleGenerator`, without noise. With use_batch_statistics, an image depends on the rest of its batch.

    Args:
      image_size: edge of the images in pixels; a power of 2, at least 8.
      num_channels: number of colour channels.
      width: number of features at every resolution.
      chunk_dim: size of each chunk of z.

    Raises:
      ValueError: image_size is not a power of 2 or is below 8.
    """

    renders_at_any_scale = False
    uses_batch_statistics = True

    def __init__(self, image_size: int, num_channels: int, width: int = 256, chunk_dim: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        if image_size < 2 * LOWEST_RESOLUTION or image_size & (image_size - 1):
            raise ValueError(f"image_size must be a power of 2 of at least {2 * LOWEST_RESOLUTION}, got {image_size}")
        self.image_size = image_size
        self.num_channels = num_channels
        self.width = width
        self.chunk_dim = chunk_dim
        num_blocks = (image_size // LOWEST_RESOLUTION).bit_length() - 1
        self.num_styles = num_blocks + 1
        self.latent_dim = chunk_dim * self.num_styles
        self.mapping = tf.keras.layers.Identity(name="mapping", dtype=self.variable_dtype)
        self.from_latents = ISNDense(LOWEST_RESOLUTION**2 * width, normalization="sn", name="from_latents")
        self.blocks = [UpsamplingBlock(width, name=f"block_{index}") for index in range(num_blocks)]
        self.norm = BatchNorm(has_affine=True, name="norm")
        self.to_image = ISNConv2D(num_channels, normalization="sn", name="to_image")

    def build(self, input_shape: Any) -> None:
        size, latents_shape = LOWEST_RESOLUTION, (None, self.chunk_dim)
        self.mapping.build(input_shape)
        self.from_latents.build(latents_shape)
        for block in self.blocks:
            block.build(((None, size, size, self.width), latents_shape))
            size *= 2
        self.norm.build((None, size, size, self.width))
        self.to_image.build((None, size, size, self.width))
        self.built = True

    def call(
        self, latents: tf.Tensor, random: ImageRandom | None = None, use_batch_statistics: bool = False
    ) -> tf.Tensor:
        return self.synthesize(self.mapping(tf.cast(latents, self.variable_dtype)), random, use_batch_statistics)

    def synthesize(
        self, styles: tf.Tensor, random: ImageRandom | None = None, use_batch_statistics: bool = False
    ) -> tf.Tensor:
        """See `StyleGenerator.synthesize` and `BatchNorm`. There is no noise: random is ignored."""
        styles = tf.cast(self.styles_by_place(styles), self.compute_dtype)
        starts = range(0, self.latent_dim, self.chunk_dim)
        chunks = [styles[:, place, start : start + self.chunk_dim] for place, start in enumerate(starts)]
        features = self.from_latents(chunks[0])
        features = tf.reshape(features, [-1, LOWEST_RESOLUTION, LOWEST_RESOLUTION, self.width])
        for block, chunk in zip(self.blocks, chunks[1:]):
            features = block((features, chunk), use_batch_statistics=use_batch_statistics)
        features = tf.nn.relu(self.norm(features, use_batch_statistics=use_batch_statistics))
        images = self.to_image(features)
        return tf.tanh(tf.cast(images, self.variable_dtype))
