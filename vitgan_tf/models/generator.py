"""ViT generator."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.config import STYLE_INJECTIONS
from vitgan_tf.config.choices import DECODERS, POSITIONS
from vitgan_tf.layers.coordinates import coordinate_grid, patch_pixels
from vitgan_tf.layers.decoders import ConvPatchDecoder, FourierPatchDecoder
from vitgan_tf.layers.modulation import SelfModulatedLayerNorm
from vitgan_tf.layers.normalization import LayerNorm
from vitgan_tf.layers.patches import patches_to_images
from vitgan_tf.layers.transformer import TransformerBlock
from vitgan_tf.models.mapping import MappingNetwork
from vitgan_tf.models.style_generator import StyleGenerator
from vitgan_tf.randomness import ImageRandom


class ViTGenerator(StyleGenerator):
    """Vision transformer from positions to patches under a style w (paper, "Generator Design").

    w = mapping(z),   h_0 = E_pos,   h_l = block_l(h_{l-1}, w),   y = SLN(h_L, w),   x_i = f_theta(E_fou, y_i)

    E_pos is the Fourier embedding of the patch centres, the same for every image: the style enters only through the
    self-modulated layer norms (C in the paper's figure). Attention is by dot products, and the linear layers are not
    spectrally normalised. The paper's alternatives have ordinary layer norms: style_injection="add" (A),
    h_0 = E_pos + w, and "prepend" (B), h_0 = [w; E_pos], where the first output token is dropped.

    Call: as `StyleGenerator`.

    Args:
      image_size: edge of the images in pixels; a multiple of patch_size.
      num_channels: number of colour channels.
      patch_size: edge of a patch in pixels; with decoder="conv", a power of 2.
      latent_dim: size of z.
      embed_dim: token width and size of w.
      mlp_dim: hidden width of the blocks' MLP.
      num_heads: number of attention heads.
      num_blocks: number of transformer blocks.
      activation: activation of the blocks' MLP, "gelu", "relu" or "silu".
      mapping_layers: number of layers of the mapping network.
      mapping_lr_multiplier: relative learning rate of the mapping network.
      style_injection: "modulate", "add" or "prepend".
      decoder: "fourier", "linear" or "conv": see `FourierPatchDecoder`, `LinearPatchDecoder`, `ConvPatchDecoder`.
      attention: "dot_product" or "l2".
      normalization: normalisation of the blocks' linear layers, "none", "isn" or "sn", see `ISNDense`.
      positions: "fourier" or "learned".

    Raises:
      ValueError: image_size is not a multiple of patch_size, or a name is unknown.
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
        style_injection: str = "modulate",
        decoder: str = "fourier",
        attention: str = "dot_product",
        normalization: str = "none",
        positions: str = "fourier",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if style_injection not in STYLE_INJECTIONS:
            raise ValueError(f"style_injection must be one of {STYLE_INJECTIONS}, got {style_injection!r}")
        self.image_size, self.num_channels, self.patch_size = image_size, num_channels, patch_size
        self.latent_dim, self.embed_dim = latent_dim, embed_dim
        self.num_heads, self.num_blocks = num_heads, num_blocks
        self.grid_size = image_size // patch_size
        self.style_injection = style_injection
        self._modulated = style_injection == "modulate"
        self.mapping = MappingNetwork(
            embed_dim, mapping_layers, mapping_lr_multiplier, name="mapping", dtype=self.variable_dtype
        )
        self.positions = POSITIONS[positions](embed_dim, name="positions", dtype=self.variable_dtype)
        arguments = (num_heads, mlp_dim, attention, activation, normalization, self._modulated)
        self.blocks = [TransformerBlock(*arguments, name=f"block_{i}") for i in range(num_blocks)]
        self.norm = (SelfModulatedLayerNorm if self._modulated else LayerNorm)(name="norm")
        hidden = {"hidden_dim": embed_dim} if decoder == "fourier" else {}
        self.decoder = DECODERS[decoder](patch_size, num_channels, **hidden, name="decoder")

    @property
    def num_styles(self) -> int:
        """Number of places that can have their own style: every block, and the end (last norm, decoder)."""
        return self.num_blocks + 1 if self._modulated else 1

    @property
    def renders_at_any_scale(self) -> bool:
        """True if `synthesize` accepts any rendered_size: pixels are a function of continuous coordinates."""
        return isinstance(self.decoder, FourierPatchDecoder)

    @property
    def has_noise(self) -> bool:
        return isinstance(self.decoder, ConvPatchDecoder)

    def build(self, input_shape: Any) -> None:
        num_patches = self.grid_size**2
        tokens_shape = (None, num_patches, self.embed_dim)
        style_shape = (None, self.embed_dim)
        self.mapping.build(input_shape)
        self.positions.build((num_patches, 2))
        sequence_shape = (None, num_patches + (self.style_injection == "prepend"), self.embed_dim)
        for layer in [*self.blocks, self.norm]:
            layer.build((sequence_shape, style_shape) if self._modulated else sequence_shape)
        conv = isinstance(self.decoder, ConvPatchDecoder)
        self.decoder.build((tokens_shape, style_shape) if conv else tokens_shape)
        self.built = True

    def synthesize(
        self,
        styles: tf.Tensor,
        random: ImageRandom | None = None,
        rendered_size: int | tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Renders images from styles.

        Args:
          styles: w, (batch, embed_dim); or mixed styles, one per place, (batch, num_styles, embed_dim).
          random: random numbers of the images, for the conv decoder's noise; None uses its fixed noise. The other
            decoders have no noise.
          rendered_size: edge of the images in pixels, any int or scalar int32 tensor; None for image_size. Other
            sizes than image_size need the Fourier decoder.

        Returns:
          (batch, size, size, num_channels), size = rendered_size or image_size.

        Raises:
          ValueError: rendered_size differs from image_size and the decoder has only one resolution, or the number of
            styles is not num_styles.
        """
        styles = self._style_of_each_place(styles)
        tokens = self._embed(styles[0])
        for block, style in zip(self.blocks, styles):
            tokens = block(self._with_style(tokens, style))
        tokens = self.norm(self._with_style(tokens, styles[-1]))
        if self.style_injection == "prepend":
            tokens = tokens[:, 1:]
        if rendered_size is not None and not (isinstance(rendered_size, int) and rendered_size == self.image_size):
            images = self._render(tokens, rendered_size)
        elif isinstance(self.decoder, ConvPatchDecoder):
            images = self.decoder((tokens, styles[-1]), random=random)
        else:
            images = patches_to_images(self.decoder(tokens), self.grid_size, self.grid_size)
        return tf.cast(images, self.variable_dtype)

    def _render(self, tokens: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
        """Patch embeddings y -> images of any size: f_theta at the pixel centres."""
        if not self.renders_at_any_scale:
            raise ValueError(f"{type(self.decoder).__name__} renders at {self.image_size} pixels only, got {size}")
        if isinstance(size, int) and size % self.grid_size == 0:
            places = size // self.grid_size
            coordinates = tf.reshape(coordinate_grid(places, places), [places, places, 2])
            return patches_to_images(self.decoder(tokens, coordinates), self.grid_size, self.grid_size)
        along_axis, index = patch_pixels(self.grid_size, size)  # (grid_size, places), (size,)
        grid, places = self.grid_size, tf.shape(along_axis)[1]
        shape = [grid, grid, places, places]
        y = tf.broadcast_to(along_axis[:, None, :, None], shape)
        x = tf.broadcast_to(along_axis[None, :, None, :], shape)
        coordinates = tf.reshape(tf.stack([y, x], axis=-1), [grid**2, places, places, 2])
        images = patches_to_images(self.decoder(tokens, coordinates), grid, grid)
        return tf.gather(tf.gather(images, index, axis=1), index, axis=2)

    def attention_maps(self, latents: tf.Tensor) -> tf.Tensor:
        """Computes the attention weights of every block.

        Args:
          latents: (batch, latent_dim).

        Returns:
          (batch, num_blocks, num_heads, num_tokens, num_tokens); rows sum to 1. With style_injection="prepend", the
          style is the first token.
        """
        styles = self._style_of_each_place(self.mapping(latents))
        tokens = self._embed(styles[0])
        maps = []
        for block, style in zip(self.blocks, styles):
            maps.append(block.attention_weights(self._with_style(tokens, style)))
            tokens = block(self._with_style(tokens, style))
        return tf.cast(tf.stack(maps, axis=1), self.variable_dtype)

    def _style_of_each_place(self, styles: tf.Tensor) -> list[tf.Tensor]:
        """Returns the styles of every block and of the end: num_blocks + 1 tensors (batch, embed_dim)."""
        if styles.shape.rank == 2:
            return [styles] * (self.num_blocks + 1)
        places = tf.unstack(self.styles_by_place(styles), axis=1)
        return places if self._modulated else places * (self.num_blocks + 1)

    def _with_style(self, tokens: tf.Tensor, style: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        return (tokens, style) if self._modulated else tokens

    def _embed(self, style: tf.Tensor) -> tf.Tensor:
        """Returns h_0, (batch, num_tokens, embed_dim)."""
        positions = tf.cast(self.positions(coordinate_grid(self.grid_size, self.grid_size)), self.compute_dtype)
        style = tf.cast(style, self.compute_dtype)
        if self.style_injection == "add":
            return positions + style[:, None]
        batch_size = tf.shape(style)[0] if style.shape[0] is None else style.shape[0]
        tokens = tf.tile(positions[None], [batch_size, 1, 1])
        return tf.concat([style[:, None], tokens], axis=1) if self.style_injection == "prepend" else tokens
