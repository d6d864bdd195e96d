"""Scores from the nearest neighbours of features: precision and recall, density and coverage, authenticity.

Distances of all pairs are computed in float32, as matrix products, and again in float64 where rounding would decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

NEIGHBORS = 3
# Samples of the two sets that are compared at a time.
_ROWS, _OTHERS = 512, 8192
# Candidates for the nearest neighbours beyond those that are needed.
_FURTHER = 4
# Bounds of the rounding errors of a squared distance by products, relative to the sum of the squared norms.
_ROUNDING, _ROUNDING_64 = 4e-6, 1e-12
_PAIRS = 4096  # computed at a time in float64
_MAX_CLOSE_PAIRS = 2**17


@dataclasses.dataclass(frozen=True)
class NeighborScores:
    """Scores that compare the neighbourhoods of two sets; a neighbourhood reaches to the third nearest neighbour.

    Attributes:
      precision: fraction of the generated samples in the neighbourhood of any real one
        (Kynkaanniemi et al. 2019, Eq. 2)
      recall: fraction of the real samples in the neighbourhood of any generated one      (likewise, Eq. 2)
      density: number of real neighbourhoods that hold a generated sample, mean over the samples, divided by 3; above
        1 where generated samples gather near real ones      (Naeem et al. 2020, Eq. 5)
      coverage: fraction of the real samples whose neighbourhood holds any generated one      (likewise, Eq. 6)
      authenticity: fraction of the generated samples that are farther from their nearest real one than that is from
        its nearest other real one; those that are as far or closer may be copies. 0 for copies; about 1/2 for
        independent samples of the real distribution: 1/3 where it is uniform on a line, 1/2 in many dimensions, more
        where its density varies      (Alaa et al. 2022; strictly farther, as in the authors' code)
    """

    precision: float
    recall: float
    density: float
    coverage: float
    authenticity: float


def neighbor_distances(features: np.ndarray) -> np.ndarray:
    """Distances of each sample to its first, second and third nearest neighbour in the set: (num_images, 3) float32.

    In place of neighbours that a set of fewer than four samples lacks, the distance to the farthest sample; 0 for a
    single sample.

    Args:
      features: (num_images, feature_dim) float32.
    """
    # One more: the nearest neighbour is the sample itself.
    wanted = min(NEIGHBORS + 1, len(features))
    center = _center(features)
    candidates = _nearest(features, min(wanted + _FURTHER, len(features)), center)
    nearest = np.empty([len(features), NEIGHBORS], np.float32)
    for part, _, distances in candidates.settled(features, features, wanted, center):
        nearest[part] = np.sort(distances, axis=1)[:, np.minimum(np.arange(1, NEIGHBORS + 1), wanted - 1)]
    return nearest


def manifold_radii(features: np.ndarray) -> np.ndarray:
    """Distances to the third nearest neighbour, the last of `neighbor_distances`: (num_images,) float32."""
    return neighbor_distances(features)[:, -1]


def neighbor_scores(
    real_features: np.ndarray, real_radii: np.ndarray, real_nearest: np.ndarray, features: np.ndarray
) -> NeighborScores:
    """Compares generated samples with real ones. The papers use other networks; here the chosen one's features count.

    Args:
      real_features: (num_real, feature_dim) float32.
      real_radii: their `manifold_radii`, (num_real,) float32.
      real_nearest: distance of each to its nearest neighbour, the first of `neighbor_distances`: (num_real,) float32.
      features: features of the generated images, (num_generated, feature_dim) float32.
    """
    radii = manifold_radii(features)
    num_near = np.zeros(len(features), np.int64)
    recalled, covered = np.zeros(len(real_features), bool), np.zeros(len(real_features), bool)
    center = _center(real_features)
    candidates = _Candidates(len(features), min(1 + _FURTHER, len(real_features)))
    for real_part, others in _blocks(real_features, _OTHERS):
        tensors = *_tensors(others - center), tf.constant(real_radii[real_part])
        for part, rows in _blocks(features, _ROWS):
            compared = _compared(rows - center, *tensors, radii[part], real_part.start, *candidates.of(part))
            near_real, real_is_close, near_own, own_is_close = (values.numpy() for values in compared[:4])
            candidates.update(part, *compared[4:])
            _settle(near_real, real_is_close, rows, others, real_radii[None, real_part], center)
            _settle(near_own, own_is_close, rows, others, radii[part, None], center)
            num_near[part] += np.count_nonzero(near_real, axis=1)
            covered[real_part] |= near_real.any(axis=0)
            recalled[real_part] |= near_own.any(axis=0)
    return NeighborScores(
        precision=float(np.mean(num_near > 0)),
        recall=float(np.mean(recalled)),
        density=float(np.mean(num_near) / NEIGHBORS),
        coverage=float(np.mean(covered)),
        authenticity=_authenticity(features, real_features, real_nearest, candidates, center),
    )


def _authenticity(
    features: np.ndarray,
    real_features: np.ndarray,
    real_nearest: np.ndarray,
    candidates: _Candidates,
    center: np.ndarray,
) -> float:
    """See `NeighborScores`; of equally near real samples, the first one counts."""
    is_authentic = np.empty(len(features), bool)
    for part, columns, distances in candidates.settled(features, real_features, 1, center):
        chosen = np.arange(len(columns)), np.argmin(distances, axis=1)
        is_authentic[part] = distances[chosen].astype(np.float32) > real_nearest[columns[chosen]]
    return float(np.mean(is_authentic))


class _Candidates:
    """Indices of nearly the nearest samples of each row, and their closeness, from block to block of the others."""

    def __init__(self, num_rows: int, count: int):
        self.indices = np.zeros([num_rows, count], np.int32)
        self._closeness = np.full([num_rows, count], -np.inf, np.float32)

    def of(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Returns closeness and indices of some rows."""
        return self._closeness[part], self.indices[part]

    def update(self, part: slice, closeness: tf.Tensor, indices: tf.Tensor) -> None:
        """Replaces closeness and indices of some rows."""
        self._closeness[part], self.indices[part] = closeness.numpy(), indices.numpy()

    def settled(
        self, features: np.ndarray, others: np.ndarray, needed: int, center: np.ndarray
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yields, block by block of the rows, indices (ascending) and distances that hold the `needed` nearest ones.

        Where others that are no candidates may be as near, within rounding, the candidates are chosen in float64.
        """
        for part, rows in _blocks(features, _ROWS):
            columns = np.sort(self.indices[part], axis=1)
            distances = _distances_to(rows, others, columns)
            if columns.shape[1] < len(others):
                norms = np.square(rows - center).sum(axis=1)
                farthest = np.sort(distances, axis=1)[:, needed - 1]
                bounds = _ROUNDING * (norms + np.square(np.sqrt(norms) + farthest))
                is_open = np.square(farthest) > norms - self._closeness[part, -1] - bounds
                if is_open.any():
                    chosen = _nearest_in_float64(rows[is_open] - center, others, columns.shape[1], center)
                    columns[is_open] = np.sort(chosen, axis=1)
                    distances[is_open] = _distances_to(rows[is_open], others, columns[is_open])
            yield part, columns, distances


def _blocks(features: np.ndarray, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(features), size):
        part = slice(start, start + size)
        yield part, features[part]


def _center(features: np.ndarray) -> np.ndarray:
    """Returns the mean of features as float32: relative to it, norms are small, and so are the errors of products."""
    return features.mean(axis=0, dtype=np.float64).astype(np.float32)


def _nearest(features: np.ndarray, count: int, center: np.ndarray) -> _Candidates:
    """Returns the nearest samples of each one in the set, `count` of them."""
    candidates = _Candidates(len(features), count)
    for block, others in _blocks(features, _OTHERS):
        tensors = _tensors(others - center)
        for part, rows in _blocks(features, _ROWS):
            candidates.update(part, *_closest(rows - center, *tensors, block.start, *candidates.of(part)))
    return candidates


def _nearest_in_float64(rows: np.ndarray, others: np.ndarray, count: int, center: np.ndarray) -> np.ndarray:
    """Returns the indices of the others nearest to centred rows, (num_rows, count)."""
    squares = np.empty([len(rows), 0])
    indices = np.empty([len(rows), 0], np.int64)
    for block, values in _blocks(others, _OTHERS):
        squares = np.concatenate([squares, _squares_in_float64(rows, values - center)[0]], axis=1)
        numbers = np.broadcast_to(np.arange(block.start, block.start + len(values)), [len(rows), len(values)])
        indices = np.concatenate([indices, numbers], axis=1)
        nearest = np.argsort(squares, axis=1, kind="stable")[:, :count]
        squares = np.take_along_axis(squares, nearest, axis=1)
        indices = np.take_along_axis(indices, nearest, axis=1)
    return indices


def _squares_in_float64(rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the squared distances of all pairs, (num_rows, num_others) float64, and bounds of their errors."""
    rows, others = rows.astype(np.float64), others.astype(np.float64)
    sums = np.square(rows).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    return sums - 2.0 * rows @ others.T, _ROUNDING_64 * sums


_FEATURES = tf.TensorSpec([None, None], tf.float32)
_NUMBERS = tf.TensorSpec([None], tf.float32)
_CANDIDATES = (tf.TensorSpec([], tf.int32), _FEATURES, tf.TensorSpec([None, None], tf.int32))


@tf.function(input_signature=[_FEATURES], autograph=False)
def _squared_norms(features: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(features), axis=1)


def _tensors(features: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns features and their squared norms as tensors."""
    tensor = tf.constant(features)
    return tensor, _squared_norms(tensor)


@tf.function(input_signature=[_FEATURES, _FEATURES, _NUMBERS, *_CANDIDATES], autograph=False)
def _closest(
    rows: tf.Tensor, others: tf.Tensor, norms_of_others: tf.Tensor, first: tf.Tensor, *closest: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns closeness and indices of the closest of the samples so far and of others, numbered from `first` on."""
    return _updated(tf.matmul(rows, others, transpose_b=True), norms_of_others, first, *closest)


@tf.function(input_signature=[_FEATURES, _FEATURES, *[_NUMBERS] * 3, *_CANDIDATES], autograph=False)
def _compared(
    rows: tf.Tensor,
    others: tf.Tensor,
    norms_of_others: tf.Tensor,
    radii_of_others: tf.Tensor,
    radii: tf.Tensor,
    *candidates: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """Returns which pairs are within the radius of the other, if that is uncertain; of the row; and `_closest`."""
    products = tf.matmul(rows, others, transpose_b=True)
    within = _within(products, _squared_norms(rows), norms_of_others, radii_of_others, radii)
    return (*within, *_updated(products, norms_of_others, *candidates))


def _updated(
    products: tf.Tensor, norms_of_others: tf.Tensor, first: tf.Tensor, closeness: tf.Tensor, indices: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    # The norm of a row does not change the order of its distances.
    of_others = 2.0 * products - norms_of_others
    count = tf.shape(indices)[1]
    found = tf.math.top_k(of_others, tf.minimum(count, tf.shape(of_others)[1]))
    closeness, chosen = tf.math.top_k(tf.concat([closeness, found.values], axis=1), count)
    return closeness, tf.gather(tf.concat([indices, first + found.indices], axis=1), chosen, batch_dims=1)


def _within(
    products: tf.Tensor, norms: tf.Tensor, norms_of_others: tf.Tensor, radii_of_others: tf.Tensor, radii: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    sums = norms[:, None] + norms_of_others
    distances, bounds = sums - 2.0 * products, _ROUNDING * sums
    beyond = [distances - tf.square(radii_of_others), distances - tf.square(radii)[:, None]]
    return tuple(result for values in beyond for result in (values <= 0.0, tf.abs(values) <= bounds))


def _settle(
    is_near: np.ndarray,
    is_close: np.ndarray,
    rows: np.ndarray,
    others: np.ndarray,
    radii: np.ndarray,
    center: np.ndarray,
) -> None:
    """Decides the uncertain pairs in float64: one by one or, where many samples are equal, by products."""
    pairs = np.unravel_index(np.flatnonzero(is_close), is_close.shape)
    if len(pairs[0]) <= _MAX_CLOSE_PAIRS:
        distances = _exact_distances(rows, others, *pairs).astype(np.float32)
        is_near[pairs] = distances <= np.broadcast_to(radii, is_near.shape)[pairs]
    else:
        squares, bounds = _squares_in_float64(rows - center, others - center)
        is_near[:] = np.sqrt(np.maximum(squares - bounds, 0.0)).astype(np.float32) <= radii


def _distances_to(rows: np.ndarray, others: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the `_exact_distances` of each row to the others at columns (num_rows, count), in that shape."""
    pairs = np.repeat(np.arange(len(rows)), columns.shape[1])
    return _exact_distances(rows, others, pairs, columns.ravel()).reshape(columns.shape)


def _exact_distances(
    rows: np.ndarray, others: np.ndarray, row_indices: np.ndarray, other_indices: np.ndarray
) -> np.ndarray:
    """Returns the distances of some pairs, float64."""
    distances = np.empty(len(row_indices))
    for start in range(0, len(distances), _PAIRS):
        part = slice(start, start + _PAIRS)
        differences = rows[row_indices[part]].astype(np.float64) - others[other_indices[part]]
        distances[part] = np.sqrt(np.einsum("nd,nd->n", differences, differences))
    return distances
