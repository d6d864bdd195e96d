"""The paper's experiments by name (paper, "Experiment Setup"), and the ones that run everywhere."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Callable

from vitgan_tf import aliases, registries
from vitgan_tf.config import (
    AugmentConfig,
    ConfigError,
    DataConfig,
    DiscriminatorConfig,
    EvalConfig,
    ExperimentConfig,
    GeneratorConfig,
    LogConfig,
    TrainConfig,
    override,
)
from vitgan_tf.models.registry import BigGANConfig, ResNetConfig, StyleGAN2Config, TransGANConfig
from vitgan_tf.registry import Registry


def _paper(
    dataset: str,
    image_size: int,
    num_channels: int,
    num_blocks: int,
    patch_size: int,
    total_kimg: float,
    flip: bool = False,
) -> ExperimentConfig:
    """A row of the paper's table: width 384, MLP 1536, 6 heads, 8 x 8 tokens, batch 128, overlap half a patch.

    Images are mirrored where Ho et al. 2020 (appendix B) do so: CIFAR-10 and CelebA, not LSUN bedroom.
    """
    return ExperimentConfig(
        data=DataConfig(dataset=dataset, image_size=image_size, num_channels=num_channels, flip=flip),
        generator=GeneratorConfig(num_blocks=num_blocks, patch_size=patch_size),
        discriminator=DiscriminatorConfig(
            num_blocks=num_blocks, patch_size=patch_size, patch_overlap=patch_size // 2
        ),
        train=TrainConfig(total_kimg=total_kimg),
        # StyleGAN2-ADA's: as many features as for CIFAR-10 there, half as many at larger sizes.
        networks={"stylegan2": StyleGAN2Config(channel_base=32_768 if image_size <= 32 else 16_384)},
        # During training, just more images than Inception has features.
        log=LogConfig(
            eval_every_kimg=1000.0, samples_every_kimg=200.0, checkpoint_every_kimg=200.0, eval_samples=5000
        ),
        # The field's: 50,000 generated images against all of the training images.
        eval=EvalConfig(split="training", num_generated=50_000, num_real=0),
    )


def cifar10() -> ExperimentConfig:
    """CIFAR-10, 32 x 32, 50,000 training images. The length is ours; the paper gives none."""
    return _paper("cifar10", image_size=32, num_channels=3, num_blocks=4, patch_size=4, total_kimg=25_000, flip=True)


def mnist() -> ExperimentConfig:
    """MNIST padded to 32 x 32, 60,000 training images, 100 epochs."""
    return _paper("mnist", image_size=32, num_channels=1, num_blocks=4, patch_size=4, total_kimg=6_000)


def celeba64() -> ExperimentConfig:
    """CelebA, aligned, centre crop 140, 64 x 64, 162,770 training images. The length is ours."""
    return _paper("celeba64", image_size=64, num_channels=3, num_blocks=6, patch_size=8, total_kimg=25_000, flip=True)


def lsun_bedroom64() -> ExperimentConfig:
    """LSUN bedroom, 64 x 64, about 3 million training images. The length is ours."""
    return _paper("lsun_bedroom64", image_size=64, num_channels=3, num_blocks=6, patch_size=8, total_kimg=25_000)


def digits() -> ExperimentConfig:
    """scikit-learn's 1,797 scanned digits, 16 x 16: the full method in minutes on two CPU cores."""
    return ExperimentConfig(
        data=DataConfig(dataset="digits", image_size=16, num_channels=1),
        generator=GeneratorConfig(latent_dim=96, embed_dim=96, mlp_dim=384, num_heads=3),
        discriminator=DiscriminatorConfig(embed_dim=96, mlp_dim=384, num_heads=3),
        # Half the paper's 0.8: in so short a run the discriminator learns faster from images less disturbed.
        augment=AugmentConfig(probability=0.4),
        train=TrainConfig(total_kimg=320.0, batch_size=64),
        networks={
            "stylegan2": StyleGAN2Config(style_dim=96, channel_base=1024, channel_max=96),
            "resnet": ResNetConfig(width=48),
            "transgan": TransGANConfig(
                latent_dim=96,
                embed_dim=96,
                num_blocks=(2, 1),
                num_heads=2,
                discriminator_embed_dim=64,
                discriminator_blocks=2,
            ),
            "biggan": BigGANConfig(features=48),
        },
        log=LogConfig(eval_every_kimg=25.0, samples_every_kimg=12.5, checkpoint_every_kimg=12.5),
        eval=EvalConfig(num_generated=10_000),
    )


