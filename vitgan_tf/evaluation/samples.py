"""The scores: each computes a value from samples, as an entry of `choices.SCORES`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Callable, Union

import numpy as np

from vitgan_tf.config.choices import SCORES
from vitgan_tf.evaluation.neighbors import NeighborScores, neighbor_scores
from vitgan_tf.evaluation.scores import Gaussian, frechet_distance, gaussian, inception_score, kernel_distance
from vitgan_tf.evaluation.sliced_wasserstein import sliced_wasserstein

UNKNOWN = np.empty([0, 0], np.float32)
"""Stands for features or images that are not known."""


def unknown() -> np.ndarray:
    """Returns UNKNOWN, as the default of a dataclass's field."""
    return UNKNOWN


@dataclasses.dataclass
class Samples:
    """Generated and real images, and their activations; arrays are empty if they are not known.

    Attributes:
      images: equally many generated and...
      real_images: ...real images, (num_images, size, size, channels) uint8.
      features: features of the generated images, (num_generated, feature_dim) float32.
      logits: logits of the generated images, (num_generated, num_classes) float32.
      real_gaussian: mean and covariance of the real images' features.
      real_features: features of the real images, (num_real_kept, feature_dim) float32.
      real_radii: their `manifold_radii`.
      real_nearest: distance of each to its nearest neighbour, see `neighbor_distances`.
    """

    images: np.ndarray = dataclasses.field(default_factory=unknown)
    real_images: np.ndarray = dataclasses.field(default_factory=unknown)
    features: np.ndarray = dataclasses.field(default_factory=unknown)
    logits: np.ndarray = dataclasses.field(default_factory=unknown)
    real_gaussian: Gaussian = dataclasses.field(default_factory=lambda: Gaussian(0, UNKNOWN, UNKNOWN))
    real_features: np.ndarray = dataclasses.field(default_factory=unknown)
    real_radii: np.ndarray = dataclasses.field(default_factory=unknown)
    real_nearest: np.ndarray = dataclasses.field(default_factory=unknown)

    @functools.cached_property
    def neighbors(self) -> NeighborScores:
        """Scores from the nearest neighbours, computed together."""
        return neighbor_scores(self.real_features, self.real_radii, self.real_nearest, self.features)


Value = Union[float, Mapping[str, Union[float, None]]]
"""A score, or several values by the suffix of their names: "" for the score itself, "_std" for its deviation."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A score of generated images.

    Attributes:
      compute: computes the score.
      needs: attributes of the samples that it reads; without one of them, it is left out.
    """

    compute: Callable[[Samples], Value]
    needs: tuple[str, ...]

    @property
    def has_network(self) -> bool:
        """Whether the score depends on the network that computes features and logits."""
        return bool({"features", "logits"} & set(self.needs))

    def values(self, samples: Samples) -> dict[str, float | None]:
        """Returns the values by suffix; none if the samples lack what the score needs."""
        if not all(getattr(samples, name).size for name in self.needs):
            return {}
        value = self.compute(samples)
        return dict(value) if isinstance(value, Mapping) else {"": value}


def all_scores() -> dict[str, Score]:
    """Returns the scores in `choices.SCORES` by name; a plain function, as of a plugin, is one of the features."""
    scores = {}
    for name, item in SCORES.items():
        scores[name] = item if isinstance(item, Score) else Score(item, ("features",))
    return scores


def _inception(samples: Samples) -> Value:
    return dict(zip(("", "_std"), inception_score(samples.logits)))


def _kernel(samples: Samples) -> Value:
    return dict(zip(("", "_std"), kernel_distance(samples.real_features, samples.features)))


def _sliced(samples: Samples) -> Value:
    of_levels = sliced_wasserstein(samples.images, samples.real_images)
    levels = {f"_{edge}px": value for edge, value in of_levels.items()} if len(of_levels) > 1 else {}
    return {"": float(np.mean(list(of_levels.values()))), **levels}


_NEIGHBORS = ("features", "real_features", "real_radii", "real_nearest")
FRECHET = Score(lambda samples: frechet_distance(gaussian(samples.features), samples.real_gaussian), ("features",))
INCEPTION = Score(_inception, ("logits",))
KERNEL = Score(_kernel, ("features", "real_features"))
PRECISION = Score(lambda samples: samples.neighbors.precision, _NEIGHBORS)
RECALL = Score(lambda samples: samples.neighbors.recall, _NEIGHBORS)
DENSITY = Score(lambda samples: samples.neighbors.density, _NEIGHBORS)
COVERAGE = Score(lambda samples: samples.neighbors.coverage, _NEIGHBORS)
AUTHENTICITY = Score(lambda samples: samples.neighbors.authenticity, _NEIGHBORS)
SLICED_WASSERSTEIN = Score(_sliced, ("images", "real_images"))
