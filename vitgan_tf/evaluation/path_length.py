"""Path length of a generator in W: how smoothly its images change with w      (Karras et al. 2019, section 4.1)

The settings are those of StyleGAN2 (ppl2_wend, metrics/perceptual_path_length.py in NVlabs/stylegan2): steps of 1e-4
from one w towards another, by linear interpolation; no crop; the mean without the extreme hundredths. The distance of
two images differs: the squared distance of the extractor's features, not LPIPS of VGG-16. Values are therefore not
comparable with published perceptual path lengths, nor between extractors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.latents import CHUNK, chunk_of_latents
from vitgan_tf.progress import progress

EPSILON = 1e-4
_PERCENTILES = 1, 99
# Each sample begins at one latent and goes towards another.
_PER_CHUNK = CHUNK // 2

Function = Callable[[tf.Tensor], tf.Tensor]


def path_length(
    map_latents: Function,
    render: Function,
    extractor: FeatureExtractor,
    latent_dim: int,
    num_samples: int,
    seed: int,
    batch_size: int,
) -> float:
    """Mean of |f(g(w + epsilon (w' - w))) - f(g(w))|^2 / epsilon^2 over pairs w, w'; f: features, g: images.

    The rounding of images and features in float32, about 1e-7, is small beside the step of 1e-4, not nil. That of a
    generator that computes in bfloat16 or float16 would hide the step.

    Args:
      map_latents: latents (batch, latent_dim) -> w, (batch, ...), of any rank from 2 on.
      render: w -> images (batch, height, width, channels) float32, about in [-1, 1] and not rounded to 8 bits. The
        images of a pair must have the same noise, thus the fixed one.
      extractor: computes the features.
      latent_dim: size of a latent.
      num_samples: number of pairs; sample i has the latents number 2 i and 2 i + 1 of the seed.
      seed: seed of the latents.
      batch_size: number of pairs rendered at a time, rounded up to whole chunks of 8; changes the value by rounding.

    Raises:
      UserError: a feature is not finite.
    """
    chunks = -(-batch_size // _PER_CHUNK)

    def step(first: tf.Tensor) -> tf.Tensor:
        latents = [chunk_of_latents(seed, first + index, latent_dim) for index in range(chunks)]
        return render(_steps(map_latents(tf.concat(latents, axis=0))))

    images = _batches(tf.function(step, autograph=False), num_samples, chunks * _PER_CHUNK)
    squares, waiting = [], None
    for features, _ in extractor.activations(images):
        features = features if waiting is None else np.concatenate([waiting, features])
        paired = len(features) // 2 * 2  # batches of the extractor may have an odd size
        differences = features[1:paired:2].astype(np.float64) - features[:paired:2]
        squares.append(np.einsum("nd,nd->n", differences, differences))
        waiting = features[paired:]
    return _trimmed_mean(np.concatenate(squares) / EPSILON**2)


def _batches(step: Function, num_samples: int, per_batch: int) -> Iterator[np.ndarray]:
    """Yields the images before and after each step, alternating."""
    starts = range(0, num_samples, per_batch)
    for start in progress(starts, "path length", len(starts), "batch"):
        yield step(tf.constant(start // _PER_CHUNK)).numpy()[: 2 * (num_samples - start)]


def _steps(w: tf.Tensor) -> tf.Tensor:
    """Returns each even w, and after it the end of a step towards the odd w that follows: of the same shape."""
    starts, targets = w[0::2], w[1::2]
    return tf.reshape(tf.stack([starts, starts + (targets - starts) * EPSILON], axis=1), tf.shape(w))


def _trimmed_mean(distances: np.ndarray) -> float:
    """Mean of the distances from the first to the 99th percentile; of values between two samples, the outer one."""
    low = np.percentile(distances, _PERCENTILES[0], method="lower")
    high = np.percentile(distances, _PERCENTILES[1], method="higher")
    return float(distances[(low <= distances) & (distances <= high)].mean())
