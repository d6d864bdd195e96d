"""The configuration of an experiment: frozen dataclasses, checked on construction.

Sizes of images and patches are in pixels; `_kimg` counts thousands of real images shown to the discriminator,
`_steps` training steps (one update of the discriminator and one of the generator).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
import os
import typing
from collections.abc import Iterator
from typing import Any

from vitgan_tf.errors import ConfigError

GENERATORS = ("vit", "stylegan2", "transgan", "biggan")
DISCRIMINATORS = ("vit", "stylegan2", "resnet", "transgan", "biggan")
ACTIVATIONS = ("gelu", "relu", "silu")
ATTENTIONS = ("dot_product", "l2")
NORMALIZATIONS = ("isn", "sn", "none")
POSITIONS = ("fourier", "learned")
STYLE_INJECTIONS = ("modulate", "add", "prepend")
DECODERS = ("fourier", "linear", "conv")
POOLINGS = ("class_token", "mean")
ADVERSARIAL_LOSSES = ("non_saturating", "hinge", "wasserstein")
AUGMENTATIONS = ("color", "translation", "scaling", "cutout")
EXTRACTORS = ("auto", "tfgan_inception", "keras_inception", "digits")
SPLITS = ("training", "evaluation")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
XLA_MODES = ("auto", "off", "kernels", "full")
NAN_POLICIES = ("stop", "skip", "rollback")


def _field(
    help: str,
    default: Any = dataclasses.MISSING,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    choices: tuple | None = None,
) -> Any:
    """A dataclass field with its documentation and the range of its values."""
    bounds = {"at least": minimum, "above": above, "at most": maximum, "below": below}
    return dataclasses.field(default=default, metadata={"help": help, "bounds": bounds, "choices": choices})


_SATISFIES = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


@dataclasses.dataclass(frozen=True)
class _Section:
    """Checks every field's type and range. Raises ConfigError with the field, what it got and what it wants."""

    def __post_init__(self) -> None:
        types = typing.get_type_hints(type(self))
        section = type(self).__name__[: -len("Config")].lower()
        for field in dataclasses.fields(self):
            path = f"{section}.{field.name}"
            value = _checked_type(path, getattr(self, field.name), types[field.name])
            object.__setattr__(self, field.name, value)
            for item in value if isinstance(value, tuple) else (value,):
                _check_range(path, field.metadata, item)


def _checked_type(path: str, value: Any, wanted: Any) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(wanted) is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_checked_type(path, item, typing.get_args(wanted)[0]) for item in value)
    elif isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{path} must be of type {type_name(wanted)}, got {value!r}")


def type_name(wanted: Any) -> str:
    """A field's type in words: "int", "float", "bool", "str" or "list of str"."""
    return f"list of {typing.get_args(wanted)[0].__name__}" if typing.get_origin(wanted) is tuple else wanted.__name__


def _check_range(path: str, metadata: typing.Mapping[str, Any], value: Any) -> None:
    choices = metadata["choices"]
    if choices is not None and value not in choices:
        raise ConfigError(
            f"{path} must be one of {', '.join(map(str, choices))}, got {value!r}{did_you_mean(value, choices)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path} must be a finite number, got {value}")
    for words, bound in metadata["bounds"].items():
        if bound is not None and not _SATISFIES[words](value, bound):
            raise ConfigError(f"{path} must be {words} {bound}, got {value}")


