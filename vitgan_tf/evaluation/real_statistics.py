"""Statistics of the real images for the scores, cached on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.errors import first_line
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.neighbors import neighbor_distances
from vitgan_tf.evaluation.scores import (
    REAL_ORDER,
    Gaussian,
    GaussianAccumulator,
    reorder,
    scrambled_order,
)
from vitgan_tf.files import atomic_file, only_one
from vitgan_tf.progress import progress

# Larger sets are subsampled where individual features are needed: 0.4 GB for 2,048 features.
MAX_KEPT = 50_000
# Incremented when the computation changes, so that older files are ignored.
_VERSION = 3
_OF_FEATURES = ("features", "radii", "nearest", "rows")


@dataclasses.dataclass(frozen=True)
class RealStatistics:
    """Statistics of a set of real images under an extractor.

    Attributes:
      gaussian: mean and covariance of the features of all images.
      features: features of all images or of MAX_KEPT random ones, in `scrambled_order`:
        (num_kept, feature_dim) float32; empty in statistics of other programs, as are the following.
      radii: `manifold_radii` of these features, (num_kept,) float32.
      nearest: distance of each of them to its nearest neighbour, the first of `neighbor_distances`: (num_kept,)
        float32.
      rows: index of the image of each of them in the array of images, (num_kept,) int64; empty without that array.
    """

    gaussian: Gaussian
    features: np.ndarray
    radii: np.ndarray
    nearest: np.ndarray
    rows: np.ndarray


def real_statistics(
    images: np.ndarray,
    extractor: FeatureExtractor,
    key: dict[str, Any],
    cache_dir: str | None,
    rows: np.ndarray | None = None,
) -> RealStatistics:
    """Reads the statistics of images from the cache, or computes and caches them.

    Args:
      images: (num_images, size, size, channels) uint8, in memory or memory-mapped; read in parts.
      extractor: computes the features.
      key: additional entries of the cache key, which also holds the hash of the images, everything that the
        protocol says of the extractor, and the version of this computation. Files with another key are ignored.
      cache_dir: folder of the cache, whose files lie in statistics/; None for no cache. If it cannot be written,
        a warning is logged.
      rows: indices of the images to use; by default all.
    """
    rows = np.arange(len(images)) if rows is None else rows
    if cache_dir is None:
        return _with_rows(_compute(images, rows, extractor), rows)
    key = {
        **key,
        "images_sha256": hash_of_all(images, rows),
        "num_images": len(rows),
        **extractor.protocol_entries(),
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "version": _VERSION,
    }
    text = json.dumps(key, sort_keys=True)
    name = f"{extractor.name}_{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
    path = os.path.join(cache_dir, "statistics", name)
    statistics = _read(path, text)
    if statistics is None:
        logging.info("computing %s features of %d real images", extractor.name, len(rows))
        statistics = _compute(images, rows, extractor)
        _write(path, text, statistics)
    return _with_rows(statistics, rows)


def _with_rows(statistics: RealStatistics, rows: np.ndarray) -> RealStatistics:
    """Replaces indices among the images used, as files hold them, by those in the whole array."""
    return dataclasses.replace(statistics, rows=rows[statistics.rows])


def _parts(images: np.ndarray, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield images[rows[start : start + size]]


def hash_of_all(images: np.ndarray, rows: np.ndarray) -> str:
    """Returns a hash of the images with these indices, read in parts."""
    digest = hashlib.sha256(repr(images.shape[1:]).encode())
    for part in _parts(images, rows, 1024):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _compute(images: np.ndarray, rows: np.ndarray, extractor: FeatureExtractor) -> RealStatistics:
    count, size = len(rows), extractor.batch_size
    is_kept = np.ones(count, bool)
    if count > MAX_KEPT:
        is_kept[np.random.RandomState(0).permutation(count)[MAX_KEPT:]] = False
    parts = progress(_parts(images, rows, size), "real images", -(-count // size), "batch")
    accumulator, features, first, row = GaussianAccumulator(), None, 0, 0
    for batch, _ in extractor.activations(parts):
        accumulator.add(batch)
        if features is None:
            features = np.empty([min(count, MAX_KEPT), batch.shape[1]], np.float32)
        kept = batch[is_kept[first : first + len(batch)]]
        features[row : row + len(kept)] = kept
        first, row = first + len(batch), row + len(kept)
    if features is None:
        raise ValueError("no real images")
    order = scrambled_order(features, REAL_ORDER)
    reorder(features, order)
    distances = neighbor_distances(features)
    nearest, radii = np.ascontiguousarray(distances[:, [0, -1]].T)
    return RealStatistics(accumulator.result(), features, radii, nearest, np.flatnonzero(is_kept)[order])


def _read(path: str, key: str) -> RealStatistics | None:
    """Reads the statistics from a file; None if it is missing, damaged or has another key."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            if str(file["key"]) != key:
                raise ValueError("it belongs to other images or another extractor")
            gaussian = Gaussian(int(file["count"]), file["mean"], file["covariance"])
            of_features = [file[name] for name in _OF_FEATURES]
            statistics = RealStatistics(gaussian, *of_features)
            num_kept, dim = statistics.features.shape
            shapes = [values.shape for values in (gaussian.mean, gaussian.covariance, *of_features[1:])]
            if shapes != [(dim,), (dim, dim), *[(num_kept,)] * 3]:
                raise ValueError(f"its arrays have inconsistent shapes: {shapes}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # damaged archives raise errors of many types
        logging.warning("cannot use %s (%s): recomputing the statistics", path, first_line(error))
        return None
    logging.info("statistics of the real images: %s", path)
    return statistics


def _write(path: str, key: str, statistics: RealStatistics) -> None:
    gaussian = statistics.gaussian
    try:
        with only_one(os.path.dirname(path), wait=True), atomic_file(path) as file:
            np.savez(
                file,
                key=key,
                count=gaussian.count,
                mean=gaussian.mean,
                covariance=gaussian.covariance,
                **{name: getattr(statistics, name) for name in _OF_FEATURES},
            )
    except OSError as error:
        logging.warning("cannot write the statistics to %s (%s)", path, error.strerror or error)
