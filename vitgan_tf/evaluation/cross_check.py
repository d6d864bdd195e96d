"""The Frechet distance by other people's code, as a check of ours."""

from __future__ import annotations

import warnings
from typing import Callable

import numpy as np
import scipy.linalg

from vitgan_tf.evaluation.scores import tfgan_eval

_OFFSET = 1e-6


def tfgan_frechet_distance(real_features: np.ndarray, features: np.ndarray) -> float:
    """Frechet distance of (num_images, feature_dim) features by tensorflow-gan, in float32."""
    return float(tfgan_eval().frechet_classifier_distance_from_activations(real_features, features))


def scipy_frechet_distance(real_features: np.ndarray, features: np.ndarray) -> float:
    """Frechet distance of (num_images, feature_dim) features by NumPy's covariances and SciPy's root, in float64."""
    means = np.mean(real_features, axis=0, dtype=np.float64), np.mean(features, axis=0, dtype=np.float64)
    first, second = (np.cov(values, rowvar=False, dtype=np.float64) for values in (real_features, features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns that the root of a singular product is less exact
        root = scipy.linalg.sqrtm(first @ second)
        if not np.isfinite(root).all():  # as in pytorch-fid
            root = scipy.linalg.sqrtm(
                (first + _OFFSET * np.eye(len(first))) @ (second + _OFFSET * np.eye(len(first)))
            )
    root = root.real
    return float(np.sum((means[0] - means[1]) ** 2) + np.trace(first + second - 2.0 * root))


CROSS_CHECKS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "tfgan": tfgan_frechet_distance,
    "scipy": scipy_frechet_distance,
}
