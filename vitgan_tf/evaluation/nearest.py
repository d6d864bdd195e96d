"""The real images nearest to generated ones, to see whether a generator copies its training images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.real_statistics import RealStatistics
from vitgan_tf.progress import progress

NEAREST = 4
# Limits of a block of real images, in rows and in float64 numbers; and generated images compared with it at a time.
_ROWS, _NUMBERS = 4096, 2**22
_QUERIES = 256
# Candidates of a block beyond those that are needed.
_FURTHER = 4


def nearest_real(
    images: np.ndarray,
    real_images: np.ndarray,
    extractor: FeatureExtractor | None = None,
    real: RealStatistics | None = None,
    count: int = NEAREST,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest real images of generated ones, by Euclidean distance of features or of pixels.

    Distances are computed in float64; for pixels their squares are exact. Real images pass in blocks of up to 34 MB.

    Args:
      images: generated images, (num_images, size, size, channels) uint8.
      real_images: all real images, (num_real, size, size, channels) uint8, in memory or memory-mapped.
      extractor: computes the features; None to compare pixels, 0 to 255.
      real: statistics of the real images under the extractor. If they hold the features of all real images, these are
        not computed again.
      count: number of real images wanted for each generated one.

    Returns:
      Indices of the real images, nearest first and of equally near ones the first, and their distances:
      (num_images, min(count, num_real)) int64 and float64.

    Raises:
      ValueError: the images have different shapes.
      UserError: a feature is not finite.
    """
    if images.shape[1:] != real_images.shape[1:]:
        raise ValueError(f"images of one shape are needed, got {images.shape[1:]} and {real_images.shape[1:]}")
    if extractor is None:
        blocks = ((indices, block.reshape(len(block), -1)) for indices, block in _blocks(real_images))
        return _nearest(images.reshape(len(images), -1), blocks, count)
    features = np.concatenate([batch for batch, _ in extractor.activations([images])])
    if real is not None and len(real.features) == len(real_images):
        return _nearest(features, ((real.rows[rows], block) for rows, block in _blocks(real.features)), count)
    return _nearest(features, _features(real_images, extractor), count)


def _blocks(array: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields indices and rows of an array in blocks."""
    size = max(1, min(_ROWS, _NUMBERS // max(1, array[:1].size)))
    for start in range(0, len(array), size):
        block = array[start : start + size]
        yield np.arange(start, start + len(block)), block


def _features(images: np.ndarray, extractor: FeatureExtractor) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields indices and features of images in blocks."""
    size, first = extractor.batch_size, 0
    parts = (images[start : start + size] for start in range(0, len(images), size))
    for batch, _ in extractor.activations(progress(parts, "real images", -(-len(images) // size), "batch")):
        yield np.arange(first, first + len(batch)), batch
        first += len(batch)


def _nearest(
    queries: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray]], count: int
) -> tuple[np.ndarray, np.ndarray]:
    queries = queries.astype(np.float64)
    parts = [slice(start, start + _QUERIES) for start in range(0, len(queries), _QUERIES)]
    found = [(np.empty([len(queries[part]), 0], np.int64), np.empty([len(queries[part]), 0])) for part in parts]
    for indices, rows in blocks:
        rows = rows.astype(np.float64)
        for number, part in enumerate(parts):
            found[number] = _merged(found[number], _candidates(queries[part], rows, indices, count), count)
    nearest, squares = (np.concatenate(values) for values in zip(*found))
    return nearest, np.sqrt(squares)


def _candidates(
    queries: np.ndarray, rows: np.ndarray, indices: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns indices and squared distances of about the nearest rows: (num_queries, count and some further)."""
    # The norm of a query does not change the order of its distances.
    relative = np.einsum("nd,nd->n", rows, rows) - 2.0 * queries @ rows.T
    columns = np.argsort(relative, axis=1, kind="stable")[:, : count + _FURTHER]
    squares = np.empty(columns.shape)
    for query, chosen, values in zip(queries, columns, squares):
        # Products round where a difference does not: that of a copy is 0.
        differences = rows[chosen] - query
        values[:] = np.einsum("nd,nd->n", differences, differences)
    return indices[columns], squares


def _merged(
    found: tuple[np.ndarray, np.ndarray], further: tuple[np.ndarray, np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray]:
    indices, squares = (np.concatenate(values, axis=1) for values in zip(found, further))
    order = np.lexsort((indices, squares), axis=1)[:, :count]
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(squares, order, axis=1)
