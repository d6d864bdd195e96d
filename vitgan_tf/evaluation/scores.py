"""Scores of sets of images, from the activations of a classifier."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np
import scipy.linalg
import tensorflow as tf

INCEPTION_SCORE_SPLITS = 10
KERNEL_BLOCK_SIZE = 1024
KERNEL_MIN_BLOCKS = 10
NEIGHBORS = 3
_COVARIANCE_ROWS = 4096
_ROWS = 1024
_WORKING_MEMORY_MIB = 256


def tfgan_eval() -> Any:
    """tensorflow-gan's `tfgan.eval`, imported where it is used: it takes a second, and warns of its dependencies."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import tensorflow_gan as tfgan
    return tfgan.eval


# Graphs, traced once: outside of one, each operation leaves a few bytes in TensorFlow 2.15's memory.
@tf.function(input_signature=[tf.TensorSpec([None, None])], autograph=False)
def _classifier_score(logits: tf.Tensor) -> tf.Tensor:
    return tfgan_eval().classifier_score_from_logits(logits)


@functools.cache
def _kernel_distance_of_block(feature_dim: int) -> tf.types.experimental.GenericFunction:
    """features, other_features -> their distance, from all of them at once."""

    @tf.function(input_signature=[tf.TensorSpec([None, feature_dim])] * 2, autograph=False)
    def distance(features: tf.Tensor, other_features: tf.Tensor) -> tf.Tensor:
        larger = tf.maximum(tf.shape(features)[0], tf.shape(other_features)[0])
        return tfgan_eval().kernel_classifier_distance_from_activations(features, other_features, larger)

    return distance


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of features.

    Attributes:
      count: of the samples.
      mean: (feature_dim,) float64.
      covariance: (feature_dim, feature_dim) float64, with the divisor count - 1.
    """

    count: int
    mean: np.ndarray
    covariance: np.ndarray


class GaussianAccumulator:
    """Mean and covariance of features that come in batches, in float64 and in memory of feature_dim squared."""

    def __init__(self) -> None:
        self._count = 0
        self._origin: np.ndarray | None = None
        self._sum: np.ndarray  # there when the origin is
        self._products: np.ndarray  # likewise
        self._waiting: list[np.ndarray] = []

    def add(self, features: np.ndarray) -> None:
        """Takes features (num_images, feature_dim)."""
        # Products of a few rows would cost more in sums of matrices than in products.
        for start in range(0, len(features), _COVARIANCE_ROWS):
            self._waiting.append(features[start : start + _COVARIANCE_ROWS])
            if sum(map(len, self._waiting)) >= _COVARIANCE_ROWS:
                self._take_waiting()

    def _take_waiting(self) -> None:
        rows = np.concatenate(self._waiting).astype(np.float64)
        self._waiting = []
        if self._origin is None:
            # Sums of squares around a point near the mean lose no digits.
            self._origin = rows.mean(axis=0)
            self._sum = np.zeros_like(self._origin)
            self._products = np.zeros([len(self._origin)] * 2)
        rows -= self._origin
        self._count += len(rows)
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows

    def result(self) -> Gaussian:
        """Of all features so far.

        Raises:
          ValueError: there are fewer than two.
        """
        if self._waiting:
            self._take_waiting()
        if self._origin is None or self._count < 2:
            raise ValueError(f"a covariance needs at least two samples, got {self._count}")
        mean = self._sum / self._count
        covariance = (self._products - self._count * np.outer(mean, mean)) / (self._count - 1)
        return Gaussian(self._count, self._origin + mean, covariance)


def gaussian(features: np.ndarray) -> Gaussian:
    """Mean and covariance of features (num_images, feature_dim)."""
    accumulator = GaussianAccumulator()
    accumulator.add(features)
    return accumulator.result()


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """|mu_1 - mu_2|^2 + tr(C_1) + tr(C_2) - 2 tr((C_1 C_2)^(1/2))      (Heusel et al. 2017), at least 0

    The product has the eigenvalues of R^T C_2 R where C_1 = R R^T, which is symmetric: two symmetric eigenvalue
    problems in float64 take the place of tensorflow-gan's two singular value decompositions, or of a Schur
    decomposition, and are defined for singular covariances too.

    Raises:
      ValueError: a mean or covariance is not finite.
    """
    # Refuses what is not finite.
    eigenvalues, eigenvectors = scipy.linalg.eigh(first.covariance, check_finite=True)
    root = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    eigenvalues = scipy.linalg.eigvalsh(root.T @ second.covariance @ root, check_finite=True)
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    means = np.sum(np.square(first.mean - second.mean))
    distance = means + np.trace(first.covariance) + np.trace(second.covariance) - 2.0 * trace_of_root
    if not np.isfinite(distance):
        raise ValueError("the Frechet distance of features that are not finite")
    return float(max(distance, 0.0))  # of a set from itself, rounding may leave less


def scrambled_order(features: np.ndarray) -> np.ndarray:
    """A random order of features (num_images, feature_dim) that does not depend on the order in which they come.

    Scores of parts of a set need parts that are alike, where images may be sorted by class. The rows are sorted by
    the sum of their features and permuted, always in the same way: `numpy.random.RandomState(0)`'s.

    Returns:
      (num_images,) row numbers.
    """
    by_sum = np.argsort(features.sum(axis=1, dtype=np.float64), kind="stable")
    return by_sum[np.random.RandomState(0).permutation(len(features))]


def inception_score(logits: np.ndarray) -> tuple[float, float]:
    """exp(E_x KL(p(y|x) || p(y))) by tensorflow-gan, in ten consecutive parts      (Salimans et al. 2016)

    Args:
      logits: (num_images, num_classes), in random order.

    Returns:
      Mean and standard deviation (divisor: number of parts) over the parts.
    """
    # A class of probability 0 in all images would be 0 times infinity there.
    logits = np.maximum(logits - logits.max(axis=1, keepdims=True), -500.0)
    scores = [
        float(_classifier_score(part)) for part in np.array_split(logits, min(INCEPTION_SCORE_SPLITS, len(logits)))
    ]
    return float(np.mean(scores)), float(np.std(scores))


def kernel_blocks(num_images: int, num_other: int) -> int:
    """Blocks of the kernel distance: of at most 1,024 images, as tensorflow-gan's, and at least ten.

    Fewer where a block would have less than two images of either set.
    """
    wanted = max(KERNEL_MIN_BLOCKS, -(-max(num_images, num_other) // KERNEL_BLOCK_SIZE))
    return max(1, min(wanted, min(num_images, num_other) // 2))


def kernel_distance(features: np.ndarray, other_features: np.ndarray) -> tuple[float, float | None]:
    """MMD^2 under the kernel (x . y / feature_dim + 1)^3, unbiased, by tensorflow-gan      (Binkowski et al. 2018)

    Args:
      features: (num_images, feature_dim), in random order.
      other_features: (num_other_images, feature_dim), in random order.

    Returns:
      The mean over blocks, and the standard deviation of that mean; None for it where there is one block.

    Raises:
      ValueError: there are fewer than two images in a set.
    """
    smaller, larger = sorted((len(features), len(other_features)))
    if smaller < 2:
        raise ValueError(f"a kernel distance needs at least two images of each set, got {smaller}")
    blocks = kernel_blocks(smaller, larger)
    distance_of_block = _kernel_distance_of_block(features.shape[1])
    # One by one: given both sets whole, tensorflow-gan copies them.
    distances = [
        float(distance_of_block(*pair)) for pair in zip(_cut(features, blocks), _cut(other_features, blocks))
    ]
    deviation = float(np.std(distances, ddof=1) / np.sqrt(blocks)) if blocks > 1 else None
    return float(np.mean(distances)), deviation


def _cut(features: np.ndarray, blocks: int) -> list[np.ndarray]:
    """Consecutive blocks, the longer ones last, as tensorflow-gan cuts them."""
    length, rest = divmod(len(features), blocks)
    lengths = [length] * (blocks - rest) + [length + 1] * rest
    return np.split(features, np.cumsum(lengths)[:-1])


def manifold_radii(features: np.ndarray) -> np.ndarray:
    """Distance of each sample from its third nearest neighbour in the set: (num_images,) float32.

    With fewer than four samples, from the farthest; 0 for a single one.

    Args:
      features: (num_images, feature_dim) float32.
    """
    from sklearn.neighbors import NearestNeighbors

    # The nearest is the sample itself.
    neighbors = NearestNeighbors(n_neighbors=min(NEIGHBORS + 1, len(features)), algorithm="brute").fit(features)
    radii = [neighbors.kneighbors(features[i : i + _ROWS])[0][:, -1] for i in range(0, len(features), _ROWS)]
    return np.concatenate(radii).astype(np.float32)


def precision_and_recall(
    real_features: np.ndarray, real_radii: np.ndarray, features: np.ndarray
) -> tuple[float, float]:
    """Improved precision and recall      (Kynkaanniemi et al. 2019)

    Precision is the fraction of generated samples that lie within the third-neighbour distance of a real sample,
    recall that of real samples within that of a generated one. The features there are those of VGG-16; here they are
    those of the extractor at hand.

    Args:
      real_features: (num_real, feature_dim) float32.
      real_radii: their `manifold_radii`.
      features: of the generated images, (num_generated, feature_dim) float32.
    """
    import sklearn
    from sklearn.metrics import pairwise_distances_chunked

    radii = manifold_radii(features)
    recalled = np.zeros(len(real_features), bool)

    def precise(distances: np.ndarray, start: int) -> np.ndarray:
        rows = slice(start, start + len(distances))
        np.logical_or(recalled, np.any(distances <= radii[rows, None], axis=0), out=recalled)
        return np.any(distances <= real_radii, axis=1)

    with sklearn.config_context(working_memory=_WORKING_MEMORY_MIB):
        parts = list(pairwise_distances_chunked(features, real_features, reduce_func=precise))
    return float(np.mean(np.concatenate(parts))), float(np.mean(recalled))
