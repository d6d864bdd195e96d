"""Time and memory of an evaluation, and time of the Frechet distance in three implementations."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from vitgan_tf.benchmarks.timing import rounded
from vitgan_tf.evaluation.cross_check import CROSS_CHECKS
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.evaluation.real_statistics import real_statistics
from vitgan_tf.evaluation.resizing import TF1
from vitgan_tf.evaluation.scores import frechet_distance, gaussian

FEATURE_DIM = 2048
NUM_CLASSES = 1008
IMAGE_SIZE = 32
REPEATS = 20
REPEATED_IMAGES = 1000
_POOL = 23  # 299 / 13


def measure_evaluation(num_images: int) -> dict[str, Any]:
    """Measures a whole evaluation at the size of published FIDs, except the arithmetic of Inception's layers.

    Random 32 x 32 x 3 images are resized to 299 x 299 as in tensorflow-gan, and a small fixed network computes 2,048
    features and 1,008 logits; generated images come in batches. Then all scores are computed.

    Args:
      num_images: number of real images and of generated images.

    Returns:
      num_images, feature_dim.
      real_seconds: statistics of the real images, which are otherwise cached.
      evaluation_seconds: activations and scores of the generated images.
      peak_memory_gb: peak resident memory up to the end of the evaluation, 10^9 bytes.
      growth_mb: growth of the resident memory over 20 further evaluations of 1,000 images each, 10^6 bytes.
      covariance_seconds: means and covariances of both sets of features; those of the real images are otherwise
        cached.
      frechet_seconds: means, covariances and the distance.
      tfgan_frechet_seconds: tensorflow-gan's function on the same features.
      scipy_frechet_seconds: numpy.cov and scipy.linalg.sqrtm, in float64.
      tfgan_relative_difference, scipy_relative_difference: relative differences of these distances from ours.
      inception_images_per_second: Keras' InceptionV3 with random weights, at the extractor's batch size.
    """
    extractor = _extractor()
    start = time.perf_counter()
    real_images = np.concatenate(list(_images(num_images, seed=1)))
    real = real_statistics(real_images, extractor, {}, None)
    real_seconds = time.perf_counter() - start
    del real_images
    start = time.perf_counter()
    Evaluator(_protocol(num_images), extractor, real).evaluate(_images(num_images, seed=2))
    evaluation_seconds = time.perf_counter() - start
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    return {
        "num_images": num_images,
        "feature_dim": FEATURE_DIM,
        "real_seconds": rounded(real_seconds),
        "evaluation_seconds": rounded(evaluation_seconds),
        "peak_memory_gb": rounded(peak_memory / 1e9),
        "growth_mb": rounded(_growth(extractor) / 1e6),
        **_frechet(real.features, extractor, num_images),
        "inception_images_per_second": rounded(_inception_speed()),
    }


def _extractor() -> FeatureExtractor:
    weights = [
        tf.random.stateless_normal([rows, columns], [0, columns]) / rows**0.5
        for rows, columns in ((3 * (299 // _POOL) ** 2, FEATURE_DIM), (FEATURE_DIM, NUM_CLASSES))
    ]

    def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pooled = tf.nn.avg_pool2d(TF1.function(images, 299), _POOL, _POOL, "VALID")
        features = tf.nn.relu(20.0 * tf.reshape(pooled, [-1, weights[0].shape[0]]) @ weights[0])
        return features, features @ weights[1]

    return FeatureExtractor("random", function, "", "as tensorflow-gan")


def _images(num_images: int, seed: int) -> Iterator[np.ndarray]:
    """Yields random images in batches; their mean depends on the seed."""
    random = np.random.default_rng(seed)
    for first in range(0, num_images, 128):
        size = [min(128, num_images - first), IMAGE_SIZE, IMAGE_SIZE, 3]
        yield random.integers(0, 200 + 20 * seed, size, np.uint8)


def _protocol(num_images: int) -> Protocol:
    return Protocol(
        dataset="random",
        split="training",
        image_size=IMAGE_SIZE,
        num_channels=3,
        real_fingerprint="",
        num_real=num_images,
        num_split=num_images,
        num_real_kept=num_images,
        num_generated=num_images,
        seed=0,
        extractor="random",
        extractor_sha256="",
        is_published_extractor=False,
        feature_dim=FEATURE_DIM,
        resize="as tensorflow-gan",
    )


def _growth(extractor: FeatureExtractor) -> int:
    """Returns the growth of the process over repeated evaluations, in bytes."""
    images = np.concatenate(list(_images(REPEATED_IMAGES, seed=1)))
    evaluator = Evaluator(_protocol(REPEATED_IMAGES), extractor, real_statistics(images, extractor, {}, None))
    sizes = []
    for _ in range(2 + REPEATS):  # the first two fill memory pools
        evaluator.evaluate(_images(REPEATED_IMAGES, seed=2))
        sizes.append(psutil.Process().memory_info().rss)
    return sizes[-1] - sizes[1]


def _frechet(features: np.ndarray, extractor: FeatureExtractor, num_images: int) -> dict[str, float]:
    others = np.concatenate([batch for batch, _ in extractor.activations(_images(num_images, seed=2))])

    start = time.perf_counter()
    gaussian(features), gaussian(others)
    covariance_seconds = rounded(time.perf_counter() - start)

    def ours(features: np.ndarray, others: np.ndarray) -> float:
        return frechet_distance(gaussian(features), gaussian(others))

    distances, seconds = {}, {}
    checks = {f"{name}_": check for name, check in CROSS_CHECKS.items()}
    for name, function in {"": ours, **checks}.items():
        start = time.perf_counter()
        distances[name] = function(features, others)
        seconds[f"{name}frechet_seconds"] = rounded(time.perf_counter() - start)
    differences = {
        f"{name}relative_difference": float(f"{abs(distances[name] / distances[''] - 1.0):.2e}") for name in checks
    }
    return {"covariance_seconds": covariance_seconds, **seconds, **differences}


def _inception_speed() -> float:
    network = tf.keras.applications.InceptionV3(weights=None)
    images = tf.random.uniform([32, 299, 299, 3], -1.0, 1.0)
    function = tf.function(lambda: tf.reduce_sum(network(images, training=False)), autograph=False)
    function().numpy()
    start = time.perf_counter()
    for _ in range(4):
        function().numpy()
    return 4 * len(images) / (time.perf_counter() - start)
