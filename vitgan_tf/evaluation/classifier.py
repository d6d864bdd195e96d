"""Scores images with a small classifier trained on the labelled real ones, which needs no download.

Frechet distance, Inception score and the other scores are computed from its features and logits, and named after it:
classifier_fd, or digits_fd for the digits. They compare generators of the same images with each other and with the
real images; they are not FID.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import itertools
import os
from typing import Any, Callable, TypeVar

import h5py
import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.data.pipeline import as_tensor
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.real_statistics import RealStatistics, hash_of_all
from vitgan_tf.evaluation.scores import frechet_distance, gaussian, sum_order
from vitgan_tf.files import only_one
from vitgan_tf.images import to_float
from vitgan_tf.progress import Progress

FEATURE_DIM = 64
HALF_SPLITS = 10
MIN_PER_CLASS = 10
_HELD_OUT_FRACTION, _MAX_HELD_OUT = 0.2, 5_000
_EPOCHS, _MAX_STEPS = 30, 4_000
_BATCH_SIZE = 64
# Share of the way from the frequency of the most frequent class to an accuracy of 1.
_LOW_SKILL = 0.25
# Attributes of the HDF5 file: checksum of the weights, which HDF5 itself does not verify, and held-out accuracy.
_SHA256, _ACCURACY = "sha256", "held_out_accuracy"
# Incremented when the network or its training changes, so that older files are ignored.
_VERSION = 1
_Result = TypeVar("_Result")
Trained = tuple[tf.keras.Model, "float | None"]
"""A classifier and its held-out accuracy, 0 to 1; None for weights of versions that did not write it."""


def build_classifier(image_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
    """Builds a small convolutional network: images in [-1, 1] -> (features (batch, 64), logits (batch, num_classes)).

    Each stage halves the edge, until it is below 8 pixels. The filters double from stage to stage, and the later
    stages have the same number for all image sizes, so that large images do not take much longer.
    """
    size = image_shape[0]
    num_stages = 2
    while size >> num_stages >= 8:
        num_stages += 1
    last = 64 if num_stages == 2 else 128
    images = tf.keras.Input(image_shape)
    x = tf.keras.layers.RandomTranslation(1 / 8, 1 / 8, fill_mode="constant", fill_value=-1.0)(images)
    for stage in reversed(range(num_stages)):
        x = tf.keras.layers.Conv2D(max(8, last >> stage), 3, padding="same", activation="relu")(x)
        x = tf.keras.layers.MaxPool2D()(x)
    x = tf.keras.layers.Dropout(0.25)(tf.keras.layers.Flatten()(x))
    features = tf.keras.layers.Dense(FEATURE_DIM, activation="relu", name="features")(x)
    logits = tf.keras.layers.Dense(num_classes, name="logits")(tf.keras.layers.Dropout(0.25)(features))
    return tf.keras.Model(images, [features, logits], name="classifier")


def train_classifier(
    images: np.ndarray, labels: np.ndarray, num_classes: int, seed: int
) -> tuple[tf.keras.Model, float]:
    """Trains the classifier on four fifths of the images, or all but 5,000. Sets the global random seeds.

    There are at most 30 epochs and, in batches of 64, about 4,000 steps: of more than 256,000 images, as many are
    drawn at random.

    Args:
      images: (num_images, size, size, channels) uint8, in memory or memory-mapped; converted to float in batches.
      labels: (num_images,), 0 to num_classes - 1.
      num_classes: number of classes.
      seed: seed of the split, the initial weights and the shuffling.

    Returns:
      The classifier and its held-out accuracy, 0 to 1.
    """
    tf.keras.utils.set_random_seed(seed)
    order = np.random.RandomState(seed).permutation(len(images))
    num_held_out = min(int(len(images) * _HELD_OUT_FRACTION), _MAX_HELD_OUT)
    held_out, training = order[:num_held_out], order[num_held_out:][: _MAX_STEPS * _BATCH_SIZE]
    steps_per_epoch = -(-len(training) // _BATCH_SIZE)
    epochs = min(_EPOCHS, max(1, _MAX_STEPS // steps_per_epoch))
    classifier = build_classifier(images.shape[1:], num_classes)
    by_row = _logits_of_rows(classifier, images)
    by_row.compile("adam", loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    shown, count = Progress("training the classifier", epochs * steps_per_epoch, "step"), itertools.count(1)
    callback = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: shown.show(next(count)))
    with contextlib.closing(shown):
        by_row.fit(training, labels[training], _BATCH_SIZE, epochs, verbose=0, callbacks=[callback])
    logits = by_row.predict(held_out, verbose=0)
    return classifier, float(np.mean(np.argmax(logits, axis=1) == labels[held_out]))


def _logits_of_rows(classifier: tf.keras.Model, images: np.ndarray) -> tf.keras.Model:
    """Returns a model of indices of images: all images are in memory once, as uint8."""
    with tf.device("CPU:0"):
        pixels = as_tensor(images)

    def batch(rows: tf.Tensor) -> tf.Tensor:
        with tf.device("CPU:0"):  # gathered on a GPU, all images would move there
            chosen = tf.gather(pixels, rows)
        return to_float(chosen)

    rows = tf.keras.Input((), dtype=tf.int64)
    return tf.keras.Model(rows, classifier(tf.keras.layers.Lambda(batch)(rows))[1])


def load_or_train_classifier(
    images: np.ndarray, labels: np.ndarray, num_classes: int, weights_path: str, seed: int = 0
) -> Trained:
    """Loads the classifier from weights_path (.h5), or trains it and saves it there.

    Scores are comparable only under the same classifier. Other arguments: see `train_classifier`.

    Raises:
      OSError: the file cannot be written.
    """
    trained = _load(weights_path, images.shape[1:], num_classes)
    if trained is not None:
        return trained
    classifier, accuracy = _without_strategy(lambda: train_classifier(images, labels, num_classes, seed))
    logging.info("classifier of %d classes trained: held-out accuracy %.1f %%", num_classes, 100 * accuracy)
    _save(classifier, accuracy, weights_path)
    if not tf.distribute.has_strategy():
        return classifier, accuracy
    distributed = build_classifier(images.shape[1:], num_classes)
    distributed.set_weights(classifier.get_weights())
    return distributed, accuracy


def _load(weights_path: str, image_shape: tuple[int, ...], num_classes: int) -> Trained | None:
    """Reads a classifier; None if there is no file or it is damaged."""
    if not os.path.exists(weights_path):
        return None
    classifier = build_classifier(image_shape, num_classes)
    try:
        classifier.load_weights(weights_path)
        with h5py.File(weights_path, "r") as file:
            written, accuracy = file.attrs.get(_SHA256), file.attrs.get(_ACCURACY)
        if written not in (None, _sha256(classifier)):
            raise ValueError("its weights do not match their checksum")
        return classifier, None if accuracy is None else float(accuracy)
    except Exception as error:  # damaged files raise errors of many types
        logging.warning("cannot read %s (%s): retraining the classifier", weights_path, first_line(error))
        return None


def _save(classifier: tf.keras.Model, accuracy: float, weights_path: str) -> None:
    partial_path = f"{weights_path}.{os.getpid()}.partial.h5"  # another process may write the same classifier
    try:
        classifier.save_weights(partial_path)
        with h5py.File(partial_path, "a") as file:
            file.attrs[_SHA256] = _sha256(classifier)
            file.attrs[_ACCURACY] = accuracy
        os.replace(partial_path, weights_path)
    finally:
        with contextlib.suppress(OSError):
            os.remove(partial_path)


def _without_strategy(function: Callable[[], _Result]) -> _Result:
    """Calls a function on one device: in another thread, where the current `tf.distribute` strategy is not set."""
    if not tf.distribute.has_strategy():
        return function()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def classifier_of(training: LabelledImages, cache_dir: str, seed: int = 0) -> Trained:
    """Returns the classifier of labelled images, from the cache or trained, one process at a time.

    Args:
      training: images with labels.
      cache_dir: folder of the cache, whose files lie in classifiers/, by a hash of all images, labels and classes.
      seed: see `train_classifier`.

    Raises:
      UserError: there are too few images or classes.
      OSError: the cache cannot be written.
    """
    images, labels, class_names = training.images, training.labels, training.class_names
    if labels is None or class_names is None:
        raise ValueError("the images have no labels")
    num_present = len(np.unique(labels))
    if num_present < 2:
        raise UserError(f"all {len(images)} images are of one class: a classifier needs two or more")
    if len(images) < MIN_PER_CLASS * num_present:
        raise UserError(
            f"{len(images)} images of {num_present} classes are too few to train a classifier: at least "
            f"{MIN_PER_CLASS} per class are needed, on average"
        )
    digest = hashlib.sha256(repr((_VERSION, seed, class_names)).encode())
    digest.update(hash_of_all(images, np.arange(len(images))).encode() + labels.tobytes())
    folder = os.path.join(cache_dir, "classifiers", digest.hexdigest()[:32])
    path = os.path.join(folder, "classifier.h5")
    trained = _load(path, images.shape[1:], len(class_names))  # without a lock: the cache may be read-only
    if trained is None:
        with only_one(folder, wait=True):
            trained = load_or_train_classifier(images, labels, len(class_names), path, seed)
    _warn_of_low(trained[1], labels)
    return trained


def _warn_of_low(accuracy: float | None, labels: np.ndarray) -> None:
    chance = np.bincount(labels).max() / len(labels)
    if accuracy is not None and accuracy - chance < _LOW_SKILL * (1 - chance):
        logging.warning(
            "the classifier is right on only %.1f %% of held-out images, and %.1f %% are of the most frequent class: "
            "its scores say little about the images",
            100 * accuracy,
            100 * chance,
        )


def classifier_extractor(name: str, trained: Trained, num_channels: int) -> FeatureExtractor:
    """Wraps a classifier of images with this number of channels as a `FeatureExtractor`."""
    classifier, accuracy = trained

    def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tuple(classifier(images, training=False))

    sha256 = _sha256(classifier)
    return FeatureExtractor(
        name, function, sha256, "none", num_channels=num_channels, batch_size=500, accuracy=accuracy
    )


def _sha256(classifier: tf.keras.Model) -> str:
    digest = hashlib.sha256()
    for weights in classifier.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()


class ClassifierEvaluator(Evaluator):
    """Adds class fractions and a reference value for the Frechet distance to the scores."""

    def __init__(self, protocol: Protocol, extractor: FeatureExtractor, real: RealStatistics, *images: np.ndarray):
        super().__init__(protocol, extractor, real, *images)
        self.half_split_distance = half_split_distance(real.features) if len(real.features) else None

    def further_scores(self, logits: np.ndarray) -> dict[str, Any]:
        """See `Evaluator.further_scores`.

        Returns:
          NAME_fd_half_split: see `half_split_distance`; NAME is that of the extractor.
          NAME_class_fractions: fraction of the images classified as each class.
        """
        counts = np.bincount(np.argmax(logits, axis=1), minlength=logits.shape[1])
        return {
            self.protocol.score_name("fd_half_split"): self.half_split_distance,
            self.protocol.score_name("class_fractions"): (counts / len(logits)).tolist(),
        }


def half_split_distance(features: np.ndarray) -> float:
    """Frechet distance between two random halves of the real features, mean over ten splits: a reference value."""
    features = features[sum_order(features)[np.random.RandomState(0).permutation(len(features))]]
    random, distances = np.random.RandomState(0), []
    for _ in range(HALF_SPLITS):
        halves = np.array_split(features[random.permutation(len(features))], 2)
        distances.append(frechet_distance(*map(gaussian, halves)))
    return float(np.mean(distances))
