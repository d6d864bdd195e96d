"""Scores generated digits with a small classifier trained on the real ones, which needs no download.

digits-FD, digits-IS and the other scores are computed like FID and Inception score, but from the features and logits
of this classifier. They compare generators of digits with each other and with the real images; they are not FID.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
from typing import Any, Callable, TypeVar

import h5py
import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.data.digits import NUM_CLASSES
from vitgan_tf.errors import first_line
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.real_statistics import RealStatistics
from vitgan_tf.evaluation.scores import frechet_distance, gaussian, sum_order
from vitgan_tf.images import to_float

FEATURE_DIM = 64
HALF_SPLITS = 10
_HELD_OUT_FRACTION = 0.2
_EPOCHS = 30
_BATCH_SIZE = 64
# HDF5 attribute with the checksum of the weights; HDF5 itself does not verify them.
_SHA256 = "sha256"
_Result = TypeVar("_Result")


def build_classifier(image_size: int) -> tf.keras.Model:
    """Builds a small convolutional network: images in [-1, 1] -> (features (batch, 64), logits (batch, 10))."""
    images = tf.keras.Input((image_size, image_size, 1))
    x = tf.keras.layers.RandomTranslation(1 / 8, 1 / 8, fill_mode="constant", fill_value=-1.0)(images)
    for filters in (32, 64):
        x = tf.keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = tf.keras.layers.MaxPool2D()(x)
    x = tf.keras.layers.Dropout(0.25)(tf.keras.layers.Flatten()(x))
    features = tf.keras.layers.Dense(FEATURE_DIM, activation="relu", name="features")(x)
    logits = tf.keras.layers.Dense(NUM_CLASSES, name="logits")(tf.keras.layers.Dropout(0.25)(features))
    return tf.keras.Model(images, [features, logits], name="digits_classifier")


def train_classifier(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[tf.keras.Model, float]:
    """Trains the classifier on four fifths of the digits. Sets the global random seeds.

    Args:
      images: (num_images, size, size, 1) uint8.
      labels: (num_images,), 0 to 9.
      seed: seed of the split, the initial weights and the shuffling.

    Returns:
      The classifier and its held-out accuracy, 0 to 1.
    """
    tf.keras.utils.set_random_seed(seed)
    order = np.random.RandomState(seed).permutation(len(images))
    num_held_out = int(len(images) * _HELD_OUT_FRACTION)
    held_out, training = order[:num_held_out], order[num_held_out:]
    inputs = to_float(images).numpy()
    classifier = build_classifier(images.shape[1])
    classifier.compile("adam", loss={"logits": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    classifier.fit(inputs[training], {"logits": labels[training]}, _BATCH_SIZE, _EPOCHS, verbose=0)
    _, logits = classifier.predict(inputs[held_out], verbose=0)
    return classifier, float(np.mean(np.argmax(logits, axis=1) == labels[held_out]))


def load_or_train_classifier(
    images: np.ndarray, labels: np.ndarray, weights_path: str, seed: int = 0
) -> tf.keras.Model:
    """Loads the classifier from weights_path (.h5), or trains it and saves it there.

    Scores are comparable only under the same classifier, so each run keeps its own.
    """
    if os.path.exists(weights_path):
        classifier = build_classifier(images.shape[1])
        try:
            classifier.load_weights(weights_path)
            with h5py.File(weights_path, "r") as file:
                written = file.attrs.get(_SHA256)
            if written not in (None, _sha256(classifier)):
                raise ValueError("its weights do not match their checksum")
            return classifier
        except Exception as error:  # damaged files raise errors of many types
            logging.warning("cannot read %s (%s): retraining the classifier", weights_path, first_line(error))
    classifier, accuracy = _without_strategy(lambda: train_classifier(images, labels, seed))
    logging.info("digits classifier trained: held-out accuracy %.1f %%", 100 * accuracy)
    partial_path = weights_path + ".partial.h5"
    classifier.save_weights(partial_path)
    with h5py.File(partial_path, "a") as file:
        file.attrs[_SHA256] = _sha256(classifier)
    os.replace(partial_path, weights_path)
    if not tf.distribute.has_strategy():
        return classifier
    distributed = build_classifier(images.shape[1])
    distributed.set_weights(classifier.get_weights())
    return distributed


def _without_strategy(function: Callable[[], _Result]) -> _Result:
    """Calls a function on one device: in another thread, where the current `tf.distribute` strategy is not set."""
    if not tf.distribute.has_strategy():
        return function()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def digits_extractor(classifier: tf.keras.Model) -> FeatureExtractor:
    """Wraps the classifier as a `FeatureExtractor`."""

    def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tuple(classifier(images, training=False))

    return FeatureExtractor("digits", function, _sha256(classifier), "none", num_channels=1, batch_size=500)


def _sha256(classifier: tf.keras.Model) -> str:
    digest = hashlib.sha256()
    for weights in classifier.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()


class DigitsEvaluator(Evaluator):
    """Scores digits; adds class fractions and a reference value for the Frechet distance."""

    def __init__(self, protocol: Protocol, extractor: FeatureExtractor, real: RealStatistics, *images: np.ndarray):
        super().__init__(protocol, extractor, real, *images)
        self.half_split_distance = half_split_distance(real.features) if len(real.features) else None

    def further_scores(self, logits: np.ndarray) -> dict[str, Any]:
        """See `Evaluator.further_scores`.

        Returns:
          digits_fd_half_split: see `half_split_distance`.
          digits_class_fractions: fraction of the images classified as each digit.
        """
        counts = np.bincount(np.argmax(logits, axis=1), minlength=NUM_CLASSES)
        return {
            "digits_fd_half_split": self.half_split_distance,
            "digits_class_fractions": (counts / len(logits)).tolist(),
        }


def half_split_distance(features: np.ndarray) -> float:
    """Frechet distance between two random halves of the real features, mean over ten splits: a reference value."""
    features = features[sum_order(features)[np.random.RandomState(0).permutation(len(features))]]
    random, distances = np.random.RandomState(0), []
    for _ in range(HALF_SPLITS):
        halves = np.array_split(features[random.permutation(len(features))], 2)
        distances.append(frechet_distance(*map(gaussian, halves)))
    return float(np.mean(distances))
