"""StyleGAN2's blurred upsampling and downsampling, and nearest-neighbour upsampling."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf


def upsample(images: tf.Tensor) -> tf.Tensor:
    """Upsamples by 2 with StyleGAN2's blur: upfirdn2d(images, filter, up=2, pad=(2, 1)).

    Zeros are inserted between the pixels, and the filter [1, 3, 3, 1], normalised to sum 2, runs along each axis.
    Every second tap meets an inserted zero. The others give, along each axis and with zeros outside the image,
    y[2 i] = x[i-1] / 4 + 3 x[i] / 4,   y[2 i + 1] = 3 x[i] / 4 + x[i+1] / 4.

    Args:
      images: (batch, height, width, channels), static shape except for the batch.

    Returns:
      (batch, 2 height, 2 width, channels).
    """
    return _resampled(images, up=2, padding=(2, 1))


def upsample_with_margin(images: tf.Tensor) -> tf.Tensor:
    """Upsamples as `upsample` does, with one more pixel on all sides: upfirdn2d(images, filter, up=2, pad=(3, 2)).

    A 3 x 3 convolution without padding then equals StyleGAN2's transposed convolution followed by the blur, on the
    whole image: convolution and blur commute where neither is cut off.

    Args:
      images: (batch, height, width, channels), static shape except for the batch.

    Returns:
      (batch, 2 height + 2, 2 width + 2, channels).
    """
    return _resampled(images, up=2, padding=(3, 2))


def downsample(images: tf.Tensor) -> tf.Tensor:
    """Downsamples by 2 with StyleGAN2's blur: upfirdn2d(images, filter, down=2, pad=(1, 1)).

    The filter [1, 3, 3, 1] / 8 runs along each axis with stride 2 and zeros outside the image:
    y[i] = (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8.

    Args:
      images: (batch, height, width, channels), static shape except for the batch; height and width even.

    Returns:
      (batch, height / 2, width / 2, channels).
    """
    return _resampled(images, down=2, padding=(1, 1))


def blur(images: tf.Tensor) -> tf.Tensor:
    """Blurs before a stride-2 convolution: upfirdn2d(images, filter, pad=(2, 2)).

    Args:
      images: (batch, height, width, channels), static shape except for the batch.

    Returns:
      (batch, height + 1, width + 1, channels).
    """
    return _resampled(images, padding=(2, 2))


def repeat_pixels(images: tf.Tensor, factor: int) -> tf.Tensor:
    """(batch, height, width, channels) -> (batch, factor height, factor width, channels): nearest neighbour."""
    return tf.repeat(tf.repeat(images, factor, axis=1), factor, axis=2)


def _resampled(images: tf.Tensor, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0)) -> tf.Tensor:
    """upfirdn2d with [1, 3, 3, 1] along each axis, as one matrix product per axis.

    A sum of shifted images is equivalent, but its gradient takes far longer on CPUs.
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
    """Returns the matrix that applies the filter along an axis, (new_size, size)."""
    taps = np.array([1.0, 3.0, 3.0, 1.0]) * (up / 8.0)
    new_size = (size * up + sum(padding) - len(taps)) // down + 1
    # The tap that meets each pixel; out of range if none does.
    index = up * np.arange(size) + padding[0] - down * np.arange(new_size)[:, None]
    return np.where((index >= 0) & (index < len(taps)), taps[np.clip(index, 0, len(taps) - 1)], 0.0)
