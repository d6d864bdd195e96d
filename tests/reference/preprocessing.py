"""Image preparation: values are in 0..255, images (height, width, channels), unless stated otherwise."""

import numpy as np

LOBES = 3


def lanczos(x):
    """sinc(x) sinc(x / 3) for |x| < 3, zero outside, with sinc(x) = sin(pi x) / (pi x) and sinc(0) = 1."""
    if x == 0.0:
        return 1.0
    if abs(x) >= LOBES:
        return 0.0
    return LOBES * np.sin(np.pi * x) * np.sin(np.pi * x / LOBES) / (np.pi * x) ** 2


def lanczos_weights(length, size):
    """(size, length): how much of each old pixel is in each new one; each row sums to 1.

    Old pixel k has its centre at k + 1/2, new pixel i at (i + 1/2) scale. The kernel is as wide as max(scale, 1).
    """
    scale = length / size
    widening = max(scale, 1.0)
    weights = np.zeros((size, length))
    for i in range(size):
        for k in range(length):
            weights[i, k] = lanczos((k + 0.5 - (i + 0.5) * scale) / widening)
        weights[i] /= np.sum(weights[i])
    return weights


def lanczos_resize(image, size):
    """(height, width, channels), of any numbers -> (size, size, channels) float64, neither rounded nor clipped.

    Each axis has a scale of its own; the result may lie outside the range of the image.
    """
    image = np.asarray(image, np.float64)
    height, width, channels = image.shape
    down, right = lanczos_weights(height, size), lanczos_weights(width, size)
    out = np.empty((size, size, channels))
    for c in range(channels):
        out[:, :, c] = down @ image[:, :, c] @ right.T
    return out


def center_crop(image, edge):
    """(height, width, channels) -> (edge, edge, channels), from the middle; of an odd margin, left/top has less."""
    height, width, _ = image.shape
    if edge > min(height, width):
        raise ValueError(f"no {edge} x {edge} pixels in {height} x {width}")
    top, left = (height - edge) // 2, (width - edge) // 2
    return image[top : top + edge, left : left + edge]


def square_crop(image):
    """(height, width, channels) -> (n, n, channels) with n = min(height, width), from the middle."""
    return center_crop(image, min(image.shape[:2]))


def pad(image, edge):
    """(height, width, channels) -> (edge, edge, channels), zero around; of an odd margin, left/top has less."""
    height, width, channels = image.shape
    if edge < max(height, width):
        raise ValueError(f"{height} x {width} pixels do not fit in {edge} x {edge}")
    top, left = (edge - height) // 2, (edge - width) // 2
    out = np.zeros((edge, edge, channels), image.dtype)
    out[top : top + height, left : left + width] = image
    return out


def celeba(image, size):
    """(height, width, channels) in 0..255 -> (size, size, channels) float64 in 0..255: the middle 140 x 140."""
    return np.clip(lanczos_resize(center_crop(image, 140), size), 0.0, 255.0)


def lsun(image, size):
    """(height, width, channels) in 0..255 -> (size, size, channels) float64 in 0..255: the largest square."""
    return np.clip(lanczos_resize(square_crop(image), size), 0.0, 255.0)


def mnist(image, size):
    """(height, width, channels) in 0..255 -> (size, size, channels) float64 in 0..255: with a border, 32 x 32."""
    image = pad(image, 32).astype(np.float64)
    if size != 32:
        image = lanczos_resize(image, size)
    return np.clip(image, 0.0, 255.0)


def over_white(rgba):
    """(height, width, 4) uint8, alpha last and not premultiplied -> (height, width, 3) float64 in 0..255."""
    rgba = np.asarray(rgba, np.float64)
    color, alpha = rgba[:, :, :3], rgba[:, :, 3:] / 255.0
    return alpha * color + (1.0 - alpha) * 255.0


def grey(rgb):
    """(height, width, 3) in 0..255 -> (height, width, 1) float64 in 0..255: the luma of ITU-R 601-2."""
    rgb = np.asarray(rgb, np.float64)
    return (299.0 * rgb[:, :, 0:1] + 587.0 * rgb[:, :, 1:2] + 114.0 * rgb[:, :, 2:3]) / 1000.0


def from_16_bits(values):
    """Any shape, 0..65535 -> the same shape, float64 in 0..255, so that 65535 is 255."""
    return np.asarray(values, np.float64) * 255.0 / 65535.0
