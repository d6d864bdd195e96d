"""How the sliced Wasserstein distance grows with the strength of faults, beside its value between real halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
from scipy import ndimage

from vitgan_tf.benchmarks.timing import rounded
from vitgan_tf.data.digits import load_digits
from vitgan_tf.evaluation.sliced_wasserstein import sliced_wasserstein
from vitgan_tf.progress import progress

NUM_SEEDS = 5
_PHOTO_EDGE = 32
_STRIPS = 5  # classes of each photograph: strips from left to right
_TILES = 4  # per edge

Fault = Callable[[np.ndarray, np.ndarray, float, np.random.RandomState], np.ndarray]
"""Images (num_images, size, size, channels) uint8, labels, strength, random numbers -> as many images."""


def photographs(num_images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns random crops of scikit-learn's two photographs, and the strip of the photograph each comes from.

    Args:
      num_images: number of crops.
      seed: seed of their places.

    Returns:
      (num_images, 32, 32, 3) uint8 and (num_images,) int64, 0 to 9.
    """
    # Imported lazily: slow, and only this needs it.
    from sklearn.datasets import load_sample_images

    pictures, random = load_sample_images().images, np.random.RandomState(seed)
    images, labels = [], []
    for _ in range(num_images):
        number = random.randint(len(pictures))
        height, width = (edge - _PHOTO_EDGE for edge in pictures[number].shape[:2])
        top, left = random.randint(height), random.randint(width)
        images.append(pictures[number][top : top + _PHOTO_EDGE, left : left + _PHOTO_EDGE])
        labels.append(number * _STRIPS + left * _STRIPS // width)
    return np.array(images), np.array(labels)


def blur(images: np.ndarray, labels: np.ndarray, strength: float, random: np.random.RandomState) -> np.ndarray:
    """Gaussian blur; strength: standard deviation in pixels."""
    return ndimage.gaussian_filter(images, (0, strength, strength, 0))


def noise(images: np.ndarray, labels: np.ndarray, strength: float, random: np.random.RandomState) -> np.ndarray:
    """Gaussian noise; strength: standard deviation in grey levels of 255."""
    noisy = images + strength * random.standard_normal(images.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def dropped_classes(
    images: np.ndarray, labels: np.ndarray, strength: float, random: np.random.RandomState
) -> np.ndarray:
    """Images of the first classes, replaced by others; strength: number of these classes."""
    others = np.flatnonzero(labels >= strength)
    replaced = np.where(labels < strength, random.choice(others, len(images)), np.arange(len(images)))
    return images[replaced]


def shuffled_patches(
    images: np.ndarray, labels: np.ndarray, strength: float, random: np.random.RandomState
) -> np.ndarray:
    """Tiles of a quarter of the edge that change places within their image; strength: fraction of the tiles."""
    count, edge = len(images), images.shape[1] // _TILES
    grid = images.reshape(count, _TILES, edge, _TILES, edge, -1).swapaxes(2, 3)
    tiles = grid.reshape(count, _TILES**2, edge, edge, -1).copy()
    moved = round(strength * _TILES**2)
    for image in tiles:
        places = random.permutation(_TILES**2)[:moved]
        image[places] = image[np.roll(places, 1)]
    return tiles.reshape(grid.shape).swapaxes(2, 3).reshape(images.shape)


FAULTS: dict[str, tuple[Fault, Sequence[float]]] = {
    "blur": (blur, (0.25, 0.5, 1.0, 2.0)),
    "noise": (noise, (4.0, 8.0, 16.0, 32.0)),
    "dropped classes": (dropped_classes, (1, 2, 4, 8)),
    "shuffled patches": (shuffled_patches, (0.125, 0.25, 0.5, 1.0)),
}


def measure_sensitivity(num_images: int) -> dict[str, Any]:
    """Compares real images with faulty ones, for the digits and for photographs.

    For each seed, random halves of the images are compared, with faults in the second one.

    Args:
      num_images: number of images, at most 1,797 of the digits.

    Returns:
      num_seeds; and for digits and photographs: num_images; half_split: distance of the halves without a fault,
      smallest and largest over the seeds; and for each fault a row per strength, with smallest and largest distance
      over the seeds, and whether all are above the largest half_split.
    """
    sets = {"digits": load_digits(16), "photographs": photographs(num_images)}
    results: dict[str, Any] = {"num_seeds": NUM_SEEDS}
    for name, (images, labels) in sets.items():
        floor, distances = sensitivity(images[:num_images], labels[:num_images], range(NUM_SEEDS), name)
        results[f"{name}_num_images"] = len(images[:num_images])
        results[f"{name}_half_split"] = [rounded(min(floor)), rounded(max(floor))]
        for (fault, strength), values in distances.items():
            row = {
                "strength": strength,
                "lowest": rounded(min(values)),
                "highest": rounded(max(values)),
                "is_above": min(values) > max(floor),
            }
            results.setdefault(f"{name}, {fault}", []).append(row)
    return results


def sensitivity(
    images: np.ndarray, labels: np.ndarray, seeds: Sequence[int], title: str = ""
) -> tuple[list[float], dict[tuple[str, float], list[float]]]:
    """Returns the distance of random halves for each seed, and that with each fault and strength."""
    floor: list[float] = []
    rows: dict[tuple[str, float], list[float]] = {}
    for seed in progress(seeds, title or "seeds", len(seeds), "seed"):
        random = np.random.RandomState(seed)
        first, second = np.split(random.permutation(len(images) // 2 * 2), 2)
        floor.append(_distance(images[first], images[second]))
        for name, (fault, strengths) in FAULTS.items():
            for strength in strengths:
                faulty = fault(images[second], labels[second], strength, random)
                rows.setdefault((name, strength), []).append(_distance(images[first], faulty))
    return floor, rows


def _distance(images: np.ndarray, others: np.ndarray) -> float:
    return float(np.mean(list(sliced_wasserstein(images, others).values())))
