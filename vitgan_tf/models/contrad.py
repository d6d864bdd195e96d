"""Heads of a contrastive discriminator, for any discriminator with a representation."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from vitgan_tf.layers.equalized import EqualizedDense

PROJECTION_DIM = 128


class Contrast(NamedTuple):
    """Outputs of a contrastive discriminator for its own update.

    Attributes:
      logits: (batch,); no gradient passes from them to the representation.
      of_real: (batch, 128), unit vectors that tell real images from each other.
      of_fake: (batch, 128), unit vectors that tell generated images from real ones.
    """

    logits: tf.Tensor
    of_real: tf.Tensor
    of_fake: tf.Tensor


class TwoLayers(tf.keras.layers.Layer):
    """W_2 leaky_relu(W_1 x + b_1) + b_2, slope 0.1.

    Call: (batch, features) -> (batch, units).

    Args:
      hidden_dim: width of the hidden layer.
      units: number of outputs.
    """

    def __init__(self, hidden_dim: int, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.hidden = EqualizedDense(self.hidden_dim, name="hidden", dtype=self.dtype_policy)
        self.hidden.build(input_shape)
        self.output_projection = EqualizedDense(self.units, name="output", dtype=self.dtype_policy)
        self.output_projection.build((*input_shape[:-1], self.hidden_dim))
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return self.output_projection(tf.nn.leaky_relu(self.hidden(features), 0.1))


class ContraDHead(tf.keras.layers.Layer):
    """Logit and two projections of a discriminator's representation      (Jeong and Shin 2021, section 3)

    The representation learns by the projections alone: the logit of the discriminator's update stops the gradient.
    In a generator's update and in R1, it passes. Each of the three heads is a `TwoLayers`; the paper's have 512
    hidden units, and its projections 128 outputs.

    Call: representation (batch, features) -> logits (batch, 1), as a linear head of one unit.

    Args:
      hidden_dim: hidden width of each head.
    """

    def __init__(self, hidden_dim: int = 512, **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim

    def build(self, input_shape: Any) -> None:
        dtype = self.dtype_policy
        self.logit = TwoLayers(self.hidden_dim, 1, name="logit", dtype=dtype)
        self.real_projection = TwoLayers(self.hidden_dim, PROJECTION_DIM, name="real_projection", dtype=dtype)
        self.fake_projection = TwoLayers(self.hidden_dim, PROJECTION_DIM, name="fake_projection", dtype=dtype)
        for head in (self.logit, self.real_projection, self.fake_projection):
            head.build(input_shape)
        super().build(input_shape)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return self.logit(features)

    def contrast(self, features: tf.Tensor) -> Contrast:
        """Computes the outputs for the discriminator's own update, from its representation (batch, features)."""
        of_real, of_fake = self.real_projection(features), self.fake_projection(features)
        logits = self(tf.stop_gradient(features))[:, 0]
        return Contrast(logits, tf.math.l2_normalize(of_real, axis=1), tf.math.l2_normalize(of_fake, axis=1))


def head(contrad_units: int, **kwargs: Any) -> tf.keras.layers.Layer:
    """Returns a discriminator's last layer: a `ContraDHead` of this hidden width, or, for 0, a linear one."""
    return ContraDHead(contrad_units, **kwargs) if contrad_units else EqualizedDense(1, **kwargs)
