"""The ViT generator."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.layers.coordinates import FourierEmbedding, coordinate_grid
from vitgan_tf.layers.decoders import FourierPatchDecoder
from vitgan_tf.layers.modulation import SelfModulatedLayerNorm
from vitgan_tf.layers.patches import patches_to_images
from vitgan_tf.layers.transformer import TransformerBlock
from vitgan_tf.models.mapping import MappingNetwork


class ViTGenerator(tf.keras.Model):
    """Vision transformer from positions to patches, modulated by a style (paper, "Generator Design", C).

    w = mapping(z),   h_0 = E_pos,   h_l = block_l(h_{l-1}, w),   y = SLN(h_L, w),   x_i = f_theta(E_fou, y_i)

    E_pos is the Fourier embedding of the centres of the patches, the same for every image: the style enters
    through the self-modulated layer norms alone. Attention is by dot products, the linear layers are not
    spectrally normalised.

    Call: latents (batch, latent_dim), drawn from N(0, I) -> images (batch, image_size, image_size, num_channels).
    The images are trained towards [-1, 1] and not clipped.

    Args:
      image_size: edge of the images, in pixels; a multiple of patch_size.
      num_channels: colour channels.
      patch_size: edge of a patch, in pixels.
      latent_dim: size of z.
      embed_dim: token width, and size of w.
      mlp_dim: hidden width of the blocks' MLP.
      num_heads: attention heads.
      num_blocks: transformer blocks.
      activation: of the blocks' MLP: "gelu", "relu" or "silu".
      mapping_layers: layers of the mapping network.
      mapping_lr_multiplier: their relative learning rate.

    Raises:
      ValueError: image_size is not a multiple of patch_size.
    """

    def __init__(
        self,
        image_size: int,
        num_channels: int,
        patch_size: int,
        latent_dim: int,
        embed_dim: int,
        mlp_dim: int,
        num_heads: int,
        num_blocks: int,
        activation: str = "gelu",
        mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        self.image_size = image_size
        self.num_channels = num_channels
        self.patch_size = patch_size
        self.latent_dim = latent_dim
        self.embed_dim = embed_dim
        self.mlp_dim = mlp_dim
        self.num_heads = num_heads
        self.num_blocks = num_blocks
        self.activation = activation
        self.mapping_layers = mapping_layers
        self.mapping_lr_multiplier = mapping_lr_multiplier
        self.grid_size = image_size // patch_size

        self.mapping = MappingNetwork(embed_dim, mapping_layers, mapping_lr_multiplier, name="mapping")
        self.positions = FourierEmbedding(embed_dim, name="positions")
        self.blocks = [
            TransformerBlock(
                num_heads, mlp_dim, "dot_product", activation=activation, modulated=True, name=f"block_{i}"
            )
            for i in range(num_blocks)
        ]
        self.norm = SelfModulatedLayerNorm(name="norm")
        self.decoder = FourierPatchDecoder(patch_size, num_channels, embed_dim, name="decoder")

    def build(self, input_shape):
        tokens_shape = (None, self.grid_size**2, self.embed_dim)
        style_shape = (None, self.embed_dim)
        self.mapping.build(input_shape)
        self.positions.build((None, 2))
        for block in self.blocks:
            block.build((tokens_shape, style_shape))
        self.norm.build((tokens_shape, style_shape))
        self.decoder.build(tokens_shape)
        self.built = True

    def call(self, latents: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.synthesize(self.mapping(latents), training)

    def synthesize(self, styles: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Styles w, (batch, embed_dim) -> images (batch, image_size, image_size, num_channels)."""
        positions = self.positions(coordinate_grid(self.grid_size, self.grid_size))
        batch_size = tf.shape(styles)[0] if styles.shape[0] is None else styles.shape[0]
        tokens = tf.tile(positions[None], [batch_size, 1, 1])
        for block in self.blocks:
            tokens = block((tokens, styles), training=training)
        patches = self.decoder(self.norm((tokens, styles)))
        return patches_to_images(patches, self.grid_size, self.grid_size)

    def get_config(self):
        return {
            "name": self.name,
            "image_size": self.image_size,
            "num_channels": self.num_channels,
            "patch_size": self.patch_size,
            "latent_dim": self.latent_dim,
            "embed_dim": self.embed_dim,
            "mlp_dim": self.mlp_dim,
            "num_heads": self.num_heads,
            "num_blocks": self.num_blocks,
            "activation": self.activation,
            "mapping_layers": self.mapping_layers,
            "mapping_lr_multiplier": self.mapping_lr_multiplier,
        }


def build_generator(config: ExperimentConfig) -> ViTGenerator:
    """The generator of a configuration, with its weights made."""
    # The fields of the configuration have the names of the arguments.
    generator = ViTGenerator(
        image_size=config.data.image_size,
        num_channels=config.data.num_channels,
        **dataclasses.asdict(config.generator),
        name="generator",
    )
    generator.build((None, config.generator.latent_dim))
    return generator
