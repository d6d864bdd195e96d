"""StyleGAN2's blurred upsampling and downsampling, and upsampling without a blur."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf


def upsample(images: tf.Tensor) -> tf.Tensor:
    """Upsampling by 2 with the blur of StyleGAN2: upfirdn2d(images, filter, up=2, pad=(2, 1)).

    Zeros are put between the pixels and the filter [1, 3, 3, 1] is run along each axis, normalised to the sum 2.
    Every second product of this convolution is with such a zero; what remains is, zero outside the image,
    y[2 i] = x[i-1] / 4 + 3 x[i] / 4,   y[2 i + 1] = 3 x[i] / 4 + x[i+1] / 4      along each axis.

    Args:
      images: (batch, height, width, channels), of static shape but for the batch.

    Returns:
      (batch, 2 height, 2 width, channels).
    """
    return _resampled(images, up=2, padding=(2, 1))


def downsample(images: tf.Tensor) -> tf.Tensor:
    """Downsampling by 2 with the blur of StyleGAN2: upfirdn2d(images, filter, down=2, pad=(1, 1)).

    The filter [1, 3, 3, 1] / 8 is run along each axis, at every second pixel, zero outside the image:
    y[i] = (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8.

    Args:
      images: (batch, height, width, channels), of static shape but for the batch; height and width even.

    Returns:
      (batch, height / 2, width / 2, channels).
    """
    return _resampled(images, down=2, padding=(1, 1))


def blur(images: tf.Tensor) -> tf.Tensor:
    """The blur that comes before a convolution of stride 2: upfirdn2d(images, filter, pad=(2, 2)).

    Args:
      images: (batch, height, width, channels), of static shape but for the batch.

    Returns:
      (batch, height + 1, width + 1, channels).
    """
    return _resampled(images, padding=(2, 2))


def repeat_pixels(images: tf.Tensor, factor: int) -> tf.Tensor:
    """(batch, height, width, channels) -> (batch, factor height, factor width, channels): the nearest pixel."""
    return tf.repeat(tf.repeat(images, factor, axis=1), factor, axis=2)


def _resampled(images: tf.Tensor, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0)) -> tf.Tensor:
    """upfirdn2d with [1, 3, 3, 1] along each axis, as a product with a matrix.

    A sum of shifted images says the same, but on CPUs its gradient takes far longer.
    """
    height, width, channels = images.shape[1:]
    rows, columns = (
        _filter_matrix(size, up, down, padding).astype(images.dtype.as_numpy_dtype) for size in (height, width)
    )
    images = tf.matmul(rows, tf.reshape(images, [-1, height, width * channels]))
    images = tf.matmul(columns, tf.reshape(images, [-1, width, channels]))
    return tf.reshape(images, [-1, len(rows), len(columns), channels])


@functools.cache
def _filter_matrix(size: int, up: int, down: int, padding: tuple[int, int]) -> np.ndarray:
    """From the pixels of an axis to what the filter makes of them, (new size, size)."""
    taps = np.array([1.0, 3.0, 3.0, 1.0]) * (up / 8.0)
    new_size = (size * up + sum(padding) - len(taps)) // down + 1
    # The tap that meets each pixel, if any does.
    index = up * np.arange(size) + padding[0] - down * np.arange(new_size)[:, None]
    return np.where((index >= 0) & (index < len(taps)), taps[np.clip(index, 0, len(taps) - 1)], 0.0)
