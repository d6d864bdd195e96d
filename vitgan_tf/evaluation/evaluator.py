"""Scores of generated images against real ones."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from vitgan_tf.config.choices import SCORES
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.cross_check import CROSS_CHECKS
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.neighbors import NeighborScores, neighbor_scores
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.real_statistics import RealStatistics
from vitgan_tf.evaluation.scores import (
    GENERATED_ORDER,
    frechet_distance,
    gaussian,
    inception_score,
    kernel_distance,
    scrambled_order,
)


@dataclasses.dataclass
class Samples:
    """Inputs of the scores: activations of the generated images and statistics of the real ones.

    Attributes:
      features: features of the generated images, (num_generated, feature_dim) float32.
      logits: logits of the generated images, (num_generated, num_classes) float32; num_classes = 0 without logits.
      real: statistics of the real images under the same extractor.
    """

    features: np.ndarray
    logits: np.ndarray
    real: RealStatistics

    @functools.cached_property
    def neighbors(self) -> NeighborScores:
        """Scores from the nearest neighbours, computed together."""
        return neighbor_scores(self.real.features, self.real.radii, self.features)


def frechet(samples: Samples) -> float:
    """Frechet distance between generated and real features."""
    return frechet_distance(gaussian(samples.features), samples.real.gaussian)


def inception(samples: Samples) -> tuple[float, float]:
    """Inception score: mean and standard deviation over ten parts of the generated images."""
    return inception_score(samples.logits)


def kernel(samples: Samples) -> tuple[float, float | None]:
    """Kernel distance and its standard error, None if there is only one block."""
    return kernel_distance(samples.real.features, samples.features)


def precision(samples: Samples) -> float:
    """Improved precision, 0 to 1."""
    return samples.neighbors.precision


def recall(samples: Samples) -> float:
    """Improved recall, 0 to 1."""
    return samples.neighbors.recall


def density(samples: Samples) -> float:
    """Density, at least 0."""
    return samples.neighbors.density


def coverage(samples: Samples) -> float:
    """Coverage, 0 to 1."""
    return samples.neighbors.coverage


class Evaluator:
    """Scores generated images.

    Args:
      protocol: protocol of the scores.
      extractor: see `FeatureExtractor`.
      real: statistics of the real images under that extractor.
    """

    def __init__(self, protocol: Protocol, extractor: FeatureExtractor, real: RealStatistics):
        self.protocol = protocol
        self.extractor = extractor
        self.real = real

    @property
    def distance_name(self) -> str:
        """Name of the Frechet distance among the scores."""
        return self.protocol.score_name("fd")

    def evaluate(self, batches: Iterable[np.ndarray], cross_check: bool = False) -> dict[str, Any]:
        """Computes all scores in `choices.SCORES`, named by `Protocol.score_name`.

        Without logits there is no Inception score. A score with a standard deviation has two entries: NAME and
        NAME_std.

        Args:
          batches: arrays (any number, size, size, channels) uint8, protocol.num_generated images in total.
          cross_check: whether to compute the Frechet distance by `cross_check.CROSS_CHECKS` too, as NAME_tfgan and
            NAME_scipy.

        Raises:
          ValueError: the number of images is not protocol.num_generated.
          UserError: an activation or a score is not finite; or a cross-check lacks the features of some real images.
        """
        if cross_check and self.protocol.num_real_kept < self.protocol.num_real:
            raise UserError(
                f"--cross_check needs the features of all {self.protocol.num_real} real images, and "
                f"{self.protocol.num_real_kept} are kept: set --num_real={self.protocol.num_real_kept}"
            )
        features, logits = self._activations(batches)
        order = scrambled_order(features, GENERATED_ORDER)
        samples = Samples(features[order], logits[order], self.real)
        values: dict[str, float | None] = {}
        for name, score in SCORES.items():
            if name == "is" and not samples.logits.shape[1]:
                continue
            value = score(samples)
            values.update({name: value[0], f"{name}_std": value[1]} if isinstance(value, tuple) else {name: value})
        if not all(math.isfinite(value) for value in values.values() if value is not None):
            raise UserError(f"scores are not finite: {values}")
        named = {self.protocol.score_name(name): value for name, value in values.items()}
        checks = CROSS_CHECKS if cross_check else {}
        checked = {
            f"{self.distance_name}_{name}": check(self.real.features, samples.features)
            for name, check in checks.items()
        }
        return {**named, **checked, **self.further_scores(samples.logits)}

    def further_scores(self, logits: np.ndarray) -> dict[str, Any]:
        """Returns additional scores from the logits (num_generated, num_classes); subclasses override it."""
        return {}

    def _activations(self, batches: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Features (num_generated, feature_dim) and logits (num_generated, num_classes) of all images, float32."""
        wanted = self.protocol.num_generated
        arrays: list[np.ndarray] = []
        row = 0
        for results in self.extractor.activations(batches):
            if not arrays:
                arrays = [np.empty([wanted, values.shape[1]], np.float32) for values in results]
            end = row + len(results[0])
            if end > wanted:
                raise ValueError(f"got more than the {wanted} images of the protocol")
            for array, values in zip(arrays, results):
                array[row:end] = values
            row = end
        if row < wanted:
            raise ValueError(f"got {row} images, not the {wanted} of the protocol")
        features, logits = arrays
        return features, logits
