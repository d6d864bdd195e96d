"""Configuration of each data set (paper, "Experiment Setup")."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Callable

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
)
from vitgan_tf.config.networks import BigGANConfig, ResNetConfig, StyleGAN2Config, TransGANConfig
from vitgan_tf.config.registry import Registry

# Half the paper's 0.8: in a short run, the discriminator learns faster with weaker augmentation.
_SHORT_RUN_AUGMENT = AugmentConfig(probability=0.4)
# In a short run, higher rates that fall at the end draw better images: docs/rates.md, docs/colour.md.
_SHORT_RUN = TrainConfig(
    total_kimg=320.0,
    batch_size=64,
    generator_learning_rate=0.003,
    discriminator_learning_rate=0.006,
    decay_fraction=0.5,
)


def _paper(
    dataset: str,
    image_size: int,
    num_channels: int,
    num_blocks: int,
    patch_size: int,
    total_kimg: float,
    flip: bool = False,
) -> ExperimentConfig:
    """Builds a row of the paper's table: width 384, MLP 1536, 6 heads, 8 x 8 tokens, batch 128, half-patch overlap.

    Images are flipped as in Ho et al. 2020 (appendix B): CIFAR-10 and CelebA, but not LSUN bedroom.
    """
    return ExperimentConfig(
        data=DataConfig(dataset=dataset, image_size=image_size, num_channels=num_channels, flip=flip),
        generator=GeneratorConfig(num_blocks=num_blocks, patch_size=patch_size),
        discriminator=DiscriminatorConfig(
            num_blocks=num_blocks, patch_size=patch_size, patch_overlap=patch_size // 2
        ),
        train=TrainConfig(total_kimg=total_kimg),
        # As in StyleGAN2-ADA: full feature counts for CIFAR-10, half of them for larger images.
        networks={"stylegan2": StyleGAN2Config(channel_base=32_768 if image_size <= 32 else 16_384)},
        # Evaluations during training only need more images than Inception's 2,048 features.
        log=LogConfig(
            eval_every_kimg=1000.0, samples_every_kimg=200.0, checkpoint_every_kimg=200.0, eval_samples=5000
        ),
        # The usual FID protocol: 50,000 generated images against all training images.
        eval=EvalConfig(split="training", num_generated=50_000, num_real=0),
    )


def cifar10() -> ExperimentConfig:
    """CIFAR-10, 32 x 32, 50,000 training images. The paper gives no training length; this one is ours."""
    return _paper("cifar10", image_size=32, num_channels=3, num_blocks=4, patch_size=4, total_kimg=25_000, flip=True)


def mnist() -> ExperimentConfig:
    """MNIST padded to 32 x 32, 60,000 training images, 100 epochs."""
    return _paper("mnist", image_size=32, num_channels=1, num_blocks=4, patch_size=4, total_kimg=6_000)


def celeba64() -> ExperimentConfig:
    """CelebA, aligned, centre crop of 140, 64 x 64, 162,770 training images. The training length is ours."""
    return _paper("celeba64", image_size=64, num_channels=3, num_blocks=6, patch_size=8, total_kimg=25_000, flip=True)


def lsun_bedroom64() -> ExperimentConfig:
    """LSUN bedroom, 64 x 64, about 3 million training images. The training length is ours."""
    return _paper("lsun_bedroom64", image_size=64, num_channels=3, num_blocks=6, patch_size=8, total_kimg=25_000)


def digits() -> ExperimentConfig:
    """scikit-learn's 1,797 scanned digits, 16 x 16: trains the full method in minutes on two CPU cores."""
    return ExperimentConfig(
        data=DataConfig(dataset="digits", image_size=16, num_channels=1),
        generator=GeneratorConfig(latent_dim=96, embed_dim=96, mlp_dim=384, num_heads=3),
        discriminator=DiscriminatorConfig(embed_dim=96, mlp_dim=384, num_heads=3),
        augment=_SHORT_RUN_AUGMENT,
        train=_SHORT_RUN,
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
    """Digits at 8 x 8 with networks of a few thousand weights, for tests: a step takes milliseconds."""
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
    """CelebA at 128 x 128, not in the paper's tables: a longer discriminator sequence, 256 patches of size 8."""
    return _longer_discriminator_sequence(celeba64(), "celeba128")


def lsun_bedroom128() -> ExperimentConfig:
    """LSUN bedroom at 128 x 128, not in the paper's tables: 256 discriminator patches of size 8."""
    return _longer_discriminator_sequence(lsun_bedroom64(), "lsun_bedroom128")


def _longer_discriminator_sequence(config: ExperimentConfig, dataset: str) -> ExperimentConfig:
    """Goes from 64 x 64 to 128 x 128 with larger generator patches and four times as many discriminator patches."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, dataset=dataset, image_size=128),
        generator=dataclasses.replace(config.generator, patch_size=16),
    )


def emoji(image_size: int = 32) -> ExperimentConfig:
    """Noto Emoji, 1,716 training images on white, 32 x 32 or --resolution.

    Raises:
      ConfigError: see `folder`.
    """
    config = folder(image_size)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, dataset="emoji"),
        augment=_SHORT_RUN_AUGMENT,
        train=dataclasses.replace(_SHORT_RUN, total_kimg=400.0),
        log=LogConfig(eval_every_kimg=50.0, samples_every_kimg=10.0, checkpoint_every_kimg=10.0),
        eval=EvalConfig(extractor="classifier", num_generated=10_000),
    )


def folder(image_size: int = 64) -> ExperimentConfig:
    """Your own image files in --data_dir, cropped to squares and resized to --resolution (default 64).

    The generator has 8 x 8 tokens at every resolution; discriminator patches are at most 8 pixels wide.

    Args:
      image_size: edge in pixels, a multiple of 8; up to 32, networks of the paper's 32 x 32 model, above 32, of its
        64 x 64 model.

    Raises:
      ConfigError: image_size is not a multiple of 8.
    """
    if image_size < 8 or image_size % 8:
        below = max(8, image_size // 8 * 8)
        raise ConfigError(
            f"--resolution must be a multiple of 8, to give 8 x 8 patches, got {image_size}: choose {below}"
            + (f" or {below + 8}" if image_size > 8 else "")
        )
    patch_size = image_size // 8
    config = _paper(
        "folder", image_size, 3, num_blocks=4 if image_size <= 32 else 6, patch_size=patch_size, total_kimg=25_000
    )
    if patch_size <= 8:
        return config
    return dataclasses.replace(
        config, discriminator=dataclasses.replace(config.discriminator, patch_size=8, patch_overlap=4)
    )


_PRESETS = (digits, mnist, cifar10, celeba64, lsun_bedroom64, celeba128, lsun_bedroom128, emoji, folder, tiny)
PRESETS: Registry[Callable[..., ExperimentConfig]] = Registry(
    "dataset", {function.__name__: function for function in _PRESETS}
)


def has_sizes(name: str) -> bool:
    """True for a preset whose networks depend on the size of its images, which is then an argument."""
    return "image_size" in inspect.signature(PRESETS[name]).parameters
