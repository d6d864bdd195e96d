"""The real images that generated ones are compared with: those of a data set, or statistics in a file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data.reading import fingerprint
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.evaluator import random_rows
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.real_statistics import RealStatistics, real_statistics
from vitgan_tf.evaluation.samples import unknown
from vitgan_tf.evaluation.sliced_wasserstein import num_compared
from vitgan_tf.evaluation.statistics_files import read_statistics

# Two in each random half (`half_split_distance`): the fewest that have a covariance.
MIN_REAL = 4


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images of an evaluation.

    Attributes:
      protocol: entries of `Protocol` about them.
      statistics: their statistics under the extractor; None without one.
      images: all images of the split, (num_split, size, size, channels) uint8; empty if only statistics are known.
      rows: indices of the images that are compared.
    """

    protocol: dict[str, Any]
    statistics: RealStatistics | None
    images: np.ndarray = dataclasses.field(default_factory=unknown)
    rows: np.ndarray = dataclasses.field(default_factory=unknown)

    def shown(self, num_generated: int) -> np.ndarray:
        """Returns the images for the scores that compare images; empty if only statistics are known."""
        if not len(self.images):
            return self.images
        count = num_compared(len(self.rows), num_generated, self.images[0].nbytes)
        return self.images[self.rows[random_rows(len(self.rows), count)]]


def of_images(
    images: np.ndarray,
    data: DataConfig,
    location: DataLocation,
    split: str,
    num_real: int,
    extractor: FeatureExtractor | None,
) -> Reference:
    """Returns the images of a split; see `build_evaluator` for the arguments."""
    rows = _compared_rows(len(images), num_real)
    statistics, num_kept = None, 0
    if extractor is not None:
        # Not cached for the digits: each run has its own classifier, and it is fast.
        cache_dir = None if extractor.name == "digits" else location.cache_dir
        names = {"dataset": data.dataset, "split": split, "num_split": len(images)}
        statistics = real_statistics(images, extractor, names, cache_dir, rows)
        num_kept = len(statistics.features)
    protocol = {
        "dataset": data.dataset,
        "split": split,
        "real_fingerprint": fingerprint(images),
        "num_real": len(rows),
        "num_split": len(images),
        "num_real_kept": num_kept,
        "classes": ",".join(map(str, data.classes)),
    }
    return Reference(protocol, statistics, images, rows)


def of_file(path: str, data: DataConfig, extractor: FeatureExtractor | None) -> Reference:
    """Returns the statistics in a file; see `read_statistics`.

    Raises:
      UserError: there is no extractor, or the statistics cannot be used with it.
    """
    if extractor is None:
        raise UserError(f"the statistics in {path!r} need the network that computed them: choose an --extractor")
    statistics, protocol = read_statistics(path, extractor, (data.image_size, data.image_size, data.num_channels))
    return Reference(protocol, statistics)


def _compared_rows(num_split: int, num_real: int) -> np.ndarray:
    """Returns the indices of the real images to compare with: a random but fixed subset; for 0, the whole split."""
    rows = random_rows(num_split, num_real) if 0 < num_real < num_split else np.arange(num_split)
    if len(rows) < MIN_REAL:
        raise UserError(f"{len(rows)} real images are too few: at least {MIN_REAL} are needed")
    return rows
