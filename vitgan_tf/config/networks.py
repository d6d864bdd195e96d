"""The networks that can be chosen: what each brings along. Importing this module imports no TensorFlow.

Adding a network is its file, and a line in `GENERATORS` or `DISCRIMINATORS`; with fields of its own, a section.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from vitgan_tf.config.choices import NORMALIZATIONS
from vitgan_tf.config.fields import Section, field
from vitgan_tf.config.registry import Registry, imported
from vitgan_tf.errors import ConfigError

if TYPE_CHECKING:
    from vitgan_tf.config.experiment import ExperimentConfig


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config(Section):
    """Sizes of StyleGAN2's networks (Karras et al. 2020): by default those of ADA's for CIFAR-10."""

    style_dim: int = field("size of the latent z and of the style w", default=512, minimum=1)
    channel_base: int = field("features at a resolution are this over the resolution", default=32_768, minimum=1)
    channel_max: int = field("features at a resolution, at most", default=512, minimum=1)
    group_size: int = field(
        "images of a batch whose deviation from each other the discriminator sees", default=4, minimum=1
    )


@dataclasses.dataclass(frozen=True)
class ResNetConfig(Section):
    """Size of the ResNet discriminator (Miyato et al. 2018)."""

    width: int = field("features of every block", default=128, minimum=1)
    spectral_norm: str = field(
        "of all its layers: sn = spectral norm 1, isn = held at its initial value, none",
        default="sn",
        choices=NORMALIZATIONS,
    )


@dataclasses.dataclass(frozen=True)
class TransGANConfig(Section):
    """Sizes of TransGAN's networks (Jiang et al. 2021): by default those of its CIFAR-10 model."""

    latent_dim: int = field("size of the latent z", default=256, minimum=1)
    embed_dim: int = field("token width of the generator at its lowest resolution", default=1024, minimum=1)
    num_blocks: tuple[int, ...] = field(
        "transformer blocks of the generator at its lowest resolution, at the next one, and so on; the last number "
        "is that of all further ones",
        default=(5, 4, 2),
        minimum=1,
    )
    lowest_resolution: int = field("edge of the generator's first map of tokens", default=8, minimum=1)
    num_heads: int = field("attention heads, of both networks", default=4, minimum=1)
    discriminator_embed_dim: int = field("token width of the discriminator", default=384, minimum=1)
    discriminator_blocks: int = field(
        "transformer blocks of the discriminator at each of its two scales", default=3, minimum=1
    )
    patch_size: int = field("edge of the discriminator's finer patches, in pixels", default=2, minimum=1)


@dataclasses.dataclass(frozen=True)
class BigGANConfig(Section):
    """Size of BigGAN's networks (Brock et al. 2019): by default those of its CIFAR-10 model."""

    features: int = field("features at every resolution, of both networks", default=256, minimum=1)
    chunk_dim: int = field("numbers of the latent z for each place in which it enters", default=32, minimum=1)


# The configuration's sections of networks, by name.
SECTIONS: Registry[type[Section]] = Registry(
    "section",
    {"stylegan2": StyleGAN2Config, "resnet": ResNetConfig, "transgan": TransGANConfig, "biggan": BigGANConfig},
)


def _nothing(config: ExperimentConfig) -> None:
    """Nothing to check."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A generator or a discriminator.

    Attributes:
      model: its class, or "module:name" of it: (image_size, num_channels, **arguments, name) -> `tf.keras.Model`; a
        generator is a `StyleGenerator`.
      arguments: of the class, each with the path of its configuration field; no other field of a network is read.
      check: raises ConfigError where the configuration does not go with the network.
      widest_activations: numbers in the widest activations of an image, by which the parts of a batch are made to fit
        a CPU's memory; of a discriminator, of one view.
      takes_several_styles: whether styles enter a generator in several places.
      group_size: images, in a row, of which a discriminator's logits depend on each other.
      needs_whole_share: whether a generator's images of a replica's share depend on each other.
    """

    model: Callable[..., Any] | str
    arguments: Mapping[str, str] = dataclasses.field(default_factory=dict)
    check: Callable[[ExperimentConfig], None] = _nothing
    widest_activations: Callable[[ExperimentConfig], int] = lambda config: 0
    takes_several_styles: Callable[[ExperimentConfig], bool] = lambda config: True
    group_size: Callable[[ExperimentConfig], int] = lambda config: 1
    needs_whole_share: bool = False

    def build(self, config: ExperimentConfig, name: str) -> Any:
        """The network of a configuration, without weights."""
        model = imported(self.model)
        arguments = {argument: config.value(path) for argument, path in self.arguments.items()}
        return model(config.data.image_size, config.data.num_channels, **arguments, name=name)


def _of_section(section: str, *names: str) -> dict[str, str]:
    """Arguments that have the names of a section's fields."""
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
            f"at every resolution, got {own.embed_dim}"
        )
    if not own.num_blocks:
        raise ConfigError("transgan.num_blocks must have a number for the lowest resolution")


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
            # Every pixel attends to all others.
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
            _of_section("discriminator", *_VIT, "patch_overlap", "pooling"),
            _check_patches("discriminator"),
            _widest_vit,
        ),
        "stylegan2": Network(
            "vitgan_tf.models.stylegan2:StyleGAN2Discriminator",
            _of_section("stylegan2", "channel_base", "channel_max", "group_size"),
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
        # BigGAN's for CIFAR-10, without classes, is that of spectrally normalised GANs, twice as wide.
        "biggan": Network(
            "vitgan_tf.models.resnet:ResNetDiscriminator",
            {"width": "biggan.features"},
            _check_power_of_two("discriminator"),
            lambda config: config.data.image_size**2 * config.biggan.features,
        ),
    },
)
