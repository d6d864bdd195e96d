"""Speed and memory of image generation; cost and similarity of renders at several resolutions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.benchmarks.timing import matmul_flops, peak_memory, rounded, time_between_products
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.latents import SequenceRandom
from vitgan_tf.models.build import build_generator
from vitgan_tf.trained.generator import Generator

SAMPLED_BATCH_SIZES = (16, 64, 128)


def measure_sampling(
    config: ExperimentConfig, num_draws: int, batch_sizes: Sequence[int] = SAMPLED_BATCH_SIZES
) -> dict[str, Any]:
    """Times image generation as in evaluations.

    The generator is in float32, as the moving average is at any training precision, and untrained. Batch sizes take
    turns, with large matrix products in between.

    Args:
      config: provides the generator.
      num_draws: timed batches of each size, after two warm-up batches.
      batch_sizes: images at a time, in increasing order, each a multiple of 16.

    Returns:
      dataset, draws.
      gflops_per_image: floating-point operations of the matrix products at the largest batch size, 10^9.
      batch_sizes: one row per batch size,
        batch_size.
        images_per_second: batch size over the median batch time, from seed to uint8.
        milliseconds_per_image: its inverse.
        matmul_peak_gflops, fraction_of_matmul_peak: as in `measure_training`.
        peak_memory_gb: peak resident memory after two batches of this size and of each smaller one, 10^9 bytes; the
          large matrix products come later and do not count.
    """
    tf.keras.utils.set_random_seed(config.train.seed)
    generator = build_generator(config)

    def draw(latents: tf.Tensor, random: SequenceRandom | None = None) -> tf.Tensor:
        return generator(latents, random if generator.has_noise else None)

    def batch_of(sampler: ImageSampler) -> Callable[[], Any]:
        return lambda: sampler.images(sampler.images_per_step, config.train.seed)

    samplers = [ImageSampler(draw, generator.latent_dim, batch_size) for batch_size in batch_sizes]
    batches, memory = [batch_of(sampler) for sampler in samplers], []
    for batch in batches:
        batch()
        batch()
        memory.append(peak_memory())
    timings = time_between_products(batches, num_draws)
    rows = []
    for sampler, timing, peak_memory_gb in zip(samplers, timings, memory):
        size, seconds = sampler.images_per_step, statistics.median(timing.seconds)
        latents = tf.TensorSpec([size, generator.latent_dim])
        flops = matmul_flops(tf.function(draw, autograph=False).get_concrete_function(latents))
        rows.append(
            {
                "batch_size": size,
                "images_per_second": rounded(size / seconds),
                "milliseconds_per_image": rounded(1000 * seconds / size),
                **timing.peaks(flops),
                "peak_memory_gb": peak_memory_gb,
            }
        )
    return {
        "dataset": config.data.dataset,
        "draws": num_draws,
        "gflops_per_image": rounded(flops / size / 1e9),
        "batch_sizes": rows,
    }


RENDER_SCALES = (1.0, 1.5, 2.0, 4.0)


def measure_rendering(generator: Generator, num_images: int, repeats: int = 5) -> dict[str, Any]:
    """Measures the cost and similarity of the same images rendered at several resolutions.

    Args:
      generator: one with a Fourier decoder.
      num_images: images per render, from fixed latents.
      repeats: timed renders at each scale; scales take turns.

    Returns:
      num_images.
      scales: one row per scale,
        scale.
        milliseconds_per_image: median over the repeats.
        relative_cost_per_pixel: time per pixel relative to scale 1.
        difference_from_native: mean absolute difference, in levels of 255, between the images at scale 1 and those at
          this scale averaged down to the same size; null if the scale is not an integer.
    """
    styles = generator.map(tf.random.stateless_normal([num_images, generator.latent_dim], [0, 0]))

    def draw(scale: float) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        images = generator.render(styles, scale)
        return images, time.perf_counter() - start

    native = draw(1.0)[0]
    seconds: dict[float, list[float]] = {scale: [] for scale in RENDER_SCALES}
    differences = {}
    for scale in RENDER_SCALES:
        images, _ = draw(scale)
        small = tf.image.resize(images, native.shape[1:3], method="area") if scale.is_integer() else None
        difference = None if small is None else float(tf.reduce_mean(tf.abs(small - native))) * 127.5
        differences[scale] = None if difference is None else rounded(difference)
    for _ in range(repeats):
        for scale in RENDER_SCALES:
            seconds[scale].append(draw(scale)[1])
    medians = {scale: statistics.median(values) for scale, values in seconds.items()}
    return {
        "num_images": num_images,
        "scales": [
            {
                "scale": scale,
                "milliseconds_per_image": rounded(1000 * medians[scale] / num_images),
                "relative_cost_per_pixel": rounded(medians[scale] / medians[1.0] / scale**2),
                "difference_from_native": differences[scale],
            }
            for scale in RENDER_SCALES
        ],
    }
