"""Patch decoders: patch embeddings to pixels."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from vitgan_tf.layers.coordinates import FourierEmbedding, coordinate_grid
from vitgan_tf.layers.equalized import EqualizedDense
from vitgan_tf.layers.modulation import ModulatedDense
from vitgan_tf.layers.synthesis import StyledSynthesis
from vitgan_tf.randomness import ImageRandom


class FourierPatchDecoder(tf.keras.layers.Layer):
    """Implicit neural representation of a patch: a small MLP over pixel coordinates.

    x_p = f_theta(E_fou, y)      (paper, "Implicit Neural Representation for Patch Generation")

    E_fou is the Fourier embedding of the pixel coordinates within a patch. f_theta is a two-layer MLP, modulated by
    the patch embedding y as in StyleGAN2 and CIPS; the hidden layer is demodulated and followed by a leaky ReLU
    (slope 0.2, gain sqrt 2). All patches of all images share the same codes E_fou.

    Call: (batch, num_tokens, embed_dim) -> (batch, num_tokens, patch_size, patch_size, num_channels), the patches at
    training resolution. f_theta can be evaluated at any points: coordinates=c, of shape (rows, columns, 2) for all
    patches or (num_tokens, rows, columns, 2), gives (batch, num_tokens, rows, columns, num_channels).

    Args:
      patch_size: edge of a patch in pixels.
      num_channels: number of colour channels.
      hidden_dim: width of the Fourier embedding and of the hidden layer.

    Raises:
      ValueError: an argument is below 1.
    """

    def __init__(self, patch_size: int, num_channels: int, hidden_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        if min(patch_size, num_channels, hidden_dim) < 1:
            raise ValueError(
                "patch_size, num_channels and hidden_dim must be at least 1, "
                f"got {patch_size}, {num_channels}, {hidden_dim}"
            )
        self.patch_size = patch_size
        self.num_channels = num_channels
        self.hidden_dim = hidden_dim

    def build(self, input_shape: Any) -> None:
        style_shape = (None, input_shape[-1])
        self.embedding = FourierEmbedding(self.hidden_dim, name="embedding", dtype=self.variable_dtype)
        self.embedding.build((None, 2))
        self.hidden = ModulatedDense(self.hidden_dim, activation="leaky_relu", name="hidden")
        self.hidden.build([(None, self.hidden_dim), style_shape])
        self.to_pixels = ModulatedDense(self.num_channels, demodulate=False, name="to_pixels")
        self.to_pixels.build([(None, self.hidden_dim), style_shape])
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, coordinates: tf.Tensor | None = None) -> tf.Tensor:
        _, num_tokens, embed_dim = tokens.shape
        y = tf.reshape(tokens, [-1, embed_dim])
        if coordinates is None:
            shape = [self.patch_size, self.patch_size, 2]
            coordinates = tf.reshape(coordinate_grid(self.patch_size, self.patch_size), shape)
        sizes = tf.shape(coordinates)
        rows, columns = (
            sizes[axis] if coordinates.shape[axis] is None else coordinates.shape[axis] for axis in (-3, -2)
        )
        points = tf.reshape(coordinates, [*coordinates.shape[:-3], rows * columns, 2])
        codes = self.embedding(points)  # (points, hidden_dim), or (num_tokens, points, hidden_dim)
        if codes.shape.rank == 3:
            codes = tf.tile(codes, [tf.shape(tokens)[0], 1, 1])
        hidden = self.hidden((codes, y))  # (batch * num_tokens, points, hidden_dim)
        pixels = self.to_pixels((hidden, y))  # (batch * num_tokens, points, num_channels)
        return tf.reshape(pixels, [-1, num_tokens, rows, columns, self.num_channels])


class LinearPatchDecoder(tf.keras.layers.Layer):
    """Linear map from patch embedding to pixels, x_p = y W + b: the ablation of the Fourier decoder.

    Call: (batch, num_tokens, embed_dim) -> (batch, num_tokens, patch_size, patch_size, num_channels).

    Args:
      patch_size: edge of a patch in pixels.
      num_channels: number of colour channels.

    Raises:
      ValueError: an argument is below 1.
    """

    def __init__(self, patch_size: int, num_channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        if min(patch_size, num_channels) < 1:
            raise ValueError(f"patch_size and num_channels must be at least 1, got {patch_size}, {num_channels}")
        self.patch_size = patch_size
        self.num_channels = num_channels

    def build(self, input_shape: Any) -> None:
        self.to_pixels = EqualizedDense(self.patch_size**2 * self.num_channels, name="to_pixels")
        self.to_pixels.build(input_shape)
        super().build(input_shape)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        shape = [-1, tokens.shape[1], self.patch_size, self.patch_size, self.num_channels]
        return tf.reshape(self.to_pixels(tokens), shape)


class ConvPatchDecoder(tf.keras.layers.Layer):
    """Convolutional decoder: StyleGAN2's blocks on top of the token map, see `StyledSynthesis`.

    All convolutions share one style. Each doubling of the resolution halves the number of features, down to 16. The
    paper's authors later recommended this decoder, because it converges faster.

    Call: (tokens (batch, num_tokens, embed_dim), style (batch, style_dim)) -> images (batch, grid_size * patch_size,
    grid_size * patch_size, num_channels), where grid_size^2 = num_tokens. Unlike the other decoders, it returns whole
    images. random: as in `StyledConv2D`.

    Args:
      patch_size: pixels per token along each axis, a power of 2.
      num_channels: number of colour channels.

    Raises:
      ValueError: an argument is below 1, patch_size is not a power of 2, or num_tokens is not a square.
    """

    MIN_FEATURES = 16

    def __init__(self, patch_size: int, num_channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        if min(patch_size, num_channels) < 1:
            raise ValueError(f"patch_size and num_channels must be at least 1, got {patch_size}, {num_channels}")
        if patch_size & (patch_size - 1):
            raise ValueError(f"patch_size must be a power of 2, got {patch_size}")
        self.patch_size = patch_size
        self.num_channels = num_channels

    def build(self, input_shape: Any) -> None:
        (batch_size, num_tokens, embed_dim), (_, style_dim) = input_shape
        self.grid_size = math.isqrt(num_tokens)
        if self.grid_size**2 != num_tokens:
            raise ValueError(f"num_tokens must be a square, got {num_tokens}")
        units = [embed_dim]
        for _ in range(self.patch_size.bit_length() - 1):
            units.append(max(units[-1] // 2, self.MIN_FEATURES))
        self.synthesis = StyledSynthesis(units, self.num_channels, name="synthesis")
        map_shape = (batch_size, self.grid_size, self.grid_size, embed_dim)
        self.synthesis.build((map_shape, (batch_size, self.synthesis.num_styles, style_dim)))
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], random: ImageRandom | None = None) -> tf.Tensor:
        tokens, style = inputs
        features = tf.reshape(tokens, [-1, self.grid_size, self.grid_size, tokens.shape[-1]])
        styles = tf.stack([style] * self.synthesis.num_styles, axis=1)
        return self.synthesis((features, styles), random=random)
