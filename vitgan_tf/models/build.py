"""The networks of a configuration."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from vitgan_tf.config import DiscriminatorConfig, ExperimentConfig, GeneratorConfig
from vitgan_tf.models.biggan import BigGANGenerator
from vitgan_tf.models.discriminator import ViTDiscriminator
from vitgan_tf.models.generator import ViTGenerator
from vitgan_tf.models.resnet import ResNetDiscriminator
from vitgan_tf.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from vitgan_tf.models.transgan import TransGANDiscriminator, TransGANGenerator


def build_generator(config: ExperimentConfig) -> tf.keras.Model:
    """The generator of a configuration, with its weights made."""
    own, data, stylegan2, transgan = config.generator, config.data, config.stylegan2, config.transgan
    classes = {
        "vit": ViTGenerator,
        "stylegan2": StyleGAN2Generator,
        "transgan": TransGANGenerator,
        "biggan": BigGANGenerator,
    }
    arguments: dict[str, dict[str, Any]] = {
        "vit": _vit_arguments(own),
        "stylegan2": {
            "latent_dim": stylegan2.style_dim,
            "style_dim": stylegan2.style_dim,
            "channel_base": stylegan2.channel_base,
            "channel_max": stylegan2.channel_max,
            "mapping_layers": own.mapping_layers,
            "mapping_lr_multiplier": own.mapping_lr_multiplier,
        },
        "transgan": {
            "latent_dim": transgan.z_dim,
            "embed_dim": transgan.embed_dim,
            "num_heads": transgan.num_heads,
            "num_blocks": transgan.num_blocks,
            "lowest_resolution": transgan.lowest_resolution,
        },
        "biggan": {"width": config.biggan.features, "chunk_dim": config.biggan.chunk_dim},
    }
    name = own.architecture
    generator = classes[name](data.image_size, data.num_channels, **arguments[name], name="generator")
    generator.build((None, generator.latent_dim))
    return generator


def build_discriminator(config: ExperimentConfig) -> tf.keras.Model:
    """The discriminator of a configuration, with its weights made."""
    own, data, stylegan2, transgan = config.discriminator, config.data, config.stylegan2, config.transgan
    classes = {
        "vit": ViTDiscriminator,
        "stylegan2": StyleGAN2Discriminator,
        "resnet": ResNetDiscriminator,
        "transgan": TransGANDiscriminator,
        # BigGAN's for CIFAR-10, without classes, is that of spectrally normalised GANs, twice as wide.
        "biggan": ResNetDiscriminator,
    }
    arguments: dict[str, dict[str, Any]] = {
        "vit": _vit_arguments(own),
        "stylegan2": {
            "channel_base": stylegan2.channel_base,
            "channel_max": stylegan2.channel_max,
            "group_size": stylegan2.group_size,
        },
        "resnet": dataclasses.asdict(config.resnet),
        "transgan": {
            "patch_size": transgan.patch_size,
            "embed_dim": transgan.discriminator_embed_dim,
            "num_heads": transgan.num_heads,
            "num_blocks": transgan.discriminator_blocks,
        },
        "biggan": {"width": config.biggan.features},
    }
    name = own.architecture
    discriminator = classes[name](data.image_size, data.num_channels, **arguments[name], name="discriminator")
    discriminator.build((None, data.image_size, data.image_size, data.num_channels))
    return discriminator


def _vit_arguments(section: GeneratorConfig | DiscriminatorConfig) -> dict[str, Any]:
    """The other fields of a section have the names of the ViT's arguments."""
    return {name: value for name, value in dataclasses.asdict(section).items() if name != "architecture"}