def did_you_mean(name: str, valid: typing.Iterable[str]) -> str:
    """The end of an error line that names the valid name nearest to a wrong one; empty where none is near."""
    nearest = difflib.get_close_matches(str(name), map(str, valid), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


@dataclasses.dataclass(frozen=True)
class DataConfig(_Section):
    """The training images."""

    dataset: str = _field("name of the data set")
    image_size: int = _field("edge of the square images, in pixels", minimum=1, maximum=8192)
    num_channels: int = _field("colour channels of the images", choices=(1, 3))
    flip: bool = _field("whether half of the images, drawn anew each time, are mirrored left to right", default=False)


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(_Section):
    """The generator; but for architecture and mapping, the ViT generator (paper, "Generator Design")."""

    architecture: str = _field(
        "vit, or a baseline, whose sizes are in the section of its name",
        default="vit",
        choices=GENERATORS,
    )
    style_injection: str = _field(
        "where w enters: modulate = every layer norm (C, the method), add = the positional embeddings (A), "
        "prepend = as a further token (B)",
        default="modulate",
        choices=STYLE_INJECTIONS,
    )
    decoder: str = _field(
        "from patch embeddings to pixels: fourier = network over coordinates (the method), linear = one layer, "
        "conv = StyleGAN2's blocks over the map of tokens",
        default="fourier",
        choices=DECODERS,
    )
    attention: str = _field("logits of the self-attention", default="dot_product", choices=ATTENTIONS)
    normalization: str = _field("spectral normalisation of the linear layers", default="none", choices=NORMALIZATIONS)
    positions: str = _field(
        "positional embedding: fourier = of the patches' centres, learned = a table",
        default="fourier",
        choices=POSITIONS,
    )
    latent_dim: int = _field("size of the latent z", default=384, minimum=1)
    embed_dim: int = _field("token width D; also the size of the style w", default=384, minimum=1)
    mlp_dim: int = _field("hidden width of the blocks' MLP", default=1536, minimum=1)
    num_heads: int = _field("attention heads", default=6, minimum=1)
    num_blocks: int = _field("transformer blocks", default=4, minimum=1)
    patch_size: int = _field("edge of a patch P, in pixels", default=4, minimum=1)
    activation: str = _field("activation of the blocks' MLP", default="gelu", choices=ACTIVATIONS)
    mapping_layers: int = _field("layers of the mapping network", default=8, minimum=1)
    mapping_lr_multiplier: float = _field("learning rate of the mapping network, relative", default=0.01, above=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads("generator", self.embed_dim, self.num_heads)
        if self.decoder == "conv" and self.patch_size & (self.patch_size - 1):
            raise ConfigError(
                f"generator.decoder=conv doubles the resolution step by step: generator.patch_size must be a power "
                f"of 2, got {self.patch_size}"
            )


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(_Section):
    """The discriminator; but for architecture, the ViT one (paper, "Regularizing ViT-based Discriminator")."""

    architecture: str = _field(
        "vit, or a baseline, whose sizes are in the section of its name",
        default="vit",
        choices=DISCRIMINATORS,
    )
    attention: str = _field("logits of the self-attention", default="l2", choices=ATTENTIONS)
    normalization: str = _field(
        "of patch projection and blocks: isn = spectral norm held at its initial value, sn = at 1, none",
        default="isn",
        choices=NORMALIZATIONS,
    )
    pooling: str = _field(
        "what the head reads: class_token = the output of a further, learned token, mean = the mean over patches",
        default="class_token",
        choices=POOLINGS,
    )
    positions: str = _field(
        "positional embedding: fourier = of the patches' centres, learned = a table",
        default="fourier",
        choices=POSITIONS,
    )
    embed_dim: int = _field("token width D", default=384, minimum=1)
    mlp_dim: int = _field("hidden width of the blocks' MLP", default=1536, minimum=1)
    num_heads: int = _field("attention heads", default=6, minimum=1)
    num_blocks: int = _field("transformer blocks", default=4, minimum=1)
    patch_size: int = _field("edge of a grid patch P, in pixels", default=4, minimum=1)
    patch_overlap: int = _field("pixels o by which a patch is extended on every side", default=2, minimum=0)
    activation: str = _field("activation of the blocks' MLP", default="gelu", choices=ACTIVATIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads("discriminator", self.embed_dim, self.num_heads)


def _check_heads(network: str, embed_dim: int, num_heads: int) -> None:
    if embed_dim % num_heads:
        raise ConfigError(
            f"{network}.embed_dim must be a multiple of {network}.num_heads, got {embed_dim} and {num_heads}"
        )


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config(_Section):
    """Sizes of StyleGAN2's networks (Karras et al. 2020): by default those of ADA's for CIFAR-10."""

    style_dim: int = _field("size of the latent z and of the style w", default=512, minimum=1)
    channel_base: int = _field("features at a resolution are this over the resolution", default=32_768, minimum=1)
    channel_max: int = _field("features at a resolution, at most", default=512, minimum=1)
    group_size: int = _field(
        "images of a batch whose deviation from each other the discriminator sees", default=4, minimum=1
    )


@dataclasses.dataclass(frozen=True)
class ResNetConfig(_Section):
    """Size of the ResNet discriminator (Miyato et al. 2018)."""

    width: int = _field("features of every block", default=128, minimum=1)
    spectral_norm: str = _field(
        "of all its layers: sn = spectral norm 1, isn = held at its initial value, none",
        default="sn",
        choices=NORMALIZATIONS,
    )


@dataclasses.dataclass(frozen=True)
class TransGANConfig(_Section):
    """Sizes of TransGAN's networks (Jiang et al. 2021): by default those of its CIFAR-10 model."""

    z_dim: int = _field("size of the latent z", default=256, minimum=1)
    embed_dim: int = _field("token width of the generator at its lowest resolution", default=1024, minimum=1)
    num_blocks: tuple[int, ...] = _field(
        "transformer blocks of the generator at its lowest resolution, at the next one, and so on; the last number "
        "is that of all further ones",
        default=(5, 4, 2),
        minimum=1,
    )
    lowest_resolution: int = _field("edge of the generator's first map of tokens", default=8, minimum=1)
    num_heads: int = _field("attention heads, of both networks", default=4, minimum=1)
    discriminator_embed_dim: int = _field("token width of the discriminator", default=384, minimum=1)
    discriminator_blocks: int = _field(
        "transformer blocks of the discriminator at each of its two scales", default=3, minimum=1
    )
    patch_size: int = _field("edge of the discriminator's finer patches, in pixels", default=2, minimum=1)


@dataclasses.dataclass(frozen=True)
class BigGANConfig(_Section):
    """Size of BigGAN's networks (Brock et al. 2019): by default those of its CIFAR-10 model."""

    features: int = _field("features at every resolution, of both networks", default=256, minimum=1)
    chunk_dim: int = _field("numbers of the latent z for each place in which it enters", default=32, minimum=1)


@dataclasses.dataclass(frozen=True)
class LossConfig(_Section):
    """The adversarial loss and its regularisers (paper, "Experiment Setup")."""

    adversarial: str = _field(
        "loss of real against generated images", default="non_saturating", choices=ADVERSARIAL_LOSSES
    )
    bcr_lambda_real: float = _field("weight of bCR on real images; 0 turns it off", default=10.0, minimum=0.0)
    bcr_lambda_fake: float = _field("weight of bCR on generated images; 0 turns it off", default=10.0, minimum=0.0)
    r1_gamma: float = _field("R1 adds gamma / 2 times its penalty; 0 turns it off", default=0.0, minimum=0.0)
    r1_every_steps: int = _field(
        "steps between R1 penalties, each weighted by this number; 1 for every step", default=16, minimum=1
    )
    style_mixing: float = _field(
        "share of the images that have a second style from a random place of the generator on",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
    )
    path_length_weight: float = _field(
        "weight of the generator's path length penalty; 0 turns it off", default=0.0, minimum=0.0
    )
    path_length_every_steps: int = _field(
        "steps between path length penalties, each weighted by this number; 1 for every step", default=4, minimum=1
    )
    path_length_decay: float = _field(
        "share of a batch's mean path length in the moving average", default=0.01, above=0.0, maximum=1.0
    )
    lecam_lambda: float = _field("weight of LeCam; 0 turns it off", default=0.0, minimum=0.0)
    lecam_decay: float = _field(
        "factor by which LeCam's averages of the logits keep their value in a step",
        default=0.99,
        minimum=0.0,
        below=1.0,
    )

    @property
    def uses_bcr(self) -> bool:
        return self.bcr_lambda_real > 0 or self.bcr_lambda_fake > 0

    @property
    def num_views(self) -> int:
        """Images that the discriminator sees for each real one: that and a generated one, under bCR both twice."""
        return 4 if self.uses_bcr else 2


@dataclasses.dataclass(frozen=True)
class AugmentConfig(_Section):
    """DiffAugment (Zhao et al. 2020)."""

    policy: tuple[str, ...] = _field(
        "augmentations, applied in this order; empty for none", default=AUGMENTATIONS, choices=AUGMENTATIONS
    )
    probability: float = _field(
        "probability of each augmentation, drawn per image", default=0.8, minimum=0.0, maximum=1.0
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig(_Section):
    """Optimisation and the length of the run."""

    total_kimg: float = _field("length of the run, in thousands of real images", above=0.0)
    batch_size: int = _field("real images per step, over all devices", default=128, minimum=1)
    generator_learning_rate: float = _field("Adam's learning rate for the generator", default=0.002, above=0.0)
    discriminator_learning_rate: float = _field(
        "Adam's learning rate for the discriminator", default=0.002, above=0.0
    )
    adam_beta1: float = _field("Adam's beta1", default=0.0, minimum=0.0, below=1.0)
    adam_beta2: float = _field("Adam's beta2", default=0.99, minimum=0.0, below=1.0)
    adam_epsilon: float = _field("Adam's epsilon", default=1e-8, above=0.0)
    ema_halflife_kimg: float = _field(
        "half-life of the generator's moving average, in thousands of images; 0 for none", default=10.0, minimum=0.0
    )
    ema_rampup: float = _field(
        "the half-life is at most this fraction of the images seen so far; 0 for no ramp-up",
        default=0.05,
        minimum=0.0,
    )
    seed: int = _field(
        "seed of weights, data order, latents and augmentation", default=0, minimum=0, maximum=2**31 - 1
    )
    microbatch: int = _field(
        "images of a step that a device works on at a time: their gradients are summed up, and memory is that of so "
        "many images; must divide each device's share of the batch. 0 = all at once, but on CPUs as many as "
        "need about 1 GB",
        default=0,
        minimum=0,
    )
    steps_per_execution: int = _field(
        "steps that a device runs before the host is asked; what is due in between comes at their end. 0 = 1, but on "
        "TPUs 100",
        default=0,
        minimum=0,
    )
    on_nan: str = _field(
        "at a loss or gradient that is not finite: stop = end with an error, skip = leave that update out, "
        "rollback = go on from the newest checkpoint with other random numbers",
        default="stop",
        choices=NAN_POLICIES,
    )
    precision: str = _field(
        "of both networks' activations and products; weights, spectral norms, softmax, statistics of the norms, "
        "losses and moving average are float32 in all. mixed_float16 is for GPUs, with a scaled loss",
        default="float32",
        choices=PRECISIONS,
    )
    xla: str = _field(
        "what XLA compiles: full = the whole step, kernels = runs of element-wise operations, off = nothing; "
        "auto = full on TPUs, kernels on CPUs, off on GPUs",
        default="auto",
        choices=XLA_MODES,
    )


@dataclasses.dataclass(frozen=True)
class LogConfig(_Section):
    """What a run writes, and how often. None of it changes the result of the training."""

    scalars_every_steps: int = _field(
        "steps between TensorBoard scalars, means over the interval", default=100, minimum=1
    )
    samples_every_kimg: float = _field("images between sample grids, in thousands", default=100.0, above=0.0)
    eval_every_kimg: float = _field("images between evaluations, in thousands", default=500.0, above=0.0)
    checkpoint_every_kimg: float = _field("images between checkpoints, in thousands", default=100.0, above=0.0)
    diagnostics_every_kimg: float = _field(
        "images between diagnostics of spectral norms and attention, in thousands; 0 for none",
        default=100.0,
        minimum=0.0,
    )
    keep_checkpoints: int = _field(
        "how many of the newest checkpoints are kept: at least two, one to fall back on", default=3, minimum=2
    )
    eval_samples: int = _field("generated images per evaluation during training", default=2000, minimum=2)
    eval_real_images: int = _field(
        "real images per evaluation during training, drawn at random; 0 for all", default=50_000, minimum=0
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig(_Section):
    """What scores are made of; it does not change the training.

    Network and split hold during training too; the numbers there are those of `LogConfig`.
    """

    extractor: str = _field(
        "network whose features are compared: tfgan_inception = that of published FIDs, keras_inception = other "
        "weights, not comparable, digits = a classifier of the digits; auto = digits on the digits, else "
        "tfgan_inception",
        default="auto",
        choices=EXTRACTORS,
    )
    split: str = _field("real images to compare with", default="training", choices=SPLITS)
    num_generated: int = _field("generated images", default=50_000, minimum=2)
    num_real: int = _field("real images, drawn at random; 0 for all of the split", default=0, minimum=0)


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that defines a run.

    Raises:
      ConfigError: an image is not a whole number of patches, or R1 is to be computed in float16.
    """

    data: DataConfig
    train: TrainConfig
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    log: LogConfig = LogConfig()
    eval: EvalConfig = EvalConfig()
    stylegan2: StyleGAN2Config = StyleGAN2Config()
    resnet: ResNetConfig = ResNetConfig()
    transgan: TransGANConfig = TransGANConfig()
    biggan: BigGANConfig = BigGANConfig()

    def __post_init__(self) -> None:
        if self.train.precision == "mixed_float16" and max(self.loss.r1_gamma, self.loss.path_length_weight) > 0:
            raise ConfigError(
                "train.precision=mixed_float16 is too narrow for the second derivatives of R1 (loss.r1_gamma) and of "
                "path lengths (loss.path_length_weight): mixed_bfloat16 is not"
            )
        for network in ("generator", "discriminator"):
            self._check_image_size(network)
        own = self.generator
        is_vit = own.architecture == "vit"
        has_one_style = own.style_injection != "modulate" if is_vit else own.architecture == "transgan"
        if self.loss.style_mixing > 0 and has_one_style:
            field = "style_injection" if is_vit else "architecture"
            raise ConfigError(
                "loss.style_mixing needs a generator that takes styles in several places, "
                f"got generator.{field}={getattr(own, field)}"
            )

    def _check_image_size(self, network: str) -> None:
        size, own = self.data.image_size, getattr(self, network)
        if own.architecture == "vit" and size % own.patch_size:
            raise ConfigError(
                f"data.image_size must be a multiple of {network}.patch_size, got {size} and {own.patch_size}"
            )
        if own.architecture != "vit" and (size < 8 or size & (size - 1)):
            raise ConfigError(
                f"data.image_size must be a power of 2 of at least 8 with {network}.architecture={own.architecture}, "
                f"got {size}"
            )
        if own.architecture == "stylegan2" and self.stylegan2.channel_base < size:
            raise ConfigError(
                "stylegan2.channel_base must be at least data.image_size, "
                f"got {self.stylegan2.channel_base} and {size}"
            )
        if own.architecture == "transgan":
            self._check_transgan(network)

    def _check_transgan(self, network: str) -> None:
        size, own = self.data.image_size, self.transgan
        if network == "discriminator":
            if size % (2 * own.patch_size):
                raise ConfigError(
                    "data.image_size must be a multiple of twice transgan.patch_size, "
                    f"got {size} and {own.patch_size}"
                )
            if own.discriminator_embed_dim % (4 * own.num_heads):
                raise ConfigError(
                    "transgan.discriminator_embed_dim must be a multiple of 4 times transgan.num_heads, "
                    f"got {own.discriminator_embed_dim} and {own.num_heads}"
                )
            return
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

    @property
    def total_steps(self) -> int:
        """Training steps of the whole run."""
        return self.kimg_to_steps(self.train.total_kimg)

    def kimg_to_steps(self, kimg: float) -> int:
        """The first step, at least 1, at which so many thousands of real images have been seen."""
        return max(1, -int(-kimg * 1000 // self.train.batch_size))


@dataclasses.dataclass(frozen=True)
class DataLocation:
    """Where data and other networks' weights are on this machine, and what may be used. It changes no training.

    Attributes:
      data_dir: folder of the data sets, local or gs://, by default TFDS_DATA_DIR or ~/tensorflow_datasets; with the
        data set "folder", of the images themselves.
      download: whether a set, or the Inception module, may be fetched if it is not there.
      memory_gb: decoded images are kept in memory if they take no more than this, in 10^9 bytes, else on disk.
      cache_dir: local folder for images that do not fit, and for statistics of real images.
      inception: unpacked TensorFlow Hub module of tensorflow-gan's Inception, or weights file of Keras'; by default
        looked for in the folders of those libraries.
    """

    data_dir: str | None = None
    download: bool = False
    memory_gb: float = 4.0
    cache_dir: str = "~/.cache/vitgan_tf"
    inception: str | None = None

    def __post_init__(self) -> None:
        # A shell does not expand the ~ of --data_dir=~/images.
        for name in ("data_dir", "cache_dir", "inception"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, os.path.expanduser(getattr(self, name)))


def field_paths() -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """Every field of a configuration as ("section.name", dataclass field, type), in order."""
    for section, section_type in typing.get_type_hints(ExperimentConfig).items():
        types = typing.get_type_hints(section_type)
        for field in dataclasses.fields(section_type):
            yield f"{section}.{field.name}", field, types[field.name]


def override(config: ExperimentConfig, values: dict[str, Any]) -> ExperimentConfig:
    """A configuration with some fields changed.

    Args:
      config: stays as it is.
      values: by path, for example {"train.batch_size": 64}.

    Raises:
      ConfigError: an unknown path (the nearest right one is named), or a value that its field refuses.
    """
    valid = [path for path, _, _ in field_paths()]
    changes: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        if path not in valid:
            raise ConfigError(f"unknown configuration field {path!r}{did_you_mean(path, valid)}")
        section, name = path.split(".")
        changes.setdefault(section, {})[name] = value
    sections = {
        section: dataclasses.replace(getattr(config, section), **fields) for section, fields in changes.items()
    }
    return dataclasses.replace(config, **sections)


def from_dict(values: dict[str, dict[str, Any]]) -> ExperimentConfig:
    """The inverse of `dataclasses.asdict`, for example after a trip through JSON.

    Raises:
      ConfigError: a section or field is missing, unknown or refused.
    """
    sections = typing.get_type_hints(ExperimentConfig)
    try:
        return ExperimentConfig(**{name: sections[name](**fields) for name, fields in values.items()})
    except (KeyError, TypeError) as error:
        raise ConfigError(f"not a configuration of this version: {error}") from error


def unused_sections(config: ExperimentConfig) -> tuple[str, ...]:
    """Prefixes of the paths of those baselines' sections that neither network of a configuration reads."""
    used = (config.generator.architecture, config.discriminator.architecture)
    return tuple(f"{name}." for name in (*GENERATORS, *DISCRIMINATORS) if name != "vit" and name not in used)


def differences(old: ExperimentConfig, new: ExperimentConfig, ignored: tuple[str, ...] = ()) -> list[str]:
    """One "section.name: old -> new" for each field whose value differs and whose path begins with none ignored."""
    found = []
    for path, _, _ in field_paths():
        section, name = path.split(".")
        before, after = getattr(getattr(old, section), name), getattr(getattr(new, section), name)
        if before != after and not path.startswith(ignored):
            found.append(f"{path}: {before} -> {after}")
    return found
