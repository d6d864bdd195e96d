"""Coordinates of patches and pixels, and their Fourier embedding."""

import math

import tensorflow as tf


def coordinate_grid(height: int, width: int) -> tf.Tensor:
    """Centres of the cells of a height x width grid laid over the square [-1, 1]^2.

    Cell i of n has its centre at (2 i + 1) / n - 1, so that the centres of a grid twice as fine lie
    symmetrically around those of the coarse one: what renders a patch at another pixel density.

    Returns:
      (height * width, 2) float32, rows in raster order, columns (y, x), values inside (-1, 1).
    """
    y = (2.0 * tf.range(height, dtype=tf.float32) + 1.0) / height - 1.0
    x = (2.0 * tf.range(width, dtype=tf.float32) + 1.0) / width - 1.0
    return tf.reshape(tf.stack(tf.meshgrid(y, x, indexing="ij"), axis=-1), [-1, 2])


class FourierEmbedding(tf.keras.layers.Layer):
    """Sine of a learned linear projection of coordinates.

    E(c) = sin(pi * c W / sqrt(2) + b)     (paper, "Generator Design"; Anokhin et al. 2021)

    W is drawn from N(0, 1) and scaled at use as in every equalised layer. The phases b start uniform in
    [-pi, pi], so that the embedding spans even as well as odd functions of the coordinates.

    Call: (num_points, 2) coordinates in [-1, 1] -> (num_points, embed_dim) in [-1, 1].

    Raises:
      ValueError: embed_dim below 1.
    """

    def __init__(self, embed_dim: int, **kwargs):
        super().__init__(**kwargs)
        if embed_dim < 1:
            raise ValueError(f"embed_dim must be at least 1, got {embed_dim}")
        self.embed_dim = embed_dim

    def build(self, input_shape):
        self.frequencies = self.add_weight(
            name="frequencies",
            shape=(input_shape[-1], self.embed_dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=1.0),
        )
        self.phases = self.add_weight(
            name="phases",
            shape=(self.embed_dim,),
            initializer=tf.keras.initializers.RandomUniform(-math.pi, math.pi),
        )
        super().build(input_shape)

    def call(self, coordinates: tf.Tensor) -> tf.Tensor:
        scale = math.pi / math.sqrt(self.frequencies.shape[0])
        coordinates = tf.cast(coordinates, self.compute_dtype)
        return tf.sin(tf.matmul(coordinates, self.frequencies * scale) + self.phases)

    def get_config(self):
        return {**super().get_config(), "embed_dim": self.embed_dim}
