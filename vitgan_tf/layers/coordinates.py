"""Coordinates of patches and pixels, and positional embeddings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf


def coordinate_grid(height: int, width: int) -> tf.Tensor:
    """Returns the cell centres of a height x width grid over the square [-1, 1]^2.

    Cell i of n has its centre at (2 i + 1) / n - 1. The centres of a grid twice as fine lie symmetrically around
    those of the coarse one, so that a patch can be rendered at another pixel density.

    Returns:
      (height * width, 2) float32, rows in raster order, columns (y, x), values inside (-1, 1).
    """
    y, x = ((2.0 * np.arange(size, dtype=np.float32) + 1.0) / size - 1.0 for size in (height, width))
    return tf.constant(np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2))


def patch_pixels(grid_size: int, image_size: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Maps the pixels of an axis to patches and to positions within them, for any number of pixels.

    In units of patches, pixel j has its centre at (2 j + 1) grid_size / (2 image_size). The integer part is the index
    of its patch, the fraction its position in the patch. Unless image_size is a multiple of grid_size, patch sizes
    differ by one pixel: every patch gets as many places as the largest, and places past its end are unused.

    Args:
      grid_size: number of patches along the axis.
      image_size: number of pixels along the axis, an int or a scalar int32 tensor.

    Returns:
      The coordinates of the places within each patch, (grid_size, places) float32, with the patch borders at -1 and
      1; and the index of each pixel in the flattened (grid_size, places), (image_size,) int32.
    """
    # Quotients are rounded up by hand: ONNX rounds those of negative integers towards zero.
    places = (image_size + grid_size - 1) // grid_size
    patches = tf.range(grid_size)
    first = (2 * patches * image_size + grid_size - 1) // (2 * grid_size)  # the first pixel of each patch
    pixels = first[:, None] + tf.range(places)
    numerators = (2 * pixels + 1) * grid_size - (2 * patches[:, None] + 1) * image_size
    coordinates = tf.cast(numerators, tf.float32) / tf.cast(image_size, tf.float32)
    pixels = tf.range(image_size)
    patch = ((2 * pixels + 1) * grid_size) // (2 * image_size)
    return coordinates, patch * places + pixels - tf.gather(first, patch)


class _Embedding(tf.keras.layers.Layer):
    """Base class of the positional embeddings: checks and stores their width."""

    def __init__(self, embed_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        if embed_dim < 1:
            raise ValueError(f"embed_dim must be at least 1, got {embed_dim}")
        self.embed_dim = embed_dim


class LearnedEmbedding(_Embedding):
    """Table with one learned row per position, independent of the coordinates: ViT's embedding.

    Call: coordinates (num_points, 2), ignored -> (num_points, embed_dim), initialised from N(0, 1).

    Raises:
      ValueError: embed_dim is below 1.
    """

    def build(self, input_shape: Any) -> None:
        self.table = self.add_weight(
            name="table",
            shape=(input_shape[0], self.embed_dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=1.0),
        )
        super().build(input_shape)

    def call(self, coordinates: tf.Tensor) -> tf.Tensor:
        return tf.convert_to_tensor(self.table)


class FourierEmbedding(_Embedding):
    """Sine of a learned linear projection of coordinates.

    E(c) = sin(pi * c W / sqrt(2) + b)     (paper, "Generator Design"; Anokhin et al. 2021)

    W is drawn from N(0, 1) and scaled at use, as in every equalised layer. The phases b are initialised uniformly in
    [-pi, pi], so that the embedding spans both even and odd functions of the coordinates.

    Call: (..., 2) coordinates in [-1, 1] -> (..., embed_dim) in [-1, 1].

    Raises:
      ValueError: embed_dim is below 1.
    """

    def build(self, input_shape: Any) -> None:
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
