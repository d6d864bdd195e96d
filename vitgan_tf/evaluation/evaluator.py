"""Scores of generated images against real ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.cross_check import CROSS_CHECKS
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.real_statistics import RealStatistics
from vitgan_tf.evaluation.samples import UNKNOWN, Samples, all_scores
from vitgan_tf.evaluation.scores import GENERATED_ORDER, reorder, scrambled_order


def random_rows(count: int, wanted: int) -> np.ndarray:
    """Returns the indices of a random but fixed subset, ascending: (wanted,)."""
    return np.sort(np.random.RandomState(0).permutation(count)[:wanted])


class Evaluator:
    """Scores generated images.

    Args:
      protocol: protocol of the scores.
      extractor: network whose features are compared; None for the scores that need no network.
      real: statistics of the real images under that network; None without a network.
      real_images: images for the scores that compare images, (protocol.num_swd, size, size, channels) uint8; empty to
        leave those scores out.
      split_images: all images of the real split, likewise; empty if only their statistics are known.
    """

    def __init__(
        self,
        protocol: Protocol,
        extractor: FeatureExtractor | None,
        real: RealStatistics | None,
        real_images: np.ndarray = UNKNOWN,
        split_images: np.ndarray = UNKNOWN,
    ):
        self.protocol = protocol
        self.extractor = extractor
        self.real = real
        self.split_images = split_images
        self._real_images = real_images

    @property
    def distance_name(self) -> str:
        """Name of the score that tells the best checkpoint: the Frechet distance, or without a network "swd"."""
        return "swd" if self.extractor is None else self.protocol.score_name("fd")

    def evaluate(self, batches: Iterable[np.ndarray], cross_check: bool = False) -> dict[str, Any]:
        """Computes all scores in `choices.SCORES` for which the inputs are known, named by `Protocol.score_name`.

        Scores that no network enters have their own names: swd. Standard deviations are named NAME_std.

        Args:
          batches: arrays (any number, size, size, channels) uint8, protocol.num_generated images in total.
          cross_check: whether to compute the Frechet distance by `cross_check.CROSS_CHECKS` too, as NAME_tfgan and
            NAME_scipy.

        Raises:
          ValueError: the number of images is not protocol.num_generated.
          UserError: an activation or a score is not finite; or a cross-check lacks the features of real images.
        """
        if cross_check:
            self._check_features_of_all()
        samples = self._samples(batches)
        values = self._values(samples, has_network=True)
        checks = CROSS_CHECKS.items() if cross_check else ()
        checked = {
            f"{self.distance_name}_{name}": check(samples.real_features, samples.features) for name, check in checks
        }
        further = self.further_scores(samples.logits)
        samples = Samples(samples.images, samples.real_images)  # their patches need the memory of the activations
        values.update(self._values(samples, has_network=False))
        if not all(math.isfinite(value) for value in values.values() if value is not None):
            raise UserError(f"scores are not finite: {values}")
        return {**values, **checked, **further}

    def _values(self, samples: Samples, has_network: bool) -> dict[str, Any]:
        """Returns the values, by their public names, of the scores that a network enters, or of the others."""
        values: dict[str, Any] = {}
        for name, score in all_scores().items():
            if score.has_network == has_network:
                for suffix, value in score.values(samples).items():
                    full_name = name + suffix
                    values[self.protocol.score_name(full_name) if has_network else full_name] = value
        return values

    def further_scores(self, logits: np.ndarray) -> dict[str, Any]:
        """Returns additional scores from the logits (num_generated, num_classes); subclasses override it."""
        return {}

    def _check_features_of_all(self) -> None:
        if self.extractor is None:
            raise UserError("--cross_check needs a network whose features are compared: choose an --extractor")
        if self.protocol.split == "unknown":
            raise UserError("--cross_check needs the features of real images, and statistics alone are known")
        if self.protocol.num_real_kept < self.protocol.num_real:
            raise UserError(
                f"--cross_check needs the features of all {self.protocol.num_real} real images, and "
                f"{self.protocol.num_real_kept} are kept: set --num_real={self.protocol.num_real_kept}"
            )

    def _samples(self, batches: Iterable[np.ndarray]) -> Samples:
        wanted = self.protocol.num_generated
        images, counted = _Chosen(wanted, self._real_images), _counted(batches, wanted)
        if self.extractor is None or self.real is None:
            for _ in images.passing(counted):
                pass
            return Samples(images.array, self._real_images)
        features, logits = _gathered(self.extractor.activations(images.passing(counted)), wanted)
        order = scrambled_order(features, GENERATED_ORDER)
        reorder(features, order)
        reorder(logits, order)
        return Samples(
            images.array,
            self._real_images,
            features,
            logits,
            self.real.gaussian,
            self.real.features,
            self.real.radii,
            self.real.nearest,
        )


class _Chosen:
    """As many generated images as there are real ones to compare with, chosen at random.

    Attributes:
      array: the images, (num_chosen, size, size, channels) uint8; complete when all batches have passed.
    """

    def __init__(self, num_generated: int, real_images: np.ndarray):
        self.array = np.empty_like(real_images)
        self._rows = random_rows(num_generated, len(real_images))

    def passing(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the batches, and keeps the chosen images."""
        first = 0
        for batch in batches:
            start, end = np.searchsorted(self._rows, [first, first + len(batch)])
            if start < end:
                self.array[start:end] = batch[self._rows[start:end] - first]
            first += len(batch)
            yield batch


def _counted(batches: Iterable[np.ndarray], wanted: int) -> Iterator[np.ndarray]:
    """Yields the batches; raises ValueError unless they hold the wanted number of images."""
    count = 0
    for batch in batches:
        count += len(batch)
        if count > wanted:
            raise ValueError(f"got more than the {wanted} images of the protocol")
        yield batch
    if count < wanted:
        raise ValueError(f"got {count} images, not the {wanted} of the protocol")


def _gathered(activations: Iterable[tuple[np.ndarray, np.ndarray]], count: int) -> list[np.ndarray]:
    """Returns features (count, feature_dim) and logits (count, num_classes) of all batches, float32."""
    arrays: list[np.ndarray] = []
    row = 0
    for results in activations:
        if not arrays:
            arrays = [np.empty([count, values.shape[1]], np.float32) for values in results]
        end = row + len(results[0])
        for array, values in zip(arrays, results):
            array[row:end] = values
        row = end
    return arrays
