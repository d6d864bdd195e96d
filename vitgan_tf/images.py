"""Value ranges of images, image grids and image files."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vitgan_tf.files import write_atomically

_MAX_JPEG_EDGE = 65_500


def to_float(images_uint8: np.ndarray | tf.Tensor) -> tf.Tensor:
    """uint8 images, 0 to 255 -> float32 in [-1, 1]. Any shape."""
    return tf.cast(images_uint8, tf.float32) * (2.0 / 255.0) - 1.0


def to_uint8(images: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Float images, clipped to [-1, 1] -> uint8, 0 to 255: inverse of `to_float`. Any shape."""
    return tf.cast(tf.round((tf.clip_by_value(images, -1.0, 1.0) + 1.0) * (255.0 / 2.0)), tf.uint8)


def grid_size(num_images: int, height: int, width: int, columns: int, min_width: int = 0) -> tuple[int, int]:
    """Returns height and width in pixels of the `image_grid` of num_images images of this size."""
    rows, cell_width = -(-num_images // columns), columns * (width + 1) - 1
    factor = max(1, -(-min_width // cell_width))
    return (rows * (height + 1) - 1) * factor, cell_width * factor


def image_grid(images_uint8: np.ndarray, columns: int, min_width: int = 0) -> np.ndarray:
    """Arranges images in rows, separated by grey lines of one pixel and enlarged by an integer factor.

    Args:
      images_uint8: (num_images, height, width, channels); empty cells of the last row are grey.
      columns: images per row.
      min_width: minimum width of the grid in pixels, reached by repeating pixels.

    Returns:
      ((rows * (height + 1) - 1) * factor, (columns * (width + 1) - 1) * factor, channels) uint8.
    """
    num_images, height, width, channels = images_uint8.shape
    rows = -(-num_images // columns)
    cells = np.full((rows * columns, height + 1, width + 1, channels), 128, np.uint8)
    cells[:num_images, :height, :width] = images_uint8
    cells = cells.reshape(rows, columns, height + 1, width + 1, channels).transpose(0, 2, 1, 3, 4)
    grid = cells.reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1]
    factor = grid_size(num_images, height, width, columns, min_width)[1] // grid.shape[1]
    return grid.repeat(factor, axis=0).repeat(factor, axis=1)


def write_picture(path: str, image_uint8: np.ndarray) -> None:
    """Writes (height, width, 1 or 3) uint8 as a JPEG file if the name ends in .jpg or .jpeg, else as PNG; atomically.

    Raises:
      OSError: the file cannot be written, or a JPEG would have an edge of more than 65,500 pixels.
    """
    is_jpeg = path.lower().endswith((".jpg", ".jpeg"))
    if is_jpeg and max(image_uint8.shape[:2]) > _MAX_JPEG_EDGE:
        raise OSError(None, f"a JPEG has at most {_MAX_JPEG_EDGE:,} pixels along an edge", path)
    write_atomically(path, (tf.io.encode_jpeg if is_jpeg else tf.io.encode_png)(image_uint8).numpy())
