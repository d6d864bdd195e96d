"""Builds the evaluator of a configuration."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import tensorflow as tf

from vitgan_tf.config import DataConfig, DataLocation, EvalConfig
from vitgan_tf.config.choices import EXTRACTORS
from vitgan_tf.data.digits import load_digits
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.reading import fingerprint
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.digits import DigitsEvaluator, digits_extractor, load_or_train_classifier
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.inception import INCEPTION_SIZE, keras_inception, tfgan_inception
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.real_statistics import real_statistics

# Two in each random half (`half_split_distance`): the fewest that have a covariance.
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
    noise: str | None = None,
    settings: EvalConfig | None = None,
) -> Evaluator:
    """Loads the extractor and the real images, and computes their statistics or reads them from the cache.

    Args:
      data: data set, image size and channels.
      location: paths of the real images, Inception's weights and the cache.
      extractor_name: name in `choices.EXTRACTORS`, see `EvalConfig`.
      split: split of the real images, "training" or "evaluation".
      num_generated: number of generated images to score.
      num_real: size of the random but fixed subset of real images to compare with; 0 for the whole split.
      seed: seed of the generated images' latents.
      images: the split, (num_images, size, size, channels) uint8, if it is already loaded.
      classifier_path: file of the digits classifier; by default in the cache.
      noise: see `Protocol`.
      settings: see `ExtractorRequest`.

    Raises:
      UserError: weights or images are missing or unusable, or the extractor does not fit the data set.
    """
    # Loaded first, so that missing weights are reported before minutes of decoding.
    extractor = load_extractor(extractor_name, data, location, classifier_path, settings)
    images = load_images(data, location, split) if images is None else images
    rows = _compared_rows(len(images), num_real)
    # Not cached for the digits: each run has its own classifier, and it is fast.
    cache_dir = None if extractor.name == "digits" else location.cache_dir
    names = {"dataset": data.dataset, "split": split, "num_split": len(images)}
    real = real_statistics(images, extractor, names, cache_dir, rows)
    protocol = Protocol(
        dataset=data.dataset,
        split=split,
        image_size=data.image_size,
        num_channels=data.num_channels,
        real_fingerprint=fingerprint(images),
        num_real=len(rows),
        num_split=len(images),
        num_real_kept=len(real.features),
        num_generated=num_generated,
        seed=seed,
        **extractor.protocol_entries(),
        feature_dim=real.features.shape[1],
        noise=noise,
        tf32=tf.config.experimental.tensor_float_32_execution_enabled(),
    )
    return (DigitsEvaluator if extractor.name == "digits" else Evaluator)(protocol, extractor, real)


def _compared_rows(num_split: int, num_real: int) -> np.ndarray:
    """Returns the indices of the real images to compare with: a random but fixed subset; for 0, the whole split."""
    rows = np.arange(num_split)
    if 0 < num_real < num_split:
        rows = np.sort(np.random.RandomState(0).permutation(num_split)[:num_real])
    if len(rows) < MIN_REAL:
        raise UserError(f"{len(rows)} real images are too few: at least {MIN_REAL} are needed")
    return rows


@dataclasses.dataclass(frozen=True)
class ExtractorRequest:
    """Argument of the functions in `choices.EXTRACTORS`.

    Attributes:
      data: data set, image size and channels.
      location: paths of the weights and the cache.
      classifier_path: file of the digits classifier; by default in the cache.
      settings: resizing, and network with its input and output.
    """

    data: DataConfig
    location: DataLocation
    classifier_path: str | None = None
    settings: EvalConfig = dataclasses.field(default_factory=EvalConfig)


def load_extractor(
    name: str,
    data: DataConfig,
    location: DataLocation,
    classifier_path: str | None = None,
    settings: EvalConfig | None = None,
) -> FeatureExtractor:
    """Loads the network whose features are compared; arguments as in `build_evaluator`.

    Raises:
      ExtractorNotFoundError: Inception's weights are missing and were not downloaded.
      UserError: the extractor does not fit the data set, or its weights cannot be read or written.
    """
    return EXTRACTORS[name](ExtractorRequest(data, location, classifier_path, settings or EvalConfig()))


def usual_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """Returns the network that is set, else the digits classifier for the digits, else that of published FIDs."""
    if request.settings.network:
        return EXTRACTORS["network"](request)
    return digits_classifier(request) if request.data.dataset == "digits" else tfgan_extractor(request)


def tfgan_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """See `inception.tfgan_inception`."""
    return tfgan_inception(request.location, _resize_for_inception(request))


def keras_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """See `inception.keras_inception`."""
    return keras_inception(request.location, _resize_for_inception(request))


def _resize_for_inception(request: ExtractorRequest) -> str:
    size = request.data.image_size
    if request.settings.resize == "none" and size != INCEPTION_SIZE:
        raise UserError(
            f"Inception takes images of {INCEPTION_SIZE} x {INCEPTION_SIZE}, and those of {request.data.dataset} are "
            f"{size} x {size}: choose another --resize than none"
        )
    return request.settings.resize


def digits_classifier(request: ExtractorRequest) -> FeatureExtractor:
    """Loads the digits classifier, or trains it if there is none."""
    data = request.data
    if data.dataset != "digits":
        raise UserError(f"the digits classifier cannot score images of {data.dataset}: choose another --extractor")
    if request.settings.resize not in ("", "none"):
        raise UserError(f"the digits classifier resizes no images: leave out --resize={request.settings.resize}")
    name = f"digits_classifier_{data.image_size}.h5"
    path = request.classifier_path or os.path.join(request.location.cache_dir, name)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return digits_extractor(load_or_train_classifier(*load_digits(data.image_size), path))
    except OSError as error:
        raise UserError(f"cannot write the digits classifier to {path!r}: {first_line(error)}") from error
