"""Scores of image sets, from the activations of a classifier."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from typing import Any

import numpy as np
import scipy.linalg
import tensorflow as tf

INCEPTION_SCORE_SPLITS = 10
KERNEL_BLOCK_SIZE = 1024
KERNEL_MIN_BLOCKS = 10
_COVARIANCE_ROWS = 4096
_COLUMNS = 128


def tfgan_eval() -> Any:
    """Returns tensorflow-gan's `tfgan.eval`, imported lazily: it takes a second and its dependencies warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import tensorflow_gan as tfgan
    return tfgan.eval


# A graph, traced once: each eager operation leaks a few bytes in TensorFlow 2.15.
@tf.function(input_signature=[tf.TensorSpec([None, None])], autograph=False)
def _classifier_score(logits: tf.Tensor) -> tf.Tensor:
    return tfgan_eval().classifier_score_from_logits(logits)


@functools.cache
def _kernel_distance_of_block(feature_dim: int) -> tf.types.experimental.GenericFunction:
    """Returns the graph (features, other_features) -> kernel distance, computed as a single block."""

    @tf.function(input_signature=[tf.TensorSpec([None, feature_dim])] * 2, autograph=False)
    def distance(features: tf.Tensor, other_features: tf.Tensor) -> tf.Tensor:
        larger = tf.maximum(tf.shape(features)[0], tf.shape(other_features)[0])
        return tfgan_eval().kernel_classifier_distance_from_activations(features, other_features, larger)

    return distance


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of features.

    Attributes:
      count: number of samples.
      mean: (feature_dim,) float64.
      covariance: (feature_dim, feature_dim) float64, divisor count - 1.
    """

    count: int
    mean: np.ndarray
    covariance: np.ndarray


class GaussianAccumulator:
    """Accumulates mean and covariance of batches of features in float64, in O(feature_dim^2) memory."""

    def __init__(self) -> None:
        self._count = 0
        self._origin: np.ndarray | None = None
        self._sum: np.ndarray  # set together with _origin
        self._products: np.ndarray  # likewise
        self._waiting: list[np.ndarray] = []

    def add(self, features: np.ndarray) -> None:
        """Adds features (num_images, feature_dim)."""
        # Rows are collected first: for a few rows, adding the matrices would cost more than multiplying.
        for start in range(0, len(features), _COVARIANCE_ROWS):
            self._waiting.append(features[start : start + _COVARIANCE_ROWS])
            if sum(map(len, self._waiting)) >= _COVARIANCE_ROWS:
                self._take_waiting()

    def _take_waiting(self) -> None:
        rows = np.concatenate(self._waiting).astype(np.float64)
        self._waiting = []
        if self._origin is None:
            # Centring near the mean avoids cancellation in the sums of squares.
            self._origin = rows.mean(axis=0)
            self._sum = np.zeros_like(self._origin)
            self._products = np.zeros([len(self._origin)] * 2)
        rows -= self._origin
        self._count += len(rows)
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows

    def result(self) -> Gaussian:
        """Returns mean and covariance of all features added so far.

        Raises:
          ValueError: there are fewer than two samples.
        """
        if self._waiting:
            self._take_waiting()
        if self._origin is None or self._count < 2:
            raise ValueError(f"a covariance needs at least two samples, got {self._count}")
        mean = self._sum / self._count
        covariance = (self._products - self._count * np.outer(mean, mean)) / (self._count - 1)
        return Gaussian(self._count, self._origin + mean, covariance)


def gaussian(features: np.ndarray) -> Gaussian:
    """Computes mean and covariance of features (num_images, feature_dim)."""
    accumulator = GaussianAccumulator()
    accumulator.add(features)
    return accumulator.result()


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """|mu_1 - mu_2|^2 + tr(C_1) + tr(C_2) - 2 tr((C_1 C_2)^(1/2))      (Heusel et al. 2017), at least 0

    C_1 C_2 has the eigenvalues of the symmetric matrix R^T C_2 R, where C_1 = R R^T. Two symmetric eigenvalue
    problems in float64 replace tensorflow-gan's two singular value decompositions, or a Schur decomposition, and
    also handle singular covariances.

    Raises:
      ValueError: a mean or covariance is not finite.
    """
    eigenvalues, eigenvectors = scipy.linalg.eigh(first.covariance, check_finite=True)
    root = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    eigenvalues = scipy.linalg.eigvalsh(root.T @ second.covariance @ root, check_finite=True)
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    means = np.sum(np.square(first.mean - second.mean))
    distance = means + np.trace(first.covariance) + np.trace(second.covariance) - 2.0 * trace_of_root
    if not np.isfinite(distance):
        raise ValueError("the Frechet distance is not finite: check the features")
    return float(max(distance, 0.0))  # rounding may make the distance of equal sets negative


# Seeds of `scrambled_order`. Under one seed, two sets of equal size would be paired by rank.
GENERATED_ORDER, REAL_ORDER = 0, 1


def sum_order(features: np.ndarray) -> np.ndarray:
    """Returns the row indices (num_images,) that sort features (num_images, feature_dim) by the sums of the rows."""
    return np.argsort(features.sum(axis=1, dtype=np.float64), kind="stable")


def scrambled_order(features: np.ndarray, seed: int) -> np.ndarray:
    """Returns a random order of features (num_images, feature_dim) that is independent of their given order.

    Scores over parts of a set need similar parts, but images may be sorted by class. Two sets need independent
    permutations: parts with rows of the same ranks would be too similar. The permutation is therefore seeded by the
    set too: by the ratio of the mean of all row sums to its standard error, to one decimal. Rounding errors of the
    features rarely change it.

    Args:
      features: finite activations of the images.
      seed: GENERATED_ORDER or REAL_ORDER, another one for each of two sets whose parts are compared.

    Returns:
      (num_images,) row indices.
    """
    sums = np.sort(features.sum(axis=1, dtype=np.float64))
    error = sums.std() / math.sqrt(len(sums))
    of_set = round(10.0 * abs(sums.mean()) / error) % 2**32 if error else 0
    return sum_order(features)[np.random.RandomState([seed, of_set]).permutation(len(features))]


def reorder(array: np.ndarray, order: np.ndarray) -> None:
    """Puts the rows of an array (num_rows, dim) into an order (num_rows,), in place, without a copy of the whole."""
    for start in range(0, array.shape[1], _COLUMNS):
        columns = array[:, start : start + _COLUMNS]
        columns[...] = columns[order]


def inception_score(logits: np.ndarray) -> tuple[float, float]:
    """exp(E_x KL(p(y|x) || p(y))) by tensorflow-gan, in ten consecutive parts      (Salimans et al. 2016)

    Args:
      logits: (num_images, num_classes), in random order.

    Returns:
      Mean and standard deviation over the parts, divisor number of parts.
    """
    scores = []
    for part in np.array_split(logits, min(INCEPTION_SCORE_SPLITS, len(logits))):
        # Clipped: for a class of probability 0 in all images, tensorflow-gan would compute 0 * inf.
        clipped = np.maximum(part - part.max(axis=1, keepdims=True), -500.0)
        scores.append(float(_classifier_score(clipped)))
    return float(np.mean(scores)), float(np.std(scores))


def kernel_blocks(num_images: int, num_other: int) -> int:
    """Number of blocks of the kernel distance: at least ten, of at most 1,024 images each as in tensorflow-gan.

    Fewer if a block would have less than two images of either set.
    """
    wanted = max(KERNEL_MIN_BLOCKS, -(-max(num_images, num_other) // KERNEL_BLOCK_SIZE))
    return max(1, min(wanted, min(num_images, num_other) // 2))


def kernel_distance(features: np.ndarray, other_features: np.ndarray) -> tuple[float, float | None]:
    """MMD^2 under the kernel (x . y / feature_dim + 1)^3, unbiased, by tensorflow-gan      (Binkowski et al. 2018)

    Args:
      features: (num_images, feature_dim), in random order.
      other_features: (num_other_images, feature_dim), in a random order that is independent of the first.

    Returns:
      Mean over the blocks and its standard error, None if there is only one block.

    Raises:
      ValueError: a set has fewer than two images.
    """
    smaller, larger = sorted((len(features), len(other_features)))
    if smaller < 2:
        raise ValueError(f"a kernel distance needs at least two images of each set, got {smaller}")
    blocks = kernel_blocks(smaller, larger)
    distance_of_block = _kernel_distance_of_block(features.shape[1])
    # Block by block: given whole sets, tensorflow-gan would copy them.
    distances = [
        float(distance_of_block(*pair)) for pair in zip(_cut(features, blocks), _cut(other_features, blocks))
    ]
    deviation = float(np.std(distances, ddof=1) / np.sqrt(blocks)) if blocks > 1 else None
    return float(np.mean(distances)), deviation


def _cut(features: np.ndarray, blocks: int) -> list[np.ndarray]:
    """Splits features into consecutive blocks, the longer ones last, as in tensorflow-gan."""
    length, rest = divmod(len(features), blocks)
    lengths = [length] * (blocks - rest) + [length + 1] * rest
    return np.split(features, np.cumsum(lengths)[:-1])
