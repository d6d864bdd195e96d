"""The rows of the paper's tables, and the networks that can be combined: what each changes in a preset."""

from __future__ import annotations

import itertools
from typing import Any

from vitgan_tf.config import (
    ConfigError,
    ExperimentConfig,
    aliases,
    networks,
    override,
)
from vitgan_tf.config.registry import Registry
from vitgan_tf.presets.datasets import PRESETS, folder


def _generator_ablation() -> dict[str, dict[str, Any]]:
    """Where w enters x output, the paper's generator ablation."""
    return {
        f"g_{injection}_{decoder}": {"generator.style_injection": injection, "generator.decoder": decoder}
        for injection, decoder in itertools.product(("add", "prepend", "modulate"), ("linear", "fourier", "conv"))
    }


# The paper does not give R1's weight: this is StyleGAN2's, whose interval the configuration has by default.
_R1 = {"discriminator.normalization": "none", "loss.r1_gamma": 10.0}
# Without augmentation the two views of bCR are equal and its terms 0.
_NO_AUGMENTATION = {"augment.policy": (), "loss.bcr_lambda_real": 0.0, "loss.bcr_lambda_fake": 0.0}


def _discriminator_ablation() -> dict[str, dict[str, Any]]:
    """Regulariser x augmentation x overlap, the paper's discriminator ablation."""
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
# In place of its authors' four or five steps of the discriminator for one of the generator: a generator five times
# slower. As fast as the others', it soon draws one image for all latents.
_SLOW_GENERATOR = {"train.generator_learning_rate": 0.0004}
# The networks that can be combined, the paper's second table: what each changes in a preset. A network that is
# missing here changes its architecture alone.
GENERATORS: dict[str, dict[str, Any]] = {
    "vitgan": {},
    "vanilla_vit": _PLAIN_VIT_GENERATOR,
    "stylegan2": {"generator.architecture": "stylegan2"},
    "transgan": {"generator.architecture": "transgan"},
    "biggan": {"generator.architecture": "biggan"},
}
DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "vitgan": {},
    "vanilla_vit": _PLAIN_VIT_DISCRIMINATOR,
    # R1's weight is that of the authors' reproduction, whose only discriminator this is.
    "stylegan2": {"discriminator.architecture": "stylegan2", "loss.r1_gamma": 0.1},
    "resnet": {"discriminator.architecture": "resnet", **_SLOW_GENERATOR},
    # In place of its authors' gradient penalty. The plain ViT's weight of R1, 10, learns the digits more slowly.
    "transgan": {"discriminator.architecture": "transgan", "loss.r1_gamma": 0.1},
    "biggan": {"discriminator.architecture": "biggan", "loss.adversarial": "hinge", **_SLOW_GENERATOR},
}
# What each row of the paper's tables changes in a preset, by field path.
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
    """What a network changes in a preset.

    Args:
      kind: "generator" or "discriminator".
      name: one of `network_names`, or an old spelling.

    Raises:
      ConfigError: there is no such network; the nearest name is suggested.
    """
    table, _ = _NETWORKS[kind]
    names = {other: table.get(other, {f"{kind}.architecture": other}) for other in network_names(kind)}
    return Registry(kind, names)[aliases.NETWORKS.get(name, name)]


def network_names(kind: str) -> list[str]:
    """The generators, or discriminators, that can be chosen: those of the paper's tables, and those of plugins."""
    table, registry = _NETWORKS[kind]
    return [*table, *(name for name in registry if name not in table and name != "vit")]


def preset(
    name: str,
    variant: str = "vitgan",
    image_size: int | None = None,
    generator: str = "vitgan",
    discriminator: str = "vitgan",
) -> ExperimentConfig:
    """The configuration of a name in `PRESETS`, changed as a name in `VARIANTS` says, or one for each network.

    Args:
      name: of the preset.
      variant: row of the paper's tables.
      image_size: edge of the images in pixels, for "folder", whose networks suit it; the other presets have one size.
      generator: one of `network_names`.
      discriminator: likewise.

    Raises:
      ConfigError: there is no such name, the nearest one is suggested; "folder" has no such size; or a variant is
        given as well as a network.
    """
    function, changes = PRESETS[name], Registry("variant", VARIANTS)[variant]
    networks = {**network_changes("generator", generator), **network_changes("discriminator", discriminator)}
    if networks and changes:
        raise ConfigError(f"variant {variant!r} sets both networks: leave out generator and discriminator")
    config = function() if image_size is None else folder(image_size)
    return override(config, {**changes, **networks})
