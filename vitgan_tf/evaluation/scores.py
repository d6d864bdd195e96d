"""Scores of sets of images, from the activations of a classifier, through tensorflow-gan."""

from __future__ import annotations

import warnings

import numpy as np
import tensorflow as tf


def _tfgan_eval():
    # Imported where it is used: it takes a second, and warns of its own dependencies.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import tensorflow_gan as tfgan
    return tfgan.eval


def frechet_distance(features: np.ndarray, other_features: np.ndarray) -> float:
    """|mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))      (Heusel et al. 2017)

    Args:
      features: (num_images, feature_dim).
      other_features: (num_other_images, feature_dim).
    """
    distance = _tfgan_eval().frechet_classifier_distance_from_activations(
        tf.convert_to_tensor(features), tf.convert_to_tensor(other_features)
    )
    return float(distance)


def classifier_score(logits: np.ndarray) -> float:
    """exp(E_x KL(p(y|x) || p(y))), from logits (num_images, num_classes)      (Salimans et al. 2016)"""
    return float(_tfgan_eval().classifier_score_from_logits(tf.convert_to_tensor(logits)))