def tiny() -> ExperimentConfig:
    """The digits at 8 x 8 with networks of a few thousand weights: for tests, a step takes milliseconds."""
    return ExperimentConfig(
        data=DataConfig(dataset="digits", image_size=8, num_channels=1),
        generator=GeneratorConfig(
            latent_dim=16, embed_dim=16, mlp_dim=32, num_heads=2, num_blocks=2, mapping_layers=2
        ),
        discriminator=DiscriminatorConfig(embed_dim=16, mlp_dim=32, num_heads=2, num_blocks=2),
        train=TrainConfig(total_kimg=0.16, batch_size=8),
        networks={
            "stylegan2": StyleGAN2Config(style_dim=16, channel_base=64, channel_max=8),
            "resnet": ResNetConfig(width=8),
            "transgan": TransGANConfig(
                latent_dim=16,
                embed_dim=32,
                num_blocks=(1, 1),
                lowest_resolution=4,
                num_heads=2,
                discriminator_embed_dim=16,
                discriminator_blocks=1,
            ),
            "biggan": BigGANConfig(features=8, chunk_dim=8),
        },
        log=LogConfig(
            scalars_every_steps=5,
            samples_every_kimg=0.08,
            eval_every_kimg=0.08,
            checkpoint_every_kimg=0.04,
            eval_samples=200,
        ),
        eval=EvalConfig(num_generated=200),
    )


def celeba128() -> ExperimentConfig:
    """CelebA at 128 x 128, beyond the paper's tables: the discriminator has the longer sequence, 256 patches of 8."""
    return _longer_discriminator_sequence(celeba64(), "celeba128")


def lsun_bedroom128() -> ExperimentConfig:
    """LSUN bedroom at 128 x 128, beyond the paper's tables: 256 patches of 8 for the discriminator."""
    return _longer_discriminator_sequence(lsun_bedroom64(), "lsun_bedroom128")


def _longer_discriminator_sequence(config: ExperimentConfig, dataset: str) -> ExperimentConfig:
    """64 x 64 to 128 x 128: the generator's patches grow, the discriminator's are four times as many."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, dataset=dataset, image_size=128),
        generator=dataclasses.replace(config.generator, patch_size=16),
    )


def folder(image_size: int = 64) -> ExperimentConfig:
    """Your own images, from --data_dir: any files, cropped to squares and resized to --resolution, by default 64.

    The generator has 8 x 8 tokens at every resolution, the discriminator patches of at most 8 pixels.

    Args:
      image_size: edge in pixels, a multiple of 8; the networks are those of the paper's 32 x 32 model up to 32, and
        those of its 64 x 64 model above.

    Raises:
      ConfigError: not a multiple of 8.
    """
    if image_size < 8 or image_size % 8:
        raise ConfigError(f"--resolution must be a multiple of 8, so that there are 8 x 8 patches, got {image_size}")
    patch_size = image_size // 8
    config = _paper(
        "folder", image_size, 3, num_blocks=4 if image_size <= 32 else 6, patch_size=patch_size, total_kimg=25_000
    )
    if patch_size <= 8:
        return config
    return dataclasses.replace(
        config, discriminator=dataclasses.replace(config.discriminator, patch_size=8, patch_overlap=4)
    )


_PRESETS = (digits, mnist, cifar10, celeba64, lsun_bedroom64, celeba128, lsun_bedroom128, folder, tiny)
PRESETS: Registry[Callable[[], ExperimentConfig]] = Registry(
    "dataset", {function.__name__: function for function in _PRESETS}
)


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
    "generator": (GENERATORS, registries.GENERATORS),
    "discriminator": (DISCRIMINATORS, registries.DISCRIMINATORS),
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
