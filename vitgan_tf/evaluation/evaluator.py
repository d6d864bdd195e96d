"""Scores of generated images against real ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.protocol import SCORES, Protocol
from vitgan_tf.evaluation.real_statistics import RealStatistics
from vitgan_tf.evaluation.scores import (
    frechet_distance,
    gaussian,
    inception_score,
    kernel_distance,
    precision_and_recall,
    scrambled_order,
)


class Evaluator:
    """Scores generated images.

    Args:
      protocol: of the scores.
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
        return self.protocol.score_names()["fd"]

    def evaluate(self, batches: Iterable[np.ndarray]) -> dict[str, Any]:
        """Scores by the names that `Protocol.score_names` gives them.

        fd: Frechet distance of the features of generated and real images.
        is, is_std: Inception score of the generated images, mean and standard deviation over ten parts of them.
        kd, kd_std: kernel distance, and the standard deviation of this estimate; None where there is none.
        precision, recall: improved precision and recall, 0 to 1.

        Args:
          batches: of protocol.num_generated images in all, arrays (any number, size, size, channels) uint8.

        Raises:
          ValueError: there are more or fewer images.
          UserError: an activation or a score is not finite.
        """
        features, logits = self._activations(batches)
        order = scrambled_order(features)
        features, logits = features[order], logits[order]
        distance = frechet_distance(gaussian(features), self.real.gaussian)
        values = (
            distance,
            *inception_score(logits),
            *kernel_distance(self.real.features, features),
            *precision_and_recall(self.real.features, self.real.radii, features),
        )
        if not all(math.isfinite(value) for value in values if value is not None):
            raise UserError(f"scores are not finite: {dict(zip(SCORES, values))}")
        names = self.protocol.score_names()
        return {**{names[name]: value for name, value in zip(SCORES, values)}, **self.further_scores(logits)}

    def further_scores(self, logits: np.ndarray) -> dict[str, Any]:
        """What an evaluator of special data adds, from the logits (num_generated, num_classes)."""
        return {}

    def _activations(self, batches: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Of all images: (num_generated, feature_dim) and (num_generated, num_classes) float32."""
        wanted = self.protocol.num_generated
        arrays: list[np.ndarray] = []
        row = 0
        for results in self.extractor.activations(batches):
            if not arrays:
                arrays = [np.empty([wanted, values.shape[1]], np.float32) for values in results]
            end = row + len(results[0])
            if end > wanted:
                raise ValueError(f"more than the {wanted} images of the protocol")
            for array, values in zip(arrays, results):
                array[row:end] = values
            row = end
        if row < wanted:
            raise ValueError(f"{row} images, not the {wanted} of the protocol")
        features, logits = arrays
        return features, logits
