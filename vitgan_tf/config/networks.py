"""Registries of generators and discriminators. Importing this module does not import TensorFlow.

A new network needs its own file and a line in `GENERATORS` or `DISCRIMINATORS`; if it has fields, also a section.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Callable

from vitgan_tf.config.choices import NORMALIZATIONS
from vitgan_tf.config.fields import Section, field
from vitgan_tf.config.registry import Registry, imported
from vitgan_tf.errors import ConfigError

# An `experiment.ExperimentConfig`, whose module imports this one.
ExperimentConfig = Any


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config(Section):
    """Sizes of StyleGAN2's networks (Karras et al. 2020). The defaults are StyleGAN2-ADA's for CIFAR-10."""

    style_dim: int = field("size of the latent z and of the style w", default=512, minimum=1)
    channel_base: int = field(
        "features at resolution r: channel_base / r, up to channel_max", default=32_768, minimum=1
    )
    channel_max: int = field("maximum number of features at any resolution", default=512, minimum=1)
    group_size: int = field(
        "images per group of the discriminator's minibatch standard deviation", default=4, minimum=1
    )


@dataclasses.dataclass(frozen=True)
class ResNetConfig(Section):
    """Size of the ResNet discriminator (Miyato et al. 2018)."""

    width: int = field("number of features in every block", default=128, minimum=1)
    spectral_norm: str = field(
        "spectral normalisation of all layers: sn = spectral norm 1, isn = spectral norm held at its initial value, "
        "none = no normalisation",
        default="sn",
        choices=NORMALIZATIONS,
    )


@dataclasses.dataclass(frozen=True)
class TransGANConfig(Section):
    """Sizes of TransGAN's networks (Jiang et al. 2021). The defaults are those of its CIFAR-10 model."""

    latent_dim: int = field("size of the latent z", default=256, minimum=1)
    embed_dim: int = field("token width of the generator at its lowest resolution", default=1024, minimum=1)
    num_blocks: tuple[int, ...] = field(
        "transformer blocks of the generator per resolution, from the lowest up; the last number also holds for all "
        "higher resolutions",
        default=(5, 4, 2),
        minimum=1,
    )
    lowest_resolution: int = field("edge of the generator's first token map, in tokens", default=8, minimum=1)
    num_heads: int = field("attention heads per block, in both networks", default=4, minimum=1)
    discriminator_embed_dim: int = field("token width of the discriminator", default=384, minimum=1)
    discriminator_blocks: int = field(
        "transformer blocks of the discriminator at each of its two scales", default=3, minimum=1
    )
    patch_size: int = field("edge of the discriminator's finer patches, in pixels", default=2, minimum=1)


@dataclasses.dataclass(frozen=True)
class BigGANConfig(Section):
    """Sizes of BigGAN's networks (Brock et al. 2019). The defaults are those of its CIFAR-10 model."""

    features: int = field("number of features at every resolution, in both networks", default=256, minimum=1)
    chunk_dim: int = field(
        "size of each chunk of the latent z; every place where z enters gets one chunk", default=32, minimum=1
    )


# Configuration sections of networks, by name.
SECTIONS: Registry[type[Section]] = Registry(
    "section",
    {"stylegan2": StyleGAN2Config, "resnet": ResNetConfig, "transgan": TransGANConfig, "biggan": BigGANConfig},
)


def _nothing(config: ExperimentConfig) -> None:
    """Accepts every configuration."""


