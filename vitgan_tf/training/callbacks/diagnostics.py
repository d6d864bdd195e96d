"""Writes diagnostics of both networks for TensorBoard."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vitgan_tf.models.discriminator import ViTDiscriminator
from vitgan_tf.models.generator import ViTGenerator
from vitgan_tf.training.callbacks.base import StepCallback
from vitgan_tf.training.diagnostics import (
    discriminator_attention,
    generator_attention,
    spectral_layers,
    spectral_norms,
)
from vitgan_tf.training.summaries import Summaries


class DiagnosticsWriter(StepCallback):
    """Writes the spectral norms and attention maps of both networks to TensorBoard, without affecting the training.

    Scalars for each spectrally normalised layer: sigma/<path>/power_iteration and sigma/<path>/svd, see
    `spectral_norms`; and sigma/largest_relative_error, the largest relative amount by which a power iteration
    underestimates sigma, and hence by which its layer's weights are too large. Images: attention/discriminator for
    real images, attention/generator for the moving average's.

    Args:
      summaries: receive scalars and images.
      images: some real images, (num_images, image_size, image_size, num_channels) in [-1, 1].
      seed: seed of the generator's latents, one per real image, the same at every step.
    """

    acts_before_training = True
    NUM_IMAGES = 8

    def __init__(self, summaries: Summaries, images: tf.Tensor, seed: int, **schedule: int):
        super().__init__(**schedule)
        self._summaries = summaries
        self._images = images
        self._seed = seed

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        self._summaries.scalars(step, self._spectral_norms())
        self._summaries.images(step, self._attention())

    def _attention(self) -> dict[str, np.ndarray]:
        """Returns attention maps of the networks that have attention."""
        generator, discriminator = self.model.ema_generator, self.model.discriminator
        pictures, num_images = {}, self._images.shape[0]
        if isinstance(discriminator, ViTDiscriminator):
            pictures["attention/discriminator"] = discriminator_attention(discriminator, self._images)
        if isinstance(generator, ViTGenerator):
            latents = tf.random.stateless_normal([num_images, generator.latent_dim], [self._seed, num_images])
            pictures["attention/generator"] = generator_attention(generator, latents)
        return pictures

    def _spectral_norms(self) -> dict[str, float]:
        layers = {**spectral_layers(self.model.discriminator), **spectral_layers(self.model.generator)}
        scalars, errors = {}, []
        for path, (estimate, exact) in spectral_norms(layers).items():
            scalars[f"sigma/{path}/power_iteration"], scalars[f"sigma/{path}/svd"] = estimate, exact
            errors.append(abs(exact - estimate) / exact)
        if errors:
            scalars["sigma/largest_relative_error"] = max(errors)
        return scalars
