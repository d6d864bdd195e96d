"""TransGAN, a baseline of the paper: transformers without convolutions, styles or spectral normalisation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vitgan_tf.layers.attention import MultiHeadAttention, RelativeMultiHeadAttention, first_tokens
from vitgan_tf.layers.coordinates import LearnedEmbedding, coordinate_grid
from vitgan_tf.layers.equalized import EqualizedDense
from vitgan_tf.layers.noise import TokenNoise
from vitgan_tf.layers.normalization import pixel_norm
from vitgan_tf.layers.patches import extract_patches
from vitgan_tf.layers.resampling import repeat_pixels
from vitgan_tf.layers.transformer import FeedForward
from vitgan_tf.models.style_generator import StyleGenerator
from vitgan_tf.randomness import ImageRandom

MLP_RATIO = 4


class TransGANBlock(tf.keras.layers.Layer):
    """Pre-norm block: h' = MSA(pn(h)) + h,   h'' = MLP(pn(h')) + h'      (Jiang et al. 2021, sections 3.1 and 3.4)

    pn is `pixel_norm`, their "modified normalization". The MLP has hidden width 4 embed_dim and GELU. With has_noise,
    attention reads pn(h) with `TokenNoise`.

    Call: (batch, num_tokens, embed_dim) -> same shape, or with num_queries=n the first n tokens only. random draws
    the noise of each image; None uses the block's fixed noise.

    Args:
      num_heads: number of attention heads.
      grid_size: edge of the token grid, for relative positions; 0 for attention without them.
      has_noise: whether attention has noise; only with a grid_size.

    Raises:
      ValueError: embed_dim is not a multiple of num_heads, or the number of tokens is not grid_size^2.
    """

    def __init__(self, num_heads: int, grid_size: int = 0, has_noise: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.grid_size = grid_size
        self.has_noise = has_noise

    def build(self, input_shape: Any) -> None:
        if self.grid_size:
            self.self_attention = RelativeMultiHeadAttention(self.num_heads, self.grid_size, name="self_attention")
        else:
            self.self_attention = MultiHeadAttention(self.num_heads, name="self_attention")
        self.self_attention.build(input_shape)
        self.mlp = FeedForward(MLP_RATIO * input_shape[-1], name="mlp")
        self.mlp.build(input_shape)
        if self.has_noise:
            self.noise = TokenNoise(self.grid_size, name="noise")
            self.noise.build(input_shape)
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, num_queries: int | None = None, random: ImageRandom | None = None) -> tf.Tensor:
        residual, inputs = first_tokens(tokens, num_queries), pixel_norm(tokens)
        inputs = self.noise(inputs, random=random) if self.has_noise else inputs
        tokens = self.self_attention(inputs, num_queries=num_queries, residual=residual)
        return self.mlp(pixel_norm(tokens), residual=tokens)


def _add_positions(tokens: tf.Tensor, positions: LearnedEmbedding, grid_size: int) -> tf.Tensor:
    return tokens + tf.cast(positions(coordinate_grid(grid_size, grid_size)), tokens.dtype)


def _as_map(tokens: tf.Tensor, grid_size: int) -> tf.Tensor:
    """(batch, grid_size^2, features) -> (batch, grid_size, grid_size, features)."""
    return tf.reshape(tokens, [-1, grid_size, grid_size, tokens.shape[-1]])


class TransGANGenerator(StyleGenerator):
    """TransGAN's generator      (Jiang et al. 2021, section 3.1; sizes and output skips of their CIFAR-10 model)

    A linear layer maps z to the tokens of the lowest resolution. Each resolution adds learned positions, applies
    `TransGANBlock`s and maps tokens to colours with a linear layer. Between resolutions, pixel shuffle turns each
    token into four with a quarter of its features. The image is the sum of the colours of all resolutions, upsampled
    by nearest neighbour. Every token attends to all others: there is no grid attention. Every block has noise.

    The style is z itself, and enters in one place.

    Call: as `StyleGenerator`.

    Args:
      image_size: edge of the images in pixels; lowest_resolution times a power of 2.
      num_channels: number of colour channels.
      latent_dim: size of z.
      embed_dim: token width at the lowest resolution. Each doubling divides it by 4; every width must be a multiple
        of num_heads.
      num_heads: number of attention heads.
      num_blocks: number of blocks at each resolution, lowest first; the last number holds for all further ones.
      lowest_resolution: edge of the first token grid.

    Raises:
      ValueError: image_size is not lowest_resolution times a power of 2, a width is not a multiple of num_heads, or
        num_blocks is empty.
    """

    num_styles = 1
    renders_at_any_scale = False

    def __init__(
        self,
        image_size: int,
        num_channels: int,
        latent_dim: int = 256,
        embed_dim: int = 1024,
        num_heads: int = 4,
        num_blocks: Sequence[int] = (5, 4, 2),
        lowest_resolution: int = 8,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        num_stages = (image_size // lowest_resolution).bit_length()
        if num_stages == 0 or image_size != lowest_resolution * 2 ** (num_stages - 1):
            raise ValueError(
                f"image_size must be lowest_resolution {lowest_resolution} times a power of 2, got {image_size}"
            )
        if embed_dim % (4 ** (num_stages - 1) * num_heads):
            raise ValueError(
                f"embed_dim must be a multiple of num_heads {num_heads} after {num_stages - 1} divisions by 4, "
                f"got {embed_dim}"
            )
        if not num_blocks:
            raise ValueError("num_blocks must have at least one number, for the lowest resolution")
        self.image_size, self.num_channels = image_size, num_channels
        self.latent_dim, self.embed_dim = latent_dim, embed_dim
        self.num_heads, self.num_blocks = num_heads, tuple(num_blocks)
        self.lowest_resolution = lowest_resolution
        self.resolutions = [lowest_resolution * 2**stage for stage in range(num_stages)]
        self.mapping = tf.keras.layers.Identity(name="mapping", dtype=self.variable_dtype)
        self.from_latents = EqualizedDense(lowest_resolution**2 * embed_dim, name="from_latents")
        self.positions = [LearnedEmbedding(self._width(r), name=f"positions_{r}") for r in self.resolutions]
        self.blocks = [
            [
                TransGANBlock(num_heads, resolution, has_noise=True, name=f"block_{resolution}_{index}")
                for index in range(self.num_blocks[min(stage, len(self.num_blocks) - 1)])
            ]
            for stage, resolution in enumerate(self.resolutions)
        ]
        self.to_image = [EqualizedDense(num_channels, name=f"to_image_{r}") for r in self.resolutions]

    @property
    def has_noise(self) -> bool:
        return True

    def _width(self, resolution: int) -> int:
        return self.embed_dim * self.lowest_resolution**2 // resolution**2

    def build(self, input_shape: Any) -> None:
        self.mapping.build(input_shape)
        self.from_latents.build(input_shape)
        stages = zip(self.resolutions, self.positions, self.blocks, self.to_image)
        for resolution, positions, blocks, to_image in stages:
            tokens_shape = (None, resolution**2, self._width(resolution))
            positions.build((resolution**2, 2))
            for block in blocks:
                block.build(tokens_shape)
            to_image.build(tokens_shape)
        self.built = True

    def synthesize(self, styles: tf.Tensor, random: ImageRandom | None = None) -> tf.Tensor:
        latents = self.styles_by_place(styles)[:, 0]
        tokens = self.from_latents(tf.cast(latents, self.compute_dtype))
        tokens = tf.reshape(tokens, [-1, self.lowest_resolution**2, self.embed_dim])
        images, number = None, itertools.count()
        stages = zip(self.resolutions, self.positions, self.blocks, self.to_image)
        for resolution, positions, blocks, to_image in stages:
            if images is not None:
                tokens = tf.nn.depth_to_space(_as_map(tokens, resolution // 2), 2)
                tokens = tf.reshape(tokens, [-1, resolution**2, self._width(resolution)])
                images = repeat_pixels(images, 2)
            tokens = _add_positions(tokens, positions, resolution)
            for block in blocks:
                tokens = block(tokens, random=None if random is None else random.fork(next(number)))
            colours = _as_map(to_image(tokens), resolution)
            images = colours if images is None else images + colours
        return tf.cast(images, self.variable_dtype)


class TransGANDiscriminator(tf.keras.Model):
    """TransGAN's multi-scale discriminator      (Jiang et al. 2021, section 3.2; sizes of their CIFAR-10 model)

    h = blocks([x_i E]_i + positions)                          over patches of P pixels, 3/4 of embed_dim wide
    h' = blocks([pool(h)_j; x_j E']_j + positions')            over patches of 2 P pixels, embed_dim wide
    logit = pn(block([x_class; h'])[0]) . v + b

    pool is the mean of 2 x 2 tokens. The blocks are `TransGANBlock`s, the last one without relative positions.

    Call: images (batch, image_size, image_size, num_channels) in [-1, 1] -> logits (batch,), no sigmoid.

    Args:
      image_size: edge of the images in pixels; a multiple of 2 patch_size.
      num_channels: number of colour channels.
      patch_size: edge P of the finer patches in pixels.
      embed_dim: token width; a multiple of 4 num_heads.
      num_heads: number of attention heads.
      num_blocks: number of blocks at each of the two scales.

    Raises:
      ValueError: image_size or embed_dim is not such a multiple.
    """

    def __init__(
        self,
        image_size: int,
        num_channels: int,
        patch_size: int = 2,
        embed_dim: int = 384,
        num_heads: int = 4,
        num_blocks: int = 3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if image_size % (2 * patch_size):
            raise ValueError(f"image_size {image_size} is not a multiple of twice patch_size {patch_size}")
        if embed_dim % (4 * num_heads):
            raise ValueError(f"embed_dim {embed_dim} is not a multiple of 4 times num_heads {num_heads}")
        self.image_size = image_size
        self.num_channels = num_channels
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.num_blocks = num_blocks
        widths = (embed_dim // 4 * 3, embed_dim)
        self.grid_sizes = (image_size // patch_size, image_size // patch_size // 2)
        self.projections = [
            EqualizedDense(units, name=f"projection_{scale}")
            for scale, units in enumerate((widths[0], embed_dim // 4))
        ]
        self.positions = [LearnedEmbedding(width, name=f"positions_{scale}") for scale, width in enumerate(widths)]
        self.blocks = [
            [TransGANBlock(num_heads, grid_size, name=f"block_{scale}_{index}") for index in range(num_blocks)]
            for scale, grid_size in enumerate(self.grid_sizes)
        ]
        self.last_block = TransGANBlock(num_heads, name="last_block")
        self.head = EqualizedDense(1, name="head", dtype=self.variable_dtype)  # logits are float32

    def build(self, input_shape: Any) -> None:
        for scale, grid_size in enumerate(self.grid_sizes):
            num_patches, edge = grid_size**2, self.patch_size * 2**scale
            self.projections[scale].build((None, num_patches, edge**2 * self.num_channels))
            self.positions[scale].build((num_patches, 2))
            for block in self.blocks[scale]:
                block.build((None, num_patches, self.positions[scale].embed_dim))
        self.class_token = self.add_weight(
            name="class_token",
            shape=(1, 1, self.embed_dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=1.0),
        )
        self.last_block.build((None, self.grid_sizes[1] ** 2 + 1, self.embed_dim))
        self.head.build((None, self.embed_dim))
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        fine, coarse = (
            projection(extract_patches(images, self.patch_size * 2**scale))
            for scale, projection in enumerate(self.projections)
        )
        tokens = self._transformed(fine, 0)
        pooled = tf.nn.avg_pool2d(_as_map(tokens, self.grid_sizes[0]), 2, 2, "VALID")
        pooled = tf.reshape(pooled, [-1, self.grid_sizes[1] ** 2, pooled.shape[-1]])
        tokens = self._transformed(tf.concat([pooled, coarse], axis=-1), 1)
        batch_size = tf.shape(images)[0] if images.shape[0] is None else images.shape[0]
        class_token = tf.tile(tf.cast(self.class_token, tokens.dtype), [batch_size, 1, 1])
        class_token = self.last_block(tf.concat([class_token, tokens], axis=1), num_queries=1)
        return self.head(pixel_norm(class_token)[:, 0])[:, 0]

    def _transformed(self, tokens: tf.Tensor, scale: int) -> tf.Tensor:
        """Adds positions to the tokens of a scale and applies its blocks."""
        tokens = _add_positions(tokens, self.positions[scale], self.grid_sizes[scale])
        for block in self.blocks[scale]:
            tokens = block(tokens)
        return tokens
