"""Images to (overlapping) patches, and patches back to images."""

from __future__ import annotations

import math

import tensorflow as tf


def _overlapping_windows(tensor: tf.Tensor, axis: int, patch_size: int, patch_overlap: int) -> tf.Tensor:
    """Splits an axis of size n * patch_size + 2 * patch_overlap into n windows with stride patch_size.

    The axis becomes two: (n, patch_size + 2 * patch_overlap). Windows are concatenated from cells of size
    gcd(patch_size, 2 * patch_overlap). This takes few slices (two if the overlap is half a patch), whose gradients
    are paddings. The gradient of `tf.image.extract_patches` is a sparse product, which XLA and TPUs do not support.
    """
    shape = tensor.shape
    cell = math.gcd(patch_size, 2 * patch_overlap)
    stride, window = patch_size // cell, (patch_size + 2 * patch_overlap) // cell
    count = (shape[axis] - 2 * patch_overlap) // patch_size
    lead = [-1, *shape[1:axis]]
    cells = tf.reshape(tensor, [*lead, shape[axis] // cell, cell, *shape[axis + 1 :]])
    begin = [slice(None)] * axis
    # `window` tensors of shape (..., count, cell, ...)
    parts = [cells[(*begin, slice(i, i + (count - 1) * stride + 1, stride))] for i in range(window)]
    return tf.concat(parts, axis=axis + 1)


def extract_patches(images: tf.Tensor, patch_size: int, patch_overlap: int = 0) -> tf.Tensor:
    """Extracts grid patches, extended by patch_overlap pixels per side (paper, "Overlapping Image Patches").

    The image is zero-padded by patch_overlap, so the number of patches does not depend on the overlap.

    Args:
      images: (batch, height, width, channels), height and width multiples of patch_size.
      patch_size: P, the edge of a grid patch, in pixels.
      patch_overlap: o, in pixels, at least 0.

    Returns:
      (batch, num_patches, (P + 2 o)^2 * channels): patches in raster order, the pixels of each patch in raster order,
      channels last.

    Raises:
      ValueError: height or width is not a multiple of patch_size, or patch_overlap is negative.
    """
    _, height, width, channels = images.shape
    if height % patch_size or width % patch_size:
        raise ValueError(f"image of {height} x {width} is not a multiple of patch_size {patch_size}")
    if patch_overlap < 0:
        raise ValueError(f"patch_overlap must not be negative, got {patch_overlap}")
    border = [patch_overlap, patch_overlap]
    padded = tf.pad(images, [[0, 0], border, border, [0, 0]]) if patch_overlap else images
    rows = _overlapping_windows(padded, 1, patch_size, patch_overlap)  # (batch, rows, window, width, channels)
    windows = _overlapping_windows(rows, 3, patch_size, patch_overlap)  # (..., columns, window, channels)
    patches = tf.transpose(windows, [0, 1, 3, 2, 4, 5])
    num_patches = (height // patch_size) * (width // patch_size)
    return tf.reshape(patches, [-1, num_patches, (patch_size + 2 * patch_overlap) ** 2 * channels])


def patches_to_images(patches: tf.Tensor, grid_height: int, grid_width: int) -> tf.Tensor:
    """Assembles images from a grid of patches: the inverse of `extract_patches` without overlap.

    Args:
      patches: (batch, grid_height * grid_width, P, P, channels), in raster order; P may be dynamic.
      grid_height: number of rows of patches.
      grid_width: number of columns of patches.

    Returns:
      (batch, grid_height * P, grid_width * P, channels).
    """
    sizes = tf.shape(patches)
    patch_height, patch_width, channels = (
        sizes[axis] if patches.shape[axis] is None else patches.shape[axis] for axis in (2, 3, 4)
    )
    cells = tf.reshape(patches, [-1, grid_height, grid_width, patch_height, patch_width, channels])
    images = tf.transpose(cells, [0, 1, 3, 2, 4, 5])
    return tf.reshape(images, [-1, grid_height * patch_height, grid_width * patch_width, channels])
