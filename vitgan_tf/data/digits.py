"""scikit-learn's handwritten digits: real scans, no download."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

NUM_CLASSES = 10


def load_digits(image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Loads the 1,797 scanned digits of the UCI test set from scikit-learn, 8 x 8 in 17 grey levels.

    Args:
      image_size: edge in pixels after resizing (bicubic, antialiased when shrinking).

    Returns:
      images (1797, image_size, image_size, 1) uint8, white on black, and labels (1797,) int64, 0 to 9.
    """
    # Imported lazily: slow, and only this data set needs it.
    from sklearn import datasets

    digits = datasets.load_digits()
    images = digits.images[..., None].astype(np.float32) * (255.0 / 16.0)
    if image_size != images.shape[1]:
        images = tf.image.resize(images, (image_size, image_size), method="bicubic", antialias=True).numpy()
    return np.clip(np.rint(images), 0, 255).astype(np.uint8), digits.target.astype(np.int64)
