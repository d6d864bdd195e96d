"""Rows of the paper's tables and networks to combine, as changes to a preset."""

from __future__ import annotations

import itertools
import math
from typing import Any

from vitgan_tf.config import (
    ConfigError,
    ExperimentConfig,
    aliases,
    differences,
    networks,
    override,
    unread_fields,
)
from vitgan_tf.config.registry import Registry
from vitgan_tf.presets.datasets import PRESETS, has_sizes
from vitgan_tf.presets.sizes import DEFAULT_SIZE, resized


def _generator_ablation() -> dict[str, dict[str, Any]]:
    """Returns the paper's generator ablation: style injection x decoder."""
    return {
        f"g_{injection}_{decoder}": {"generator.style_injection": injection, "generator.decoder": decoder}
        for injection, decoder in itertools.product(("add", "prepend", "modulate"), ("linear", "fourier", "conv"))
    }


# The paper gives no R1 weight. All R1 weights here are for images in [-1, 1]. StyleGAN2's is, as is its interval. The
# authors' reproduction has 0.1 for images in [0, 1], whose squared gradients are 4 times as large.
_STYLEGAN2_R1 = 10.0
_REPRODUCTION_R1 = 0.4
_R1 = {"discriminator.normalization": "none", "loss.r1_gamma": _STYLEGAN2_R1}
_NO_BCR = {"loss.bcr_lambda_real": 0.0, "loss.bcr_lambda_fake": 0.0}
# Without augmentation, the two views of bCR are identical and its terms are 0.
_NO_AUGMENTATION = {"augment.policy": (), **_NO_BCR}


def _discriminator_ablation() -> dict[str, dict[str, Any]]:
    """Returns the paper's discriminator ablation: regulariser x augmentation x overlap."""
    regularizers: dict[str, dict[str, Any]] = {
        "isn": {"discriminator.normalization": "isn"},
        "sn": {"discriminator.normalization": "sn"},
        "r1": _R1,
        "none": {"discriminator.normalization": "none"},
    }
    augmentations = {"": {}, "_no_augmentation": _NO_AUGMENTATION}
    overlaps = {"": {}, "_no_overlap": {"discriminator.patch_overlap": 0}}
    return {
        f"d_{regularizer}{augmentation}{overlap}": {
            **regularizers[regularizer],
            **augmentations[augmentation],
            **overlaps[overlap],
        }
        for regularizer, augmentation, overlap in itertools.product(regularizers, augmentations, overlaps)
    }


_PLAIN_VIT_GENERATOR = {"generator.style_injection": "add", "generator.decoder": "linear"}
_PLAIN_VIT_DISCRIMINATOR = {
    "discriminator.attention": "dot_product",
    "discriminator.patch_overlap": 0,
    **_R1,
}


def _equalized(rate: float, deviation: float) -> float:
    """Returns the learning rate of equalised kernels, drawn from N(0, 1).

    Adam moves them by the same part of their values as with this rate it moves kernels of this standard deviation.
    """
    return round(rate / deviation, 4)


