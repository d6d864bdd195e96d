"""Files of real statistics: in the layout that pytorch-fid and torch-fidelity share, and in ours, which has more.

The shared layout is an .npz archive of `mu`, (feature_dim,), and `sigma`, (feature_dim, feature_dim), the covariance
with divisor n - 1. Ours adds `count`, `features`, `radii`, `nearest` and `protocol`, a JSON object, which other
programs ignore.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.linalg

from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.real_statistics import RealStatistics
from vitgan_tf.evaluation.samples import UNKNOWN
from vitgan_tf.evaluation.scores import Gaussian
from vitgan_tf.files import atomic_file, parsed_json

_OF_FEATURES = ("features", "radii", "nearest")
# Entries of the protocol that describe the real images, and what a file of other programs leaves unknown.
_UNKNOWN = {"split": "unknown", "real_fingerprint": "", "num_real": 0, "num_split": 0, "num_real_kept": 0}
# Eigenvalues below 0 by more than this part of the largest one are no rounding errors.
_NEGATIVE = 1e-3


def write_statistics(path: str, real: RealStatistics, protocol: Protocol) -> None:
    """Writes the statistics of real images and how they were computed.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with atomic_file(path) as file:
            np.savez(
                file,
                mu=real.gaussian.mean,
                sigma=real.gaussian.covariance,
                count=real.gaussian.count,
                **{name: getattr(real, name) for name in _OF_FEATURES},
                protocol=json.dumps(protocol.as_dict()),
            )
    except OSError as error:
        raise UserError(f"cannot write {path!r}: {error.strerror or error}") from error


def read_statistics(
    path: str, extractor: FeatureExtractor, image_shape: Sequence[int]
) -> tuple[RealStatistics, dict[str, Any]]:
    """Reads statistics that `write_statistics`, pytorch-fid or torch-fidelity has written.

    Args:
      path: the file.
      extractor: network whose features will be compared with them.
      image_shape: shape of the images that will be compared, (height, width, channels).

    Returns:
      The statistics, without features and radii in files of other programs; and the entries of `Protocol` about the
      real images.

    Raises:
      UserError: the file cannot be read or holds no mean and covariance; or another network computed them.
    """
    arrays = _arrays(path)
    mean, covariance = arrays["mu"], arrays["sigma"]
    if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
        raise UserError(f"{path!r} does not fit together: mu is {mean.shape}, sigma {covariance.shape}")
    _check_covariance(path, covariance)
    entries = {"dataset": os.path.basename(path), **_UNKNOWN}
    features, count = dict.fromkeys(_OF_FEATURES, UNKNOWN), 0
    if "protocol" in arrays:
        written = _written_protocol(path, arrays["protocol"], entries)
        _check_network(path, written, extractor, image_shape)
        entries = {name: written[name] for name in entries}
        features, count = _features(path, arrays, len(mean)), int(written["num_real"])
    feature_dim = extractor.feature_dim(image_shape)
    if len(mean) != feature_dim:
        raise UserError(
            f"{path!r} has {len(mean)} features, and {extractor.name} has {feature_dim}: another network computed "
            "them"
        )
    gaussian = Gaussian(count, mean.astype(np.float64), covariance.astype(np.float64))
    return RealStatistics(gaussian, **features, rows=UNKNOWN), entries


def _features(path: str, arrays: dict[str, np.ndarray], feature_dim: int) -> dict[str, np.ndarray]:
    features = {name: arrays.get(name, UNKNOWN) for name in _OF_FEATURES}
    count = len(features["features"])
    if [values.shape for values in features.values()] != [(count, feature_dim), (count,), (count,)]:
        raise UserError(f"{path!r} is damaged: its features, radii and nearest do not fit together")
    return features


def _written_protocol(path: str, text: np.ndarray, needed: Iterable[str]) -> dict[str, Any]:
    try:
        written = parsed_json(str(text))
    except ValueError:
        written = None
    if not isinstance(written, dict) or not all(isinstance(written.get(name), (str, int)) for name in needed):
        raise UserError(f"{path!r} is damaged: its protocol is not whole")
    return written


def _arrays(path: str) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as opened, zipfile.ZipFile(opened), np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except zipfile.BadZipFile as error:
        raise UserError(f"cannot read the statistics in {path!r}: it is no .npz archive") from error
    except Exception as error:  # damaged archives raise errors of many types
        raise UserError(f"cannot read the statistics in {path!r}: {first_line(error)}") from error
    missing = [name for name in ("mu", "sigma") if name not in arrays]
    if missing:
        raise UserError(f"{path!r} holds no statistics: it has {', '.join(arrays) or 'no arrays'}, not mu and sigma")
    for name in ("mu", "sigma", *_OF_FEATURES):
        values = arrays.get(name, UNKNOWN)
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise UserError(f"{path!r} holds values that are not finite numbers: {name}")
    return arrays


def _check_covariance(path: str, covariance: np.ndarray) -> None:
    scale = np.abs(covariance).max()
    if np.abs(covariance - covariance.T).max() > 1e-6 * scale:
        raise UserError(f"sigma of {path!r} is no covariance: it is not symmetric")
    eigenvalues = scipy.linalg.eigvalsh(covariance)
    if eigenvalues[0] < -_NEGATIVE * max(eigenvalues[-1], 0.0):
        raise UserError(f"sigma of {path!r} is no covariance: it has negative eigenvalues")


def _check_network(
    path: str, written: dict[str, Any], extractor: FeatureExtractor, image_shape: Sequence[int]
) -> None:
    size, channels = written.get("image_size"), written.get("num_channels")
    if (size, size, channels) != tuple(image_shape):
        raise UserError(
            f"{path!r} describes images of {size} x {size} x {channels}, not {' x '.join(map(str, image_shape))}"
        )
    for name, ours in extractor.protocol_entries().items():
        words = "another network" if name.startswith("extractor") else "another resizing"
        if name in written and written[name] != ours:
            raise UserError(f"{path!r} was computed by {words}: {name} is {written[name]!r}, not {ours!r}")
