"""DiffAugment: differentiable augmentation of real and generated images (Zhao et al. 2020).

Every operation draws its numbers per image, works on whole batches with static shapes, without gathers, and
passes gradients to the images. Images are (batch, height, width, channels), floats in [-1, 1]; outside the
image, and in the cut-out square, is 0. The drawn numbers are arguments of the operations, so that each can be
compared with a loop; `diff_augment` draws them.
"""

from __future__ import annotations

import math

import tensorflow as tf

from vitgan_tf.config.choices import AUGMENTATIONS
from vitgan_tf.randomness import BatchRandom

TRANSLATION_RATIO = 1 / 8
CUTOUT_RATIO = 1 / 2
SCALING_RANGE = (0.8, 1.25)


def diff_augment(images: tf.Tensor, policy: tuple[str, ...], probability: float, random: BatchRandom) -> tf.Tensor:
    """Applies the operations of a policy in its order, each to each image with a probability of its own draw.

    Args:
      images: (batch, height, width, channels), in [-1, 1].
      policy: names in `choices.AUGMENTATIONS`.
      probability: of each operation, per image.
      random: random numbers of these images; the same ones give the same augmentation.

    Returns:
      Images of the same shape and dtype; values may leave [-1, 1].
    """
    if not policy:
        return images
    for name, own_random in zip(policy, random.split(len(policy))):
        images = AUGMENTATIONS[name](images, Draws(probability, own_random, images.dtype))
    return images


class Draws:
    """The random numbers of one operation, for the images that it is applied to; the others get neutral ones.

    Args:
      probability: that the operation is applied to an image.
      random: random numbers of the images.
      dtype: of the numbers.
    """

    def __init__(self, probability: float, random: BatchRandom, dtype: tf.DType):
        self._random = random
        self._dtype = dtype
        self._count = 0
        self._applies = self._uniform(0.0, 1.0) < probability

    def _uniform(self, low: float, high: float) -> tf.Tensor:
        random = self._random.fork(self._count)
        self._count += 1
        return random.uniform(1, 1, 1, low=low, high=high, dtype=self._dtype)

    def uniform(self, low: float, high: float, neutral: float) -> tf.Tensor:
        """One number per image in [low, high), or neutral: (batch, 1, 1, 1). Each call draws anew."""
        return tf.where(self._applies, self._uniform(low, high), tf.cast(neutral, self._dtype))

    def whole(self, low: int, high: int, neutral: int) -> tf.Tensor:
        """One whole number per image, low to high inclusive, or neutral, as float: (batch, 1, 1, 1)."""
        return tf.floor(self.uniform(low, high + 1, neutral))


def adjust_color(images: tf.Tensor, brightness: tf.Tensor, saturation: tf.Tensor, contrast: tf.Tensor) -> tf.Tensor:
    """Brightness is added; saturation scales around the grey of each pixel, contrast around that of the image.

    The three, each (batch, 1, 1, 1), are applied in this order.
    """
    images += brightness
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images = (images - grey) * saturation + grey
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return (images - mean) * contrast + mean


def random_color(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Brightness by up to 0.5, saturation by a factor up to 2, contrast by one of 0.5 to 1.5."""
    return adjust_color(
        images,
        brightness=draws.uniform(-0.5, 0.5, neutral=0.0),
        saturation=draws.uniform(0.0, 2.0, neutral=1.0),
        contrast=draws.uniform(0.5, 1.5, neutral=1.0),
    )


def translate(images: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Shifts by whole numbers of pixels, given as floats (batch, 1, 1, 1), filling with 0."""
    return _resample(images, tf.ones_like(down), down, right)


def random_translation(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Shifts by up to an eighth of the edge, in whole pixels."""
    limits = [int(size * TRANSLATION_RATIO + 0.5) for size in images.shape[1:3]]
    return translate(images, *(draws.whole(-limit, limit, neutral=0) for limit in limits))


def scale(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Enlarges around the centre by a factor (batch, 1, 1, 1), bilinearly, cropping or filling with 0."""
    return _resample(images, factor, tf.zeros_like(factor), tf.zeros_like(factor))


def random_scaling(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Enlarges by a factor of 0.8 to 1.25, uniform in its logarithm."""
    low, high = (math.log(factor) for factor in SCALING_RANGE)
    return scale(images, tf.exp(draws.uniform(low, high, neutral=0.0)))


def _resample(images: tf.Tensor, factor: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Bilinear resampling as one product per axis: out = R_y image R_x^T, which passes gradients without gathers.

    Row i of R_y holds the weights max(0, 1 - |s_i - j|) of the input rows j, where s_i = (i - c - down) / factor
    + c is the place that output row i shows, c the centre. At factor 1 and whole shifts they are 0 and 1.
    """
    _, height, width, channels = images.shape
    rows = tf.reshape(images, [-1, height, width * channels])
    rows = tf.matmul(_interpolation_weights(height, factor, down), rows)
    columns = tf.transpose(tf.reshape(rows, [-1, height, width, channels]), [0, 2, 1, 3])
    columns = tf.matmul(
        _interpolation_weights(width, factor, right), tf.reshape(columns, [-1, width, height * channels])
    )
    return tf.transpose(tf.reshape(columns, [-1, width, height, channels]), [0, 2, 1, 3])


def _interpolation_weights(size: int, factor: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """(batch, size, size): weights of the input positions (last axis) for each output position."""
    positions = tf.range(size, dtype=factor.dtype)
    centre = (size - 1) / 2
    sources = (positions[None, :, None] - centre - shift[:, 0]) / factor[:, 0] + centre
    return tf.nn.relu(1.0 - tf.abs(sources - positions))


def cutout(images: tf.Tensor, row: tf.Tensor, column: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Sets a rectangle to 0.

    Args:
      images: (batch, height, width, channels).
      row: first row of the rectangle, (batch, 1, 1, 1), whole numbers as floats; may lie outside.
      column: its first column, likewise.
      size: height and width of the rectangle in pixels.
    """
    _, height, width, _ = images.shape
    rows = tf.range(height, dtype=images.dtype)[:, None, None] - row
    columns = tf.range(width, dtype=images.dtype)[:, None] - column
    inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    return images * tf.cast(~inside, images.dtype)


def random_cutout(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Sets a square of half the edge to 0."""
    height, width = (int(size * CUTOUT_RATIO + 0.5) for size in images.shape[1:3])
    # The centre is uniform over the image, its far border included; neutral is a rectangle outside.
    row, column = (
        draws.whole(0, size - edge % 2, neutral=-edge) - edge // 2
        for size, edge in zip(images.shape[1:3], (height, width))
    )
    return cutout(images, row, column, (height, width))
