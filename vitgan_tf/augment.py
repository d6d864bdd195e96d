"""DiffAugment: differentiable augmentation of real and generated images (Zhao et al. 2020).

Every operation draws its random numbers per image, works on whole batches with static shapes and no gathers, and is
differentiable in the images. Images are (batch, height, width, channels), floats in [-1, 1]. Pixels from outside the
image and cut-out pixels are 0. The operations take the drawn numbers as arguments, so that each can be compared with
a loop; `diff_augment` draws them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from vitgan_tf.config.choices import AUGMENTATIONS
from vitgan_tf.randomness import BatchRandom

TRANSLATION_RATIO = 1 / 8
CUTOUT_RATIO = 1 / 2
SCALING_RANGE = (0.8, 1.25)


def diff_augment(images: tf.Tensor, policy: tuple[str, ...], probability: float, random: BatchRandom) -> tf.Tensor:
    """Applies the operations of a policy in order, each with an independent draw per image.

    Args:
      images: (batch, height, width, channels), in [-1, 1].
      policy: names in `choices.AUGMENTATIONS`.
      probability: probability of each operation, per image.
      random: random numbers of the images; equal ones give equal augmentations.

    Returns:
      Images of the same shape and dtype; values may leave [-1, 1].
    """
    if not policy:
        return images
    for name, own_random in zip(policy, random.split(len(policy))):
        images = AUGMENTATIONS[name](images, Draws(probability, own_random, images.dtype))
    return images


class Draws:
    """Random numbers of one operation; images that it skips get neutral values.

    Args:
      probability: probability that the operation is applied to an image.
      random: random numbers of the images.
      dtype: dtype of the drawn numbers.
    """

    # Numbers that are drawn together.
    _BLOCK = 4

    def __init__(self, probability: float, random: BatchRandom, dtype: tf.DType):
        self._dtype = dtype
        self._numbers = self._endless(random)
        self._applies = next(self._numbers) < probability

    def _endless(self, random: BatchRandom) -> Iterator[tf.Tensor]:
        """Yields numbers in [0, 1), (batch, 1, 1, 1)."""
        for block in itertools.count():
            yield from tf.unstack(random.fork(block).uniform(self._BLOCK, 1, 1, 1, dtype=self._dtype), axis=1)

    def uniform(self, low: float, high: float, neutral: float) -> tf.Tensor:
        """Draws one number in [low, high) per image, or neutral: (batch, 1, 1, 1). Every call draws new numbers."""
        number = low + (high - low) * next(self._numbers)
        return tf.where(self._applies, number, tf.constant(neutral, self._dtype))

    def whole(self, low: int, high: int, neutral: int) -> tf.Tensor:
        """Draws one integer in [low, high] per image, or neutral, as float: (batch, 1, 1, 1)."""
        return tf.floor(self.uniform(low, high + 1, neutral))


def adjust_color(images: tf.Tensor, brightness: tf.Tensor, saturation: tf.Tensor, contrast: tf.Tensor) -> tf.Tensor:
    """Adds brightness, then scales saturation around each pixel's grey, then contrast around the image mean.

    Each argument is (batch, 1, 1, 1).
    """
    images += brightness
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images = (images - grey) * saturation + grey
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return (images - mean) * contrast + mean


def random_color(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Shifts brightness by up to 0.5, scales saturation by 0 to 2 and contrast by 0.5 to 1.5."""
    return adjust_color(
        images,
        brightness=draws.uniform(-0.5, 0.5, neutral=0.0),
        saturation=draws.uniform(0.0, 2.0, neutral=1.0),
        contrast=draws.uniform(0.5, 1.5, neutral=1.0),
    )


def translate(images: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Shifts images by whole pixels, given as floats (batch, 1, 1, 1), and fills with 0."""
    return _resample(images, tf.ones_like(down), down, right)


def random_translation(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Shifts images by up to 1/8 of their size along each axis, in whole pixels."""
    limits = [int(size * TRANSLATION_RATIO + 0.5) for size in images.shape[1:3]]
    return translate(images, *(draws.whole(-limit, limit, neutral=0) for limit in limits))


def scale(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Zooms around the centre by a factor (batch, 1, 1, 1), bilinearly; crops, or fills with 0."""
    return _resample(images, factor, tf.zeros_like(factor), tf.zeros_like(factor))


def random_scaling(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Zooms by a log-uniform factor from 0.8 to 1.25."""
    low, high = (math.log(factor) for factor in SCALING_RANGE)
    return scale(images, tf.exp(draws.uniform(low, high, neutral=0.0)))


def _resample(images: tf.Tensor, factor: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Bilinear resampling as one matrix product per axis, out = R_y image R_x^T: differentiable, no gathers.

    Row i of R_y holds the weights max(0, 1 - |s_i - j|) of the input rows j. Output row i shows the position
    s_i = (i - c - down) / factor + c of the input, where c is the centre. At factor 1 and whole-pixel shifts, the
    weights are 0 and 1.
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
    """Weights of the input positions (last axis) for each output position, (batch, size, size)."""
    positions = np.arange(size)
    centre = (size - 1) / 2
    shift, factor = tf.squeeze(shift, 1), tf.squeeze(factor, 1)
    sources = (positions[:, None] - centre - shift) / factor + centre
    return tf.nn.relu(1.0 - tf.abs(sources - positions))


def cutout(images: tf.Tensor, row: tf.Tensor, column: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Sets a rectangle to 0.

    Args:
      images: (batch, height, width, channels).
      row: first row of the rectangle, (batch, 1, 1, 1), integers as floats; may lie outside the image.
      column: first column of the rectangle, likewise.
      size: height and width of the rectangle in pixels.
    """
    _, height, width, _ = images.shape
    rows, columns = (np.arange(edge) for edge in (height, width))
    rows, columns = rows[:, None, None] - row, columns[:, None] - column
    inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    return images * tf.cast(~inside, images.dtype)


def random_cutout(images: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Sets a rectangle of half the height and half the width to 0."""
    height, width = (int(size * CUTOUT_RATIO + 0.5) for size in images.shape[1:3])
    # The centre is uniform over the image, including the far border. The neutral rectangle lies outside the image.
    row, column = (
        draws.whole(0, size - edge % 2, neutral=-edge) - edge // 2
        for size, edge in zip(images.shape[1:3], (height, width))
    )
    return cutout(images, row, column, (height, width))
