"""Picture of generated images beside the real images nearest to them."""

from __future__ import annotations

import numpy as np

from vitgan_tf.images import image_grid, write_picture

MIN_WIDTH = 640
_GREY = 128


def write_nearest(path: str, images: np.ndarray, real_images: np.ndarray, indices: np.ndarray) -> None:
    """Writes a picture with a row for each generated image: the image, a gap, and its nearest real ones.

    Args:
      path: see `images.write_picture`.
      images: generated images, (num_images, size, size, 1 or 3) uint8.
      real_images: all real images, of the same size, in memory or memory-mapped.
      indices: real images to show beside each generated one, (num_images, count), see `evaluation.nearest`.

    Raises:
      OSError: the file cannot be written.
    """
    samples = image_grid(images, columns=1)
    real = image_grid(real_images[indices.ravel()], columns=indices.shape[1])
    gap = np.full([len(samples), max(2, images.shape[2] // 4), images.shape[3]], _GREY, np.uint8)
    picture = np.concatenate([samples, gap, real], axis=1)
    factor = -(-MIN_WIDTH // picture.shape[1])
    write_picture(path, picture.repeat(factor, axis=0).repeat(factor, axis=1))
