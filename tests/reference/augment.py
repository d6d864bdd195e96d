"""Augmentations with given draws: one value for each image, (batch,) or a list."""

import numpy as np

from .layers import in_float64


@in_float64
def adjust_color(images, brightness, saturation, contrast):
    """x + brightness, then grey + saturation (x - grey), then mean + contrast (x - mean).

    grey is the mean of a pixel's channels, mean that of the whole image, each as the step before left it.
    """
    out = np.empty_like(images)
    for b, image in enumerate(images):
        image = image + brightness[b]
        for index in np.ndindex(image.shape[:2]):
            grey = np.mean(image[index])
            image[index] = grey + saturation[b] * (image[index] - grey)
        mean = np.mean(image)
        out[b] = mean + contrast[b] * (image - mean)
    return out


@in_float64
def scale(images, factor):
    """Enlarged by the factor around the centre c = (n - 1)/2: pixel i shows s = (i - c)/factor + c.

    Bilinear: pixel k has the weight max(0, 1 - |s - k|) on each axis; there are only zeros outside.
    """
    batch, height, width, _ = images.shape
    out = np.zeros_like(images)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                row = (i - middle_row) / factor[b] + middle_row
                column = (j - middle_column) / factor[b] + middle_column
                for k in range(height):
                    for m in range(width):
                        weight = max(0.0, 1.0 - abs(row - k)) * max(0.0, 1.0 - abs(column - m))
                        out[b, i, j] += weight * images[b, k, m]
    return out
