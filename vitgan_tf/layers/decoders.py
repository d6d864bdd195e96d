"""From the embedding of a patch to its pixels."""

from __future__ import annotations

import tensorflow as tf

from vitgan_tf.layers.coordinates import FourierEmbedding, coordinate_grid
from vitgan_tf.layers.modulation import ModulatedDense


class FourierPatchDecoder(tf.keras.layers.Layer):
    """Implicit neural representation of a patch: a small network over pixel coordinates.

    x_p = f_theta(E_fou, y)      (paper, "Implicit Neural Representation for Patch Generation")

    E_fou is the Fourier embedding of the coordinates of the patch's pixels; f_theta a network of two layers,
    both modulated by the patch's embedding y as in StyleGAN2 and CIPS, the hidden one demodulated and followed
    by a leaky ReLU (slope 0.2, gain sqrt 2). All patches and tokens share the same codes E_fou.

    Call: (batch, num_tokens, embed_dim) -> (batch, num_tokens, patch_size, patch_size, num_channels).

    Args:
      patch_size: edge of a patch in pixels.
      num_channels: colour channels of the image.
      hidden_dim: width of the Fourier embedding and of the hidden layer.

    Raises:
      ValueError: an argument below 1.
    """

    def __init__(self, patch_size: int, num_channels: int, hidden_dim: int, **kwargs):
        super().__init__(**kwargs)
        if min(patch_size, num_channels, hidden_dim) < 1:
            raise ValueError(
                "patch_size, num_channels and hidden_dim must be at least 1, "
                f"got {patch_size}, {num_channels}, {hidden_dim}"
            )
        self.patch_size = patch_size
        self.num_channels = num_channels
        self.hidden_dim = hidden_dim

    def build(self, input_shape):
        style_shape = (None, input_shape[-1])
        self.embedding = FourierEmbedding(self.hidden_dim, name="embedding")
        self.embedding.build((None, 2))
        self.hidden = ModulatedDense(self.hidden_dim, activation="leaky_relu", name="hidden")
        self.hidden.build([(None, self.hidden_dim), style_shape])
        self.to_pixels = ModulatedDense(self.num_channels, demodulate=False, name="to_pixels")
        self.to_pixels.build([(None, self.hidden_dim), style_shape])
        super().build(input_shape)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        _, num_tokens, embed_dim = tokens.shape
        y = tf.reshape(tokens, [-1, embed_dim])
        codes = self.embedding(coordinate_grid(self.patch_size, self.patch_size))  # (P^2, hidden_dim)
        hidden = self.hidden((codes, y))  # (batch * num_tokens, P^2, hidden_dim)
        pixels = self.to_pixels((hidden, y))  # (batch * num_tokens, P^2, num_channels)
        return tf.reshape(pixels, [-1, num_tokens, self.patch_size, self.patch_size, self.num_channels])

    def get_config(self):
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "num_channels": self.num_channels,
            "hidden_dim": self.hidden_dim,
        }
