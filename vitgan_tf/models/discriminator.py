"""ViT discriminator."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.config.choices import POSITIONS
from vitgan_tf.layers.coordinates import coordinate_grid
from vitgan_tf.layers.normalization import LayerNorm
from vitgan_tf.layers.patches import extract_patches
from vitgan_tf.layers.spectral import ISNDense, kernel_factors_together
from vitgan_tf.layers.transformer import TransformerBlock
from vitgan_tf.models.contrad import Contrast, head


class ViTDiscriminator(tf.keras.Model):
    """Lipschitz vision transformer from overlapping patches to a logit.

    (paper, "Regularizing ViT-based Discriminator")

    h_0 = [x_class; x_1 E; ...; x_L E] + E_pos,   h_l = block_l(h_{l-1}),   logit = LN(h_L[0]) . v + b

    x_i are the overlapping patches, E_pos the Fourier embedding of their centres. The class token has its own learned
    position; the two only appear as a sum and are one weight here. Attention is L2 attention. Improved spectral
    normalisation applies to the patch projection and to every linear layer of the blocks, but not to the head. With
    pooling="mean" there is no class token: logit = mean_i LN(h_L[i]) . v + b. With attention="dot_product",
    normalization="none" and patch_overlap=0, this is the paper's Vanilla-ViT.

    Call: images (batch, image_size, image_size, num_channels) in [-1, 1] -> logits (batch,), no sigmoid.

    Args:
      image_size: edge of the images in pixels; a multiple of patch_size.
      num_channels: number of colour channels.
      patch_size: edge P of a grid patch in pixels.
      patch_overlap: pixels o by which a patch is extended on every side.
      embed_dim: token width.
      mlp_dim: hidden width of the blocks' MLP.
      num_heads: number of attention heads.
      num_blocks: number of transformer blocks.
      activation: activation of the blocks' MLP, "gelu", "relu" or "silu".
      attention: "l2" or "dot_product".
      normalization: normalisation of patch projection and blocks, "isn", "sn" or "none", see `ISNDense`.
      pooling: "class_token" or "mean".
      positions: "fourier" or "learned".
      contrad_units: hidden width of a `ContraDHead` in the place of v and b; 0 for none.

    Raises:
      ValueError: image_size is not a multiple of patch_size, or a name is unknown.
    """

    def __init__(
        self,
        image_size: int,
        num_channels: int,
        patch_size: int,
        patch_overlap: int,
        embed_dim: int,
        mlp_dim: int,
        num_heads: int,
        num_blocks: int,
        activation: str = "gelu",
        attention: str = "l2",
        normalization: str = "isn",
        pooling: str = "class_token",
        positions: str = "fourier",
        contrad_units: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if pooling not in ("class_token", "mean"):
            raise ValueError(f"pooling must be 'class_token' or 'mean', got {pooling!r}")
        self.image_size = image_size
        self.num_channels = num_channels
        self.patch_size = patch_size
        self.patch_overlap = patch_overlap
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.num_blocks = num_blocks
        self.pooling = pooling
        self.grid_size = image_size // patch_size
        self.patch_projection = ISNDense(embed_dim, normalization=normalization, name="patch_projection")
        self.positions = POSITIONS[positions](embed_dim, name="positions", dtype=self.variable_dtype)
        self.blocks = [
            TransformerBlock(num_heads, mlp_dim, attention, activation, normalization, name=f"block_{i}")
            for i in range(num_blocks)
        ]
        self.norm = LayerNorm(name="norm")
        self.head = head(contrad_units, name="head", dtype=self.variable_dtype)  # logits are float32

    def build(self, input_shape: Any) -> None:
        num_patches = self.grid_size**2
        window = self.patch_size + 2 * self.patch_overlap
        self.class_token = None
        if self.pooling == "class_token":
            self.class_token = self.add_weight(
                name="class_token",
                shape=(1, 1, self.embed_dim),
                initializer=tf.keras.initializers.RandomNormal(stddev=1.0),
            )
        self.patch_projection.build((None, num_patches, window**2 * self.num_channels))
        self.positions.build((num_patches, 2))
        num_tokens = num_patches + (self.class_token is not None)
        for block in self.blocks:
            block.build((None, num_tokens, self.embed_dim))
        self.norm.build((None, num_tokens, self.embed_dim))
        self.head.build((None, self.embed_dim))
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.head(self.representation(images))[:, 0]

    def contrast(self, images: tf.Tensor) -> Contrast:
        """Computes the outputs of the `ContraDHead`."""
        return self.head.contrast(self.representation(images))

    def representation(self, images: tf.Tensor) -> tf.Tensor:
        """Computes the input of the head: images -> (batch, embed_dim)."""
        with kernel_factors_together(self):
            return self._pooled(self._embed(images))

    def _pooled(self, tokens: tf.Tensor) -> tf.Tensor:
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        if self.class_token is None:
            return tf.reduce_mean(self.norm(self.blocks[-1](tokens)), axis=1)
        # The head reads only the class token, so the last block computes nothing else.
        return self.norm(self.blocks[-1](tokens, num_queries=1))[:, 0]

    def attention_maps(self, images: tf.Tensor) -> tf.Tensor:
        """Computes the class token's attention to each patch in every block; with mean pooling, the token average.

        Args:
          images: (batch, image_size, image_size, num_channels) in [-1, 1].

        Returns:
          (batch, num_blocks, num_heads, grid_size, grid_size). The class token's attention to itself is left out, so
          each map sums to at most 1.
        """
        tokens = self._embed(images)
        maps = []
        for block in self.blocks:
            if self.class_token is None:
                weights = tf.reduce_mean(block.attention_weights(tokens), axis=2)
            else:
                weights = block.attention_weights(tokens, num_queries=1)[:, :, 0, 1:]
            maps.append(tf.reshape(weights, [-1, block.num_heads, self.grid_size, self.grid_size]))
            tokens = block(tokens)
        return tf.cast(tf.stack(maps, axis=1), self.variable_dtype)

    def _embed(self, images: tf.Tensor) -> tf.Tensor:
        """Returns h_0, (batch, num_tokens, embed_dim), with the class token first if there is one."""
        patches = extract_patches(images, self.patch_size, self.patch_overlap)
        positions = self.positions(coordinate_grid(self.grid_size, self.grid_size))
        tokens = self.patch_projection(patches, offset=positions)
        if self.class_token is None:
            return tokens
        batch_size = tf.shape(images)[0] if images.shape[0] is None else images.shape[0]
        class_token = tf.cast(self.class_token, tokens.dtype)
        return tf.concat([tf.tile(class_token, [batch_size, 1, 1]), tokens], axis=1)
