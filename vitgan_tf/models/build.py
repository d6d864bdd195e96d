"""Builds the networks of a configuration."""

from __future__ import annotations

import tensorflow as tf

from vitgan_tf.config import ExperimentConfig


def build_generator(config: ExperimentConfig) -> tf.keras.Model:
    """Builds the generator of a configuration, including its weights."""
    generator = config.chosen_networks()[0].build(config, name="generator")
    generator.build((None, generator.latent_dim))
    return generator


def build_discriminator(config: ExperimentConfig) -> tf.keras.Model:
    """Builds the discriminator of a configuration, including its weights."""
    data = config.data
    discriminator = config.chosen_networks()[1].build(config, name="discriminator")
    discriminator.build((None, data.image_size, data.image_size, data.num_channels))
    return discriminator
