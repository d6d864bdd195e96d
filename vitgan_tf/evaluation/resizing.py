"""Resizing of images to the input size of a feature extractor."""

from __future__ import annotations

import dataclasses
from typing import Callable

import numpy as np
import tensorflow as tf

# Keys' cubic kernel, in units of input pixels where the image grows and of output pixels where it shrinks.
_CUBIC_A = -0.5
_CUBIC_SUPPORT = 2.0


@dataclasses.dataclass(frozen=True)
class Resizer:
    """An alternative in `choices.RESIZES`.

    Attributes:
      function: images (batch, height, width, channels) float32 in [-1, 1], of static height and width, and an edge s
        -> (batch, s, s, channels) float32 in [-1, 1].
      words: description, part of the protocol; {0} stands for s.
    """

    function: Callable[[tf.Tensor, int], tf.Tensor]
    words: str


def _tf1(images: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear as in tensorflow-gan's examples and the graph of the first FID.

    By TensorFlow 1's rule, output pixel i of n reads input position i * size / n, without the half-pixel offset of
    today's `tf.image.resize`. No antialiasing of larger images.
    """
    return tf.compat.v1.image.resize_bilinear(images, [size, size])


def _bilinear(images: tf.Tensor, size: int) -> tf.Tensor:
    return tf.image.resize(images, [size, size])


def _clean(images: tf.Tensor, size: int) -> tf.Tensor:
    """Bicubic with antialiasing, clipped      (Parmar et al. 2022)

    `tf.image.resize` with the same kernel differs from Pillow by up to 0.009 of 255 levels, as it rounds positions to
    float32, and has no kernel for GPUs.
    """
    rows, columns = (tf.constant(bicubic_weights(edge, size), tf.float32) for edge in images.shape[1:3])
    resized = tf.tensordot(columns, tf.tensordot(rows, images, [[1], [1]]), [[1], [2]])  # (x, y, batch, channels)
    return tf.clip_by_value(tf.transpose(resized, [2, 1, 0, 3]), -1.0, 1.0)


def bicubic_weights(old: int, new: int) -> np.ndarray:
    """Returns the matrix (new, old) float64 that resizes a line of pixels as Pillow's BICUBIC does.

    Output pixel i lies at (i + 1/2) old / new; the kernel is scaled by max(1, old / new), and its weights within the
    image are divided by their sum.
    """
    scale = max(1.0, old / new)
    centers = (np.arange(new)[:, None] + 0.5) * (old / new)
    distances = np.abs(np.arange(old) + 0.5 - centers) / scale
    inner = ((_CUBIC_A + 2) * distances - (_CUBIC_A + 3)) * distances**2 + 1
    outer = _CUBIC_A * (((distances - 5) * distances + 8) * distances - 4)
    weights = np.where(distances < 1, inner, np.where(distances < _CUBIC_SUPPORT, outer, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


TF1 = Resizer(_tf1, "bilinear to {0} x {0}, corners of pixels aligned at the upper left as in TensorFlow 1")
BILINEAR = Resizer(_bilinear, "bilinear to {0} x {0}, centres of pixels aligned")
CLEAN = Resizer(
    _clean, "bicubic to {0} x {0} with antialiasing, as Pillow, clipped to the range of pixels, as clean-fid"
)
NONE = Resizer(lambda images, size: images, "none")