# The paper's rate, also for StyleGAN2, whose kernels are equalised.
_RATE = 0.002
# DiffAugment's BigGAN for CIFAR-10 (Zhao et al. 2020, scripts/DiffAugment-biggan-cifar10.sh): rates 2e-4, kernels
# from N(0, 0.02^2), average of 0.9999 per step of 50 images.
_BIGGAN_RATE = _equalized(2e-4, 0.02)
_BIGGAN_HALFLIFE = 347.0
# Miyato et al. 2018, section 4 and code: rate 2e-4, Glorot's kernels times sqrt(2), here of 3 x 3 x 128 to 128.
_SNGAN_RATE = _equalized(2e-4, math.sqrt(2.0 / 1152))
# Jiang et al. 2021 and exps/cifar_train.py: rate 1e-4, Glorot's kernels, here of the discriminator's 384 to 384.
_TRANSGAN_RATE = _equalized(1e-4, math.sqrt(1.0 / 384))
# Networks to combine (the paper's second table), as changes to a preset. A network not listed here only changes the
# architecture.
GENERATORS: dict[str, dict[str, Any]] = {
    "vitgan": {},
    "vanilla_vit": _PLAIN_VIT_GENERATOR,
    # Mixing and half-life are those of DiffAugment's StyleGAN2 for CIFAR-10 (run_cifar.py), without path lengths.
    "stylegan2": {
        "generator.architecture": "stylegan2",
        "loss.style_mixing": 0.9,
        "train.generator_learning_rate": _RATE,
        "train.ema_halflife_kimg": 1000.0,
    },
    "transgan": {
        "generator.architecture": "transgan",
        "train.generator_learning_rate": _TRANSGAN_RATE,
        "train.ema_halflife_kimg": 500.0,
        "train.ema_rampup": 0.1,
    },
    "biggan": {
        "generator.architecture": "biggan",
        "train.generator_learning_rate": _BIGGAN_RATE,
        "train.ema_halflife_kimg": _BIGGAN_HALFLIFE,
    },
}
DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "vitgan": {},
    "vanilla_vit": _PLAIN_VIT_DISCRIMINATOR,
    # The authors' reproduction trains this discriminator with R1.
    "stylegan2": {
        "discriminator.architecture": "stylegan2",
        "loss.r1_gamma": _REPRODUCTION_R1,
        "train.discriminator_learning_rate": _RATE,
    },
    # Miyato et al. 2018: the setting of their CIFAR-10 ResNets.
    "resnet": {
        "discriminator.architecture": "resnet",
        "loss.adversarial": "hinge",
        "train.discriminator_steps": 5,
        "train.discriminator_learning_rate": _SNGAN_RATE,
        "train.adam_beta2": 0.9,
        **_NO_BCR,
    },
    # wgangp-eps in their code.
    "transgan": {
        "discriminator.architecture": "transgan",
        "loss.adversarial": "wasserstein",
        "loss.gradient_penalty_weight": 10.0,
        "loss.drift_weight": 0.001,
        "train.discriminator_steps": 4,
        "train.discriminator_learning_rate": _TRANSGAN_RATE,
        "augment.policy": ("translation", "cutout", "color"),
        **_NO_BCR,
    },
    "biggan": {
        "discriminator.architecture": "biggan",
        "loss.adversarial": "hinge",
        "train.discriminator_steps": 4,
        "train.discriminator_learning_rate": _BIGGAN_RATE,
        "train.adam_beta2": 0.999,
        "augment.policy": ("translation", "cutout"),
        **_NO_BCR,
    },
}
# R3GAN's loss (Huang et al. 2024): its first gamma for CIFAR-10, for images in [-1, 1], in every update.
_R3GAN = {
    "loss.adversarial": "relativistic",
    "loss.r1_gamma": 0.05,
    "loss.r2_gamma": 0.05,
    "loss.r1_every_steps": 1,
    **_NO_BCR,
}
# Jeong and Shin 2021, with the rates of its StyleGAN2 for CIFAR-10.
_CONTRAD = {
    "loss.contrad_lambda_real": 1.0,
    "loss.contrad_lambda_fake": 1.0,
    "train.generator_learning_rate": _RATE,
    "train.discriminator_learning_rate": _RATE,
    **_NO_BCR,
}
# ContraD's StyleGAN2 and the authors' reproduction of ViTGAN do not make R1 lazy.
_DUE_R1 = {"loss.r1_gamma": _REPRODUCTION_R1, "loss.r1_every_steps": 1}
# Training of the authors' reproduction (mlpc-ucsd/ViTGAN), whose learning rates rise over 3,000 steps of 64 images.
_UCSD = {
    "loss.bcr_lambda_real": 1.0,
    "loss.bcr_lambda_fake": 1.0,
    "train.batch_size": 64,
    "train.generator_learning_rate": 0.001,
    "train.discriminator_learning_rate": 0.001,
    "train.warmup_kimg": 192.0,
    "train.ema_halflife_kimg": 1000.0,
    **_DUE_R1,
}
_STYLEGAN2 = {**GENERATORS["stylegan2"], **DISCRIMINATORS["stylegan2"]}
# Rows of the paper's tables and other ways to train, as changes to a preset by field path.
VARIANTS: dict[str, dict[str, Any]] = {
    "vitgan": {},
    "vanilla_vit": {**_PLAIN_VIT_GENERATOR, **_PLAIN_VIT_DISCRIMINATOR},
    "stylegan2": _STYLEGAN2,
    **{name: {**GENERATORS[name], **DISCRIMINATORS[name]} for name in ("transgan", "biggan")},
    "stylegan2_d": DISCRIMINATORS["stylegan2"],
    "vitgan_r3gan": _R3GAN,
    "stylegan2_r3gan": {**_STYLEGAN2, **_R3GAN},
    "vitgan_contrad": _CONTRAD,
    "stylegan2_contrad": {**_STYLEGAN2, **_CONTRAD, **_DUE_R1},
    "ucsd": _UCSD,
    **_generator_ablation(),
    **_discriminator_ablation(),
}
_NETWORKS = {
    "generator": (GENERATORS, networks.GENERATORS),
    "discriminator": (DISCRIMINATORS, networks.DISCRIMINATORS),
}