@dataclasses.dataclass(frozen=True)
class Network:
    """Generator or discriminator.

    Attributes:
      model: class of the network, or its "module:name": (image_size, num_channels, **arguments, name) ->
        `tf.keras.Model`; generators are `StyleGenerator`s.
      arguments: arguments of the class, each with the path of its configuration field; the network reads no other
        network fields.
      check: raises ConfigError if the configuration does not suit the network.
      widest_activations: number of values in the widest activations per image (discriminators: per view), used to fit
        the parts of a batch into a CPU's memory.
      takes_several_styles: whether styles enter a generator in several places.
      group_size: number of consecutive images whose discriminator logits depend on each other.
      needs_whole_share: whether all images that a generator draws on a replica depend on each other.
    """

    model: Callable[..., Any] | str
    arguments: Mapping[str, str] = dataclasses.field(default_factory=dict)
    check: Callable[[ExperimentConfig], None] = _nothing
    widest_activations: Callable[[ExperimentConfig], int] = lambda config: 0
    takes_several_styles: Callable[[ExperimentConfig], bool] = lambda config: True
    group_size: Callable[[ExperimentConfig], int] = lambda config: 1
    needs_whole_share: bool = False

    @property
    def may_contrast(self) -> bool:
        """Whether a discriminator's head may be ContraD's."""
        return "contrad_units" in self.arguments

    def build(self, config: ExperimentConfig, name: str) -> Any:
        """Returns the network of a configuration; its weights are not yet created."""
        model = imported(self.model)
        arguments = {argument: config.value(path) for argument, path in self.arguments.items()}
        return model(config.data.image_size, config.data.num_channels, **arguments, name=name)


def _of_section(section: str, *names: str) -> dict[str, str]:
    """Maps arguments to the section's fields of the same names."""
    return {name: f"{section}.{name}" for name in names}


def _check_patches(network: str) -> Callable[[ExperimentConfig], None]:
    def check(config: ExperimentConfig) -> None:
        size, patch_size = config.data.image_size, config.value(f"{network}.patch_size")
        if size % patch_size:
            raise ConfigError(
                f"data.image_size must be a multiple of {network}.patch_size, got {size} and {patch_size}"
            )

    return check


def _check_power_of_two(network: str, further: Callable[[ExperimentConfig], None] = _nothing) -> Callable:
    def check(config: ExperimentConfig) -> None:
        size, architecture = config.data.image_size, config.value(f"{network}.architecture")
        if size < 8 or size & (size - 1):
            raise ConfigError(
                f"data.image_size must be a power of 2 of at least 8 with {network}.architecture={architecture}, "
                f"got {size}"
            )
        further(config)

    return check


def _check_stylegan2(config: ExperimentConfig) -> None:
    if config.stylegan2.channel_base < config.data.image_size:
        raise ConfigError(
            "stylegan2.channel_base must be at least data.image_size, "
            f"got {config.stylegan2.channel_base} and {config.data.image_size}"
        )


