"""Sliced Wasserstein distance between the patches of two image sets      (Karras et al. 2018, section 5)

Patches, normalisation and number of projections are those of the authors' code (metrics/sliced_wasserstein.py in
tkarras/progressive_growing_of_gans), as is the factor of 1,000. All random draws have a fixed seed.
"""

from __future__ import annotations

import concurrent.futures
import math
import os
import zlib
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

MAX_IMAGES = 8192
# Larger images are compared in smaller numbers, so that a set fits in memory: 128 x 128 x 3 still in full.
MAX_BYTES = 2**30
MIN_EDGE = 16
PATCH_EDGE = 7
PATCHES_PER_IMAGE = 128
DIRECTIONS = 512
SCALE = 1000.0
_FILTER = np.array([1, 4, 6, 4, 1], np.float32) / 16.0
_BATCH = 64
_DIRECTIONS_AT_A_TIME = 16
_MAX_THREADS = 8  # each sorts 134 MB


def num_compared(num_real: int, num_generated: int, num_bytes: int) -> int:
    """Returns how many images of each set are compared: at most MAX_IMAGES, and MAX_BYTES of num_bytes each."""
    return min(num_real, num_generated, MAX_IMAGES, max(1, MAX_BYTES // num_bytes))


def sliced_wasserstein(images: np.ndarray, other_images: np.ndarray) -> dict[int, float]:
    """Distance of two image sets on each level of the Laplacian pyramid.

    Args:
      images, other_images: (num_images, size, size, channels) uint8, equally many; any size and number of channels.

    Returns:
      By edge in pixels of the level, from the images' own size down to at least 16: mean over 512 directions of the
      Wasserstein-1 distance between the projected patches, times 1,000. At least 0; 0 for equal sets.

    Raises:
      ValueError: the sets have different shapes.
    """
    if images.shape != other_images.shape:
        raise ValueError(f"sets of equal shape are needed, got {images.shape} and {other_images.shape}")
    edges = [images.shape[1]]
    while -(-edges[-1] // 2) >= MIN_EDGE:
        edges.append(-(-edges[-1] // 2))
    distances = {}
    for level, edge in enumerate(edges):
        patches, other_patches = (_patches(values, level, edges) for values in (images, other_images))
        distances[edge] = SCALE * _distance(patches, other_patches, level)
    return distances


def laplacian_level(images: np.ndarray, level: int, num_levels: int) -> np.ndarray:
    """Returns a level of the Laplacian pyramid of images (batch, height, width, channels); 0 is the finest."""
    for _ in range(level):
        images = _halved(images)
    return images if level == num_levels - 1 else images - _doubled(_halved(images), images.shape)


def _blurred(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        images = ndimage.convolve1d(images, _FILTER, axis=axis, mode="mirror")
    return images


def _halved(images: np.ndarray) -> np.ndarray:
    return _blurred(images)[:, ::2, ::2]


def _doubled(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    spread = np.zeros(shape, np.float32)
    spread[:, ::2, ::2] = images
    return 4.0 * _blurred(spread)


def _patches(images: np.ndarray, level: int, edges: Sequence[int]) -> np.ndarray:
    """Returns random patches of a level as rows, with mean 0 and variance 1 in each channel of the whole set."""
    edge = min(PATCH_EDGE, edges[level])
    corners = np.random.RandomState(level).randint(0, edges[level] - edge + 1, (2, len(images), PATCHES_PER_IMAGE))
    patches = np.empty([*corners.shape[1:], images.shape[3], edge, edge], np.float32)
    # By content: the patches of a set do not depend on the order of its images.
    order = np.argsort([zlib.crc32(image.tobytes()) for image in images], kind="stable")
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        pixels = laplacian_level(images[order[part]].astype(np.float32), level, len(edges))
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (edge, edge), (1, 2))  # type: ignore[call-overload]
        patches[part] = windows[np.arange(len(pixels))[:, None], corners[0, part], corners[1, part]]
    patches = patches.reshape(-1, *patches.shape[2:])
    for channel in range(patches.shape[1]):
        _normalize(patches[:, channel])
    return patches.reshape(len(patches), -1)


def _normalize(values: np.ndarray) -> None:
    """Gives values (num_patches, edge, edge) mean 0 and variance 1, in place; those of one flat colour become 0."""
    values -= values.mean(dtype=np.float64)
    variance = np.einsum("nyx,nyx->", values, values, dtype=np.float64) / values.size
    values /= math.sqrt(variance) or 1.0


def _distance(patches: np.ndarray, other_patches: np.ndarray, seed: int) -> float:
    directions = np.random.RandomState(seed).standard_normal([DIRECTIONS, patches.shape[1]])
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)

    def distance(part: np.ndarray) -> float:
        first, second = (part @ rows.T for rows in (patches, other_patches))
        # In place: a copy of each, in each thread, would fill the memory.
        first.sort(axis=1)
        second.sort(axis=1)
        first -= second
        return float(np.abs(first, out=first).mean(dtype=np.float64))

    parts = np.split(directions, DIRECTIONS // _DIRECTIONS_AT_A_TIME)
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
        return math.fsum(pool.map(distance, parts)) / len(parts)
