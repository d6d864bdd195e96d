"""Quality of generated digits, measured with a classifier trained on the real ones: no download needed.

digits-FD and digits-IS are computed as FID and Inception score are, from the features and logits of that small
classifier. They compare generators of digits with each other and with the real images; they are not FID.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.data.digits import NUM_CLASSES
from vitgan_tf.evaluation.scores import classifier_score, frechet_distance
from vitgan_tf.images import to_float

FEATURE_DIM = 64
HALF_SPLITS = 10
_HELD_OUT_FRACTION = 0.2
_EPOCHS = 30
_BATCH_SIZE = 64


def build_classifier(image_size: int) -> tf.keras.Model:
    """A small convolutional network: images in [-1, 1] -> (features (batch, 64), logits (batch, 10))."""
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
      seed: of the split, the initial weights and the order.

    Returns:
      The classifier, and its accuracy on the held-out fifth, 0 to 1.
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
    """The classifier saved at weights_path (.h5), or one trained now and saved there.

    Scores are comparable only under the same classifier: that of a run stays with it.
    """
    if os.path.exists(weights_path):
        classifier = build_classifier(images.shape[1])
        try:
            classifier.load_weights(weights_path)
            return classifier
        except (OSError, ValueError) as error:
            logging.warning("cannot read %s (%s): training the classifier again", weights_path, error)
    classifier, accuracy = train_classifier(images, labels, seed)
    logging.info("digits classifier trained, %.1f %% right on held-out digits", 100 * accuracy)
    partial_path = weights_path + ".partial.h5"
    classifier.save_weights(partial_path)
    os.replace(partial_path, weights_path)
    return classifier


class DigitsEvaluator:
    """Scores generated digits against the real ones.

    Args:
      images: all real digits, (num_images, size, size, 1) uint8.
      labels: their classes, (num_images,).
      weights_path: file of the classifier's weights, made when it is missing.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, weights_path: str):
        self._classifier = load_or_train_classifier(images, labels, weights_path)
        self._real_features, _ = self._extract(images)
        random = np.random.RandomState(0)
        distances = []
        for _ in range(HALF_SPLITS):
            order = random.permutation(len(images))
            half = len(images) // 2
            distances.append(frechet_distance(self._real_features[order[:half]], self._real_features[order[half:]]))
        self.half_split_distance = float(np.mean(distances))

    def _extract(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._classifier.predict(to_float(images), batch_size=500, verbose=0)

    def evaluate(self, generated: np.ndarray) -> dict[str, float | list[float]]:
        """Scores of generated images.

        Args:
          generated: (num_images, size, size, 1) uint8.

        Returns:
          digits_fd: Frechet distance of the features to those of all real digits.
          digits_is: exp of the mean KL divergence of an image's predicted class from the overall distribution.
          digits_fd_half_split: the same distance between two random halves of the real digits, mean over ten
            splits: the yardstick for digits_fd.
          digits_class_fractions: fraction of the images taken for each digit.
        """
        features, logits = self._extract(generated)
        counts = np.bincount(np.argmax(logits, axis=1), minlength=NUM_CLASSES)
        return {
            "digits_fd": frechet_distance(self._real_features, features),
            "digits_is": classifier_score(logits),
            "digits_fd_half_split": self.half_split_distance,
            "digits_class_fractions": (counts / len(generated)).tolist(),
        }