def _check_transgan_generator(config: ExperimentConfig) -> None:
    size, own = config.data.image_size, config.transgan
    lowest = own.lowest_resolution
    if lowest > size or lowest & (lowest - 1):
        raise ConfigError(
            f"transgan.lowest_resolution must be a power of 2 up to data.image_size {size}, got {lowest}"
        )
    divisor = (size // lowest) ** 2 * own.num_heads
    if own.embed_dim % divisor:
        raise ConfigError(
            f"transgan.embed_dim must be a multiple of {divisor}, so that transgan.num_heads divides the width "
            f"at every resolution from transgan.lowest_resolution {lowest} to data.image_size, got {own.embed_dim}"
        )
    if not own.num_blocks:
        raise ConfigError("transgan.num_blocks must have at least one number, that of the lowest resolution")


def _check_transgan_discriminator(config: ExperimentConfig) -> None:
    size, own = config.data.image_size, config.transgan
    if size % (2 * own.patch_size):
        raise ConfigError(
            f"data.image_size must be a multiple of twice transgan.patch_size, got {size} and {own.patch_size}"
        )
    if own.discriminator_embed_dim % (4 * own.num_heads):
        raise ConfigError(
            "transgan.discriminator_embed_dim must be a multiple of 4 times transgan.num_heads, "
            f"got {own.discriminator_embed_dim} and {own.num_heads}"
        )


def _widest_vit(config: ExperimentConfig) -> int:
    own = config.discriminator
    return ((config.data.image_size // own.patch_size) ** 2 + (own.pooling == "class_token")) * own.mlp_dim


def _widest_stylegan2(config: ExperimentConfig) -> int:
    size, own = config.data.image_size, config.stylegan2
    return size**2 * min(own.channel_base // size, own.channel_max)


def _widest_transgan(config: ExperimentConfig) -> int:
    own = config.transgan
    tokens = (config.data.image_size // own.patch_size) ** 2
    return tokens * max(tokens * own.num_heads, 4 * own.discriminator_embed_dim)


_VIT = (
    *("patch_size", "embed_dim", "mlp_dim", "num_heads", "num_blocks"),
    *("activation", "attention", "normalization", "positions"),
)
# The argument of discriminators whose head may be ContraD's.
_CONTRAD = {"contrad_units": "loss.contrad_units"}

GENERATORS: Registry[Network] = Registry(
    "generator",
    {
        "vit": Network(
            "vitgan_tf.models.generator:ViTGenerator",
            _of_section(
                "generator",
                *_VIT,
                *("latent_dim", "mapping_layers", "mapping_lr_multiplier", "style_injection", "decoder"),
            ),
            _check_patches("generator"),
            takes_several_styles=lambda config: config.generator.style_injection == "modulate",
        ),
        "stylegan2": Network(
            "vitgan_tf.models.stylegan2:StyleGAN2Generator",
            {
                "latent_dim": "stylegan2.style_dim",
                **_of_section("stylegan2", "style_dim", "channel_base", "channel_max"),
                **_of_section("generator", "mapping_layers", "mapping_lr_multiplier"),
            },
            _check_power_of_two("generator", _check_stylegan2),
        ),
        "transgan": Network(
            "vitgan_tf.models.transgan:TransGANGenerator",
            _of_section("transgan", "latent_dim", "embed_dim", "num_heads", "num_blocks", "lowest_resolution"),
            _check_power_of_two("generator", _check_transgan_generator),
            # Attention weights between all pairs of pixels.
            widest_activations=lambda config: config.data.image_size**4 * config.transgan.num_heads,
            takes_several_styles=lambda config: False,
        ),
        "biggan": Network(
            "vitgan_tf.models.biggan:BigGANGenerator",
            {"width": "biggan.features", "chunk_dim": "biggan.chunk_dim"},
            _check_power_of_two("generator"),
            needs_whole_share=True,
        ),
    },
)
DISCRIMINATORS: Registry[Network] = Registry(
    "discriminator",
    {
        "vit": Network(
            "vitgan_tf.models.discriminator:ViTDiscriminator",
            {**_of_section("discriminator", *_VIT, "patch_overlap", "pooling"), **_CONTRAD},
            _check_patches("discriminator"),
            _widest_vit,
        ),
        "stylegan2": Network(
            "vitgan_tf.models.stylegan2:StyleGAN2Discriminator",
            {**_of_section("stylegan2", "channel_base", "channel_max", "group_size"), **_CONTRAD},
            _check_power_of_two("discriminator", _check_stylegan2),
            _widest_stylegan2,
            group_size=lambda config: config.stylegan2.group_size,
        ),
        "resnet": Network(
            "vitgan_tf.models.resnet:ResNetDiscriminator",
            _of_section("resnet", "width", "spectral_norm"),
            _check_power_of_two("discriminator"),
            lambda config: config.data.image_size**2 * config.resnet.width,
        ),
        "transgan": Network(
            "vitgan_tf.models.transgan:TransGANDiscriminator",
            {
                **_of_section("transgan", "patch_size", "num_heads"),
                "embed_dim": "transgan.discriminator_embed_dim",
                "num_blocks": "transgan.discriminator_blocks",
            },
            _check_power_of_two("discriminator", _check_transgan_discriminator),
            _widest_transgan,
        ),
        # Without classes, BigGAN's CIFAR-10 discriminator is that of SNGAN (Miyato et al. 2018), twice as wide.
        "biggan": Network(
            "vitgan_tf.models.resnet:ResNetDiscriminator",
            {"width": "biggan.features"},
            _check_power_of_two("discriminator"),
            lambda config: config.data.image_size**2 * config.biggan.features,
        ),
    },
)
