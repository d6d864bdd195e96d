"""The evaluator that a configuration asks for."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.config.choices import EXTRACTORS
from vitgan_tf.data.digits import load_digits
from vitgan_tf.data.loading import fingerprint, load_images
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.digits import DigitsEvaluator, digits_extractor, load_or_train_classifier
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.inception import keras_inception, tfgan_inception
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.real_statistics import real_statistics

# Of two halves, each has a covariance.
MIN_REAL = 4


def build_evaluator(
    data: DataConfig,
    location: DataLocation,
    *,
    extractor_name: str,
    split: str,
    num_generated: int,
    num_real: int,
    seed: int,
    images: np.ndarray | None = None,
    classifier_path: str | None = None,
) -> Evaluator:
    """Loads the extractor and the real images, and computes their statistics, or reads those of an earlier time.

    Args:
      data: data set, size and channels.
      location: of the real images, of Inception's weights and of the cache.
      extractor_name: name in `choices.EXTRACTORS`, see `EvalConfig`.
      split: of the real images, "training" or "evaluation".
      num_generated: images that will be scored.
      num_real: real images to compare with, drawn at random, always the same; 0 for all of the split.
      seed: of the generated images' latents.
      images: of the split, (num_images, size, size, channels) uint8, where they have been loaded already.
      classifier_path: file of the digits' classifier, by default in the cache.

    Raises:
      UserError: something of this is not there, or does not go together.
    """
    # First: what is missing is said before images are decoded for minutes.
    extractor = load_extractor(extractor_name, data, location, classifier_path)
    if images is None:
        images = load_images(data, location, split)
    num_split = len(images)
    real_fingerprint = fingerprint(images)
    rows = np.arange(num_split)
    if 0 < num_real < num_split:
        rows = np.sort(np.random.RandomState(0).permutation(num_split)[:num_real])
    if len(rows) < MIN_REAL:
        raise UserError(f"{len(rows)} real images are too few to compare with: there must be {MIN_REAL} at least")
    key = {"dataset": data.dataset, "split": split, "num_split": num_split}
    # Every run on the digits has a classifier of its own, and is quick with it.
    cache_dir = None if extractor.name == "digits" else location.cache_dir
    real = real_statistics(images, extractor, key, cache_dir, rows)
    protocol = Protocol(
        dataset=data.dataset,
        split=split,
        image_size=data.image_size,
        num_channels=data.num_channels,
        real_fingerprint=real_fingerprint,
        num_real=len(rows),
        num_split=num_split,
        num_real_kept=len(real.features),
        num_generated=num_generated,
        seed=seed,
        extractor=extractor.name,
        extractor_sha256=extractor.sha256,
        is_published_extractor=extractor.is_published,
        feature_dim=real.features.shape[1],
        resize=extractor.resize,
    )
    return (DigitsEvaluator if extractor.name == "digits" else Evaluator)(protocol, extractor, real)


@dataclasses.dataclass(frozen=True)
class ExtractorRequest:
    """What an extractor is loaded for.

    Attributes:
      data: data set, size and channels.
      location: of weights and of the cache.
      classifier_path: file of the digits' classifier, by default in the cache.
    """

    data: DataConfig
    location: DataLocation
    classifier_path: str | None = None


def load_extractor(
    name: str, data: DataConfig, location: DataLocation, classifier_path: str | None = None
) -> FeatureExtractor:
    """The network whose features are compared; arguments as in `build_evaluator`.

    Raises:
      ExtractorNotFoundError: TF-GAN's Inception module is not there, and may not be fetched.
      UserError: it does not go with the data, or cannot be read or kept.
    """
    return EXTRACTORS[name](ExtractorRequest(data, location, classifier_path))


def usual_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """The digits' classifier for the digits, else that of published FIDs."""
    return digits_classifier(request) if request.data.dataset == "digits" else tfgan_extractor(request)


def tfgan_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """See `inception.tfgan_inception`."""
    return tfgan_inception(request.location)


def keras_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """See `inception.keras_inception`."""
    return keras_inception(request.location)


def digits_classifier(request: ExtractorRequest) -> FeatureExtractor:
    """The digits' classifier, read or trained."""
    data = request.data
    if data.dataset != "digits":
        raise UserError(f"the digits' classifier cannot judge images of {data.dataset}: choose another --extractor")
    name = f"digits_classifier_{data.image_size}.h5"
    path = request.classifier_path or os.path.join(request.location.cache_dir, name)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return digits_extractor(load_or_train_classifier(*load_digits(data.image_size), path))
    except OSError as error:
        raise UserError(f"cannot keep the digits' classifier in {path!r}: {first_line(error)}") from error
