"""Builds the evaluator of a configuration."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any, Callable

import tensorflow as tf
from absl import logging

from vitgan_tf.config import DataConfig, DataLocation, EvalConfig
from vitgan_tf.config.choices import EXTRACTORS
from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.data.loading import load_images, load_labelled_images
from vitgan_tf.data.registry import DatasetSpec, dataset_spec
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.classifier import (
    ClassifierEvaluator,
    classifier_extractor,
    classifier_of,
    load_or_train_classifier,
)
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.extractors import NO_NETWORK, FeatureExtractor
from vitgan_tf.evaluation.inception import (
    INCEPTION_SIZE,
    ExtractorNotFoundError,
    keras_inception,
    tfgan_inception,
)
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.reference import of_file, of_images

_CLASSIFIERS = ("digits", "classifier")


def build_evaluator(
    data: DataConfig,
    location: DataLocation,
    *,
    extractor_name: str,
    split: str,
    num_generated: int,
    num_real: int,
    seed: int,
    training_images: LabelledImages | None = None,
    classifier_path: str | None = None,
    noise: str | None = None,
    statistics: str | None = None,
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
      training_images: the training split, if it is already loaded.
      classifier_path: file of the digits classifier; by default in the cache.
      noise: see `Protocol`.
      statistics: file of the real images' statistics, in place of the images; see `read_statistics`.
      settings: see `ExtractorRequest`.

    Raises:
      UserError: weights or images are missing or unusable, or the extractor does not fit the data set.
    """
    # Loaded first, so that missing weights are reported before minutes of decoding.
    training = functools.cache(lambda: training_images or load_labelled_images(data, location))
    extractor = _extractor_or_none(extractor_name, data, location, classifier_path, training, settings)
    if statistics is None:
        images = training().images if split == "training" else load_images(data, location, split)
        reference = of_images(images, data, location, split, num_real, extractor)
    else:
        reference = of_file(statistics, data, extractor)
    shown, real = reference.shown(num_generated), reference.statistics
    protocol = Protocol(
        **reference.protocol,
        image_size=data.image_size,
        num_channels=data.num_channels,
        num_generated=num_generated,
        seed=seed,
        **(NO_NETWORK if extractor is None else extractor.protocol_entries()),
        feature_dim=0 if real is None else len(real.gaussian.mean),
        noise=noise,
        tf32=tf.config.experimental.tensor_float_32_execution_enabled(),
        num_swd=len(shown),
    )
    if extractor is not None and real is not None and extractor.name in _CLASSIFIERS:
        return ClassifierEvaluator(protocol, extractor, real, shown, reference.images)
    return Evaluator(protocol, extractor, real, shown, reference.images)


@dataclasses.dataclass(frozen=True)
class ExtractorRequest:
    """Argument of the functions in `choices.EXTRACTORS`.

    Attributes:
      data: data set, image size and channels.
      location: paths of the weights and the cache.
      training: () -> images of the training split.
      classifier_path: file of the digits classifier; by default in the cache.
      settings: resizing, and network with its input and output.
    """

    data: DataConfig
    location: DataLocation
    training: Callable[[], LabelledImages]
    classifier_path: str | None = None
    settings: EvalConfig = dataclasses.field(default_factory=EvalConfig)


def load_extractor(
    name: str,
    data: DataConfig,
    location: DataLocation,
    classifier_path: str | None = None,
    training: Callable[[], LabelledImages] | None = None,
    settings: EvalConfig | None = None,
) -> FeatureExtractor | None:
    """Loads the network whose features are compared, or returns None for "none"; arguments as in `build_evaluator`.

    A classifier that is not there is trained on the images that training() returns; by default, they are loaded.

    Raises:
      ExtractorNotFoundError: Inception's weights are missing and were not downloaded.
      UserError: the extractor does not fit the data set, or its weights cannot be read or written.
    """
    training = training or functools.partial(load_labelled_images, data, location)
    return EXTRACTORS[name](ExtractorRequest(data, location, training, classifier_path, settings or EvalConfig()))


def _extractor_or_none(name: str, *arguments: Any) -> FeatureExtractor | None:
    """Loads the network; logs a warning and returns None if it is missing and was not asked for."""
    try:
        return load_extractor(name, *arguments)
    except ExtractorNotFoundError as error:
        settings = arguments[-1]
        if name != "auto" or (settings is not None and settings.network):
            raise
        logging.warning("without a network, the only score is the sliced Wasserstein distance: %s", error)
        return None


def no_extractor(request: ExtractorRequest) -> None:
    """No network: only the scores that need none are computed."""
    _check_not_resized(request, "without a network")


def _check_not_resized(request: ExtractorRequest, words: str) -> None:
    if request.settings.resize not in ("", "none"):
        raise UserError(f"{words}, images are not resized: leave out --resize={request.settings.resize}")


def usual_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """Returns the network that is set, else the digits classifier for the digits, else that of published FIDs."""
    if request.settings.network:
        return EXTRACTORS["network"](request)
    return digits_extractor(request) if request.data.dataset == "digits" else tfgan_extractor(request)


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


def digits_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """Returns the digits classifier, trained if there is none."""
    data = request.data
    if data.dataset != "digits":
        raise UserError(
            f"the digits classifier cannot score images of {data.dataset}: choose another --extractor, such as "
            "--extractor=classifier"
        )
    _check_not_resized(request, "for the digits classifier")
    of_classes = "".join(f"_{number}" for number in data.classes)
    name = f"digits_classifier_{data.image_size}{of_classes}.h5"
    path = request.classifier_path or os.path.join(request.location.cache_dir, name)
    digits = request.training()
    assert digits.labels is not None and digits.class_names is not None
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        trained = load_or_train_classifier(digits.images, digits.labels, len(digits.class_names), path)
    except OSError as error:
        raise UserError(f"cannot write the digits classifier to {path!r}: {first_line(error)}") from error
    return classifier_extractor("digits", trained, data.num_channels)


def labels_extractor(request: ExtractorRequest) -> FeatureExtractor:
    """Returns a classifier of the training images, trained if there is none in the cache."""
    data, cache_dir = request.data, request.location.cache_dir
    if data.dataset == "digits":
        return digits_extractor(request)
    _check_not_resized(request, "for a classifier of labels")
    training = request.training()
    if training.labels is None:
        spec = dataset_spec(data)
        advice = (spec.label_advice if isinstance(spec, DatasetSpec) else "") or "choose another --extractor"
        raise UserError(f"--extractor=classifier needs labels, and {data.dataset} has none: {advice}")
    try:
        return classifier_extractor("classifier", classifier_of(training, cache_dir), data.num_channels)
    except OSError as error:
        raise UserError(
            f"cannot keep the classifier in {cache_dir!r} ({first_line(error)}): choose another --cache_dir"
        ) from error
