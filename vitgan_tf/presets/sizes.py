"""Sizes of the networks: factors of the widths in a preset."""

from __future__ import annotations

from vitgan_tf.config import ExperimentConfig, override
from vitgan_tf.config.registry import Registry

DEFAULT_SIZE = "base"
# base: the paper's widths, with the paper's presets.
SIZES: Registry[float] = Registry("size", {"small": 0.5, DEFAULT_SIZE: 1.0, "large": 2.0})
_WIDTHS = (
    *("generator.latent_dim", "generator.embed_dim", "generator.mlp_dim", "generator.num_heads"),
    *("discriminator.embed_dim", "discriminator.mlp_dim", "discriminator.num_heads"),
    *("stylegan2.style_dim", "stylegan2.channel_base", "stylegan2.channel_max", "resnet.width", "biggan.features"),
    *("transgan.latent_dim", "transgan.embed_dim", "transgan.num_heads", "transgan.discriminator_embed_dim"),
)


def resized(config: ExperimentConfig, size: str) -> ExperimentConfig:
    """Returns a configuration with all networks narrower or wider: fewer or more features and attention heads.

    Args:
      config: a preset.
      size: name in `SIZES`; depth, patches and training stay.

    Raises:
      ConfigError: the size is unknown, or a network cannot be so small.
    """
    factor = SIZES[size]
    return override(config, {path: max(1, int(config.value(path) * factor)) for path in _WIDTHS})