def network_changes(kind: str, name: str) -> dict[str, Any]:
    """Returns the changes that a network makes to a preset.

    Args:
      kind: "generator" or "discriminator".
      name: one of `network_names`, or an old name.

    Raises:
      ConfigError: the network is unknown; the message suggests the nearest name.
    """
    table, _ = _NETWORKS[kind]
    names = {other: table.get(other, {f"{kind}.architecture": other}) for other in network_names(kind)}
    return Registry(kind, names)[aliases.NETWORKS.get(name, name)]


def network_names(kind: str) -> list[str]:
    """Returns the available generators or discriminators: those of the paper's tables, then those of plugins."""
    table, registry = _NETWORKS[kind]
    return [*table, *(name for name in registry if name not in table and name != "vit")]


def preset(
    name: str,
    variant: str = "vitgan",
    image_size: int | None = None,
    generator: str = "vitgan",
    discriminator: str = "vitgan",
    size: str = DEFAULT_SIZE,
) -> ExperimentConfig:
    """Returns a preset, changed by a variant or by the choice of each network, and by their size.

    Args:
      name: name in `PRESETS`.
      variant: name in `VARIANTS`, a row of the paper's tables.
      image_size: edge of the images in pixels, for "folder" and "emoji", whose networks depend on it; the other
        presets ignore it.
      generator: one of `network_names`.
      discriminator: one of `network_names`.
      size: name in `sizes.SIZES`.

    Raises:
      ConfigError: a name is unknown (the message suggests the nearest one), the preset does not support image_size,
        or both a variant and a network are given.
    """
    function, changes = PRESETS[name], Registry("variant", VARIANTS)[variant]
    networks = {**network_changes("generator", generator), **network_changes("discriminator", discriminator)}
    if networks and changes:
        raise ConfigError(f"variant {variant!r} sets both networks: leave out generator and discriminator")
    config = function(image_size) if image_size is not None and has_sizes(name) else function()
    return override(resized(config, size), {**changes, **networks})


def changes_to_preset(config: ExperimentConfig) -> list[str] | None:
    """Returns how a configuration differs from the preset of its data set, but for fields of other networks.

    None if there is no preset of that name, or not for this image size.
    """
    data = config.data
    try:
        base = preset(data.dataset, image_size=data.image_size)
    except ConfigError:
        return None
    return differences(base, config, unread_fields(config))
