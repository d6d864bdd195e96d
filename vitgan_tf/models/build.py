"""The networks of a configuration."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.models.discriminator import ViTDiscriminator
from vitgan_tf.models.generator import ViTGenerator
from vitgan_tf.models.resnet import ResNetDiscriminator
from vitgan_tf.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator


def build_generator(config: ExperimentConfig) -> tf.keras.Model:
    """The generator of a configuration, with its weights made."""
    own, data, stylegan2 = config.generator, config.data, config.stylegan2
    if own.architecture == "stylegan2":
        generator = StyleGAN2Generator(
            data.image_size,
            data.num_channels,
            latent_dim=stylegan2.style_dim,
            style_dim=stylegan2.style_dim,
            channel_base=stylegan2.channel_base,
            channel_max=stylegan2.channel_max,
            mapping_layers=own.mapping_layers,
            mapping_lr_multiplier=own.mapping_lr_multiplier,
            name="generator",
        )
    else:
        generator = ViTGenerator(data.image_size, data.num_channels, **_arguments(own), name="generator")
    generator.build((None, generator.latent_dim))
    return generator


def build_discriminator(config: ExperimentConfig) -> tf.keras.Model:
    """The discriminator of a configuration, with its weights made."""
    own, data, stylegan2 = config.discriminator, config.data, config.stylegan2
    if own.architecture == "stylegan2":
        discriminator = StyleGAN2Discriminator(
            data.image_size,
            data.num_channels,
            stylegan2.channel_base,
            stylegan2.channel_max,
            stylegan2.group_size,
            name="discriminator",
        )
    elif own.architecture == "resnet":
        discriminator = ResNetDiscriminator(
            data.image_size, data.num_channels, **dataclasses.asdict(config.resnet), name="discriminator"
        )
    else:
        discriminator = ViTDiscriminator(data.image_size, data.num_channels, **_arguments(own), name="discriminator")
    discriminator.build((None, data.image_size, data.image_size, data.num_channels))
    return discriminator


def _arguments(section: object) -> dict[str, object]:
    """The other fields of a section have the names of the ViT's arguments."""
    return {name: value for name, value in dataclasses.asdict(section).items() if name != "architecture"}
