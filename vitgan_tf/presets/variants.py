"""Rows of the paper's tables and networks to combine, as changes to a preset."""

from __future__ import annotations

import itertools
from typing import Any

from vitgan_tf.config import ConfigError, ExperimentConfig, aliases, networks, override
from vitgan_tf.config.registry import Registry
from vitgan_tf.presets.datasets import PRESETS, folder


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
# Without augmentation, the two views of bCR are identical and its terms are 0.
_NO_AUGMENTATION = {"augment.policy": (), "loss.bcr_lambda_real": 0.0, "loss.bcr_lambda_fake": 0.0}


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
# The paper's rate, for the other networks of a preset that has higher ones for the ViTs.
_GENERATOR_RATE = {"train.generator_learning_rate": 0.002}
_DISCRIMINATOR_RATE = {"train.discriminator_learning_rate": 0.002}
# A five times lower generator learning rate replaces the authors' four or five discriminator steps per generator
# step. At the default rate, the generator soon draws one image for all latents.
_SLOW_GENERATOR = {"train.generator_learning_rate": 0.0004}
# Networks to combine (the paper's second table), as changes to a preset. A network not listed here only changes the
# architecture.
GENERATORS: dict[str, dict[str, Any]] = {
    "vitgan": {},
    "vanilla_vit": _PLAIN_VIT_GENERATOR,
    "stylegan2": {"generator.architecture": "stylegan2", **_GENERATOR_RATE},
    "transgan": {"generator.architecture": "transgan", **_GENERATOR_RATE},
    "biggan": {"generator.architecture": "biggan", **_GENERATOR_RATE},
}
DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "vitgan": {},
    "vanilla_vit": _PLAIN_VIT_DISCRIMINATOR,
    # The authors' reproduction trains this discriminator with R1.
    "stylegan2": {
        "discriminator.architecture": "stylegan2",
        "loss.r1_gamma": _REPRODUCTION_R1,
        **_DISCRIMINATOR_RATE,
    },
    "resnet": {"discriminator.architecture": "resnet", **_SLOW_GENERATOR, **_DISCRIMINATOR_RATE},
    # R1 replaces the authors' gradient penalty. With StyleGAN2's weight, it learns the digits more slowly.
    "transgan": {
        "discriminator.architecture": "transgan",
        "loss.r1_gamma": _REPRODUCTION_R1,
        **_DISCRIMINATOR_RATE,
    },
    "biggan": {
        "discriminator.architecture": "biggan",
        "loss.adversarial": "hinge",
        **_SLOW_GENERATOR,
        **_DISCRIMINATOR_RATE,
    },
}
# Rows of the paper's tables, as changes to a preset by field path.
VARIANTS: dict[str, dict[str, Any]] = {
    "vitgan": {},
    "vanilla_vit": {**_PLAIN_VIT_GENERATOR, **_PLAIN_VIT_DISCRIMINATOR},
    **{name: {**GENERATORS[name], **DISCRIMINATORS[name]} for name in ("stylegan2", "transgan", "biggan")},
    "stylegan2_d": DISCRIMINATORS["stylegan2"],
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
) -> ExperimentConfig:
    """Returns a preset, changed by a variant or by the choice of each network.

    Args:
      name: name in `PRESETS`.
      variant: name in `VARIANTS`, a row of the paper's tables.
      image_size: edge of the images of "folder" in pixels, which also sets the sizes of its networks; None for the
        other presets, whose image size is fixed.
      generator: one of `network_names`.
      discriminator: one of `network_names`.

    Raises:
      ConfigError: a name is unknown (the message suggests the nearest one), "folder" does not support image_size, or
        both a variant and a network are given.
    """
    function, changes = PRESETS[name], Registry("variant", VARIANTS)[variant]
    networks = {**network_changes("generator", generator), **network_changes("discriminator", discriminator)}
    if networks and changes:
        raise ConfigError(f"variant {variant!r} sets both networks: leave out generator and discriminator")
    config = function() if image_size is None else folder(image_size)
    return override(config, {**changes, **networks})
