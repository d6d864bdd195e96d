"""The configuration of an experiment: frozen dataclasses, checked on construction.

Sizes of images and patches are in pixels; `_kimg` counts thousands of real images shown to the discriminator,
`_steps` training steps (one update of the discriminator and one of the generator).
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from vitgan_tf import aliases
from vitgan_tf.errors import ConfigError, did_you_mean
from vitgan_tf.fields import Section, field
from vitgan_tf.layers.registry import ACTIVATIONS, ATTENTIONS, DECODERS, NORMALIZATIONS, POSITIONS
from vitgan_tf.models.registry import DISCRIMINATORS, GENERATORS, SECTIONS, Network
from vitgan_tf.registries import ADVERSARIAL_LOSSES, AUGMENTATIONS, EXTRACTORS

STYLE_INJECTIONS = ("modulate", "add", "prepend")
POOLINGS = ("class_token", "mean")
SPLITS = ("training", "evaluation")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
XLA_MODES = ("auto", "off", "kernels", "full")
NAN_POLICIES = ("stop", "skip", "rollback")


@dataclasses.dataclass(frozen=True)
class DataConfig(Section):
    """The training images."""

    dataset: str = field("name of the data set")
    image_size: int = field("edge of the square images, in pixels", minimum=1, maximum=8192)
    num_channels: int = field("colour channels of the images", choices=(1, 3))
    flip: bool = field("whether half of the images, drawn anew each time, are mirrored left to right", default=False)


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(Section):
    """The generator; but for architecture and mapping, the ViT generator (paper, "Generator Design")."""

    architecture: str = field(
        "vit, or a baseline, whose sizes are in the section of its name",
        default="vit",
        choices=GENERATORS,
    )
    style_injection: str = field(
        "where w enters: modulate = every layer norm (C, the method), add = the positional embeddings (A), "
        "prepend = as a further token (B)",
        default="modulate",
        choices=STYLE_INJECTIONS,
    )
    decoder: str = field(
        "from patch embeddings to pixels: fourier = network over coordinates (the method), linear = one layer, "
        "conv = StyleGAN2's blocks over the map of tokens",
        default="fourier",
        choices=DECODERS,
    )
    attention: str = field("logits of the self-attention", default="dot_product", choices=ATTENTIONS)
    normalization: str = field("spectral normalisation of the linear layers", default="none", choices=NORMALIZATIONS)
    positions: str = field(
        "positional embedding: fourier = of the patches' centres, learned = a table",
        default="fourier",
        choices=POSITIONS,
    )
    latent_dim: int = field("size of the latent z", default=384, minimum=1)
    embed_dim: int = field("token width D; also the size of the style w", default=384, minimum=1)
    mlp_dim: int = field("hidden width of the blocks' MLP", default=1536, minimum=1)
    num_heads: int = field("attention heads", default=6, minimum=1)
    num_blocks: int = field("transformer blocks", default=4, minimum=1)
    patch_size: int = field("edge of a patch P, in pixels", default=4, minimum=1)
    activation: str = field("activation of the blocks' MLP", default="gelu", choices=ACTIVATIONS)
    mapping_layers: int = field("layers of the mapping network", default=8, minimum=1)
    mapping_lr_multiplier: float = field("learning rate of the mapping network, relative", default=0.01, above=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads("generator", self.embed_dim, self.num_heads)
        if self.decoder == "conv" and self.patch_size & (self.patch_size - 1):
            raise ConfigError(
                f"generator.decoder=conv doubles the resolution step by step: generator.patch_size must be a power "
                f"of 2, got {self.patch_size}"
            )


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(Section):
    """The discriminator; but for architecture, the ViT one (paper, "Regularizing ViT-based Discriminator")."""

    architecture: str = field(
        "vit, or a baseline, whose sizes are in the section of its name",
        default="vit",
        choices=DISCRIMINATORS,
    )
    attention: str = field("logits of the self-attention", default="l2", choices=ATTENTIONS)
    normalization: str = field(
        "of patch projection and blocks: isn = spectral norm held at its initial value, sn = at 1, none",
        default="isn",
        choices=NORMALIZATIONS,
    )
    pooling: str = field(
        "what the head reads: class_token = the output of a further, learned token, mean = the mean over patches",
        default="class_token",
        choices=POOLINGS,
    )
    positions: str = field(
        "positional embedding: fourier = of the patches' centres, learned = a table",
        default="fourier",
        choices=POSITIONS,
    )
    embed_dim: int = field("token width D", default=384, minimum=1)
    mlp_dim: int = field("hidden width of the blocks' MLP", default=1536, minimum=1)
    num_heads: int = field("attention heads", default=6, minimum=1)
    num_blocks: int = field("transformer blocks", default=4, minimum=1)
    patch_size: int = field("edge of a grid patch P, in pixels", default=4, minimum=1)
    patch_overlap: int = field("pixels o by which a patch is extended on every side", default=2, minimum=0)
    activation: str = field("activation of the blocks' MLP", default="gelu", choices=ACTIVATIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads("discriminator", self.embed_dim, self.num_heads)


def _check_heads(network: str, embed_dim: int, num_heads: int) -> None:
    if embed_dim % num_heads:
        raise ConfigError(
            f"{network}.embed_dim must be a multiple of {network}.num_heads, got {embed_dim} and {num_heads}"
        )


@dataclasses.dataclass(frozen=True)
class LossConfig(Section):
    """The adversarial loss and its regularisers (paper, "Experiment Setup")."""

    adversarial: str = field(
        "loss of real against generated images", default="non_saturating", choices=ADVERSARIAL_LOSSES
    )
    bcr_lambda_real: float = field("weight of bCR on real images; 0 turns it off", default=10.0, minimum=0.0)
    bcr_lambda_fake: float = field("weight of bCR on generated images; 0 turns it off", default=10.0, minimum=0.0)
    r1_gamma: float = field("R1 adds gamma / 2 times its penalty; 0 turns it off", default=0.0, minimum=0.0)
    r1_every_steps: int = field(
        "steps between R1 penalties, each weighted by this number; 1 for every step", default=16, minimum=1
    )
    style_mixing: float = field(
        "share of the images that have a second style from a random place of the generator on",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
    )
    path_length_weight: float = field(
        "weight of the generator's path length penalty; 0 turns it off", default=0.0, minimum=0.0
    )
    path_length_every_steps: int = field(
        "steps between path length penalties, each weighted by this number; 1 for every step", default=4, minimum=1
    )
    path_length_decay: float = field(
        "share of a batch's mean path length in the moving average", default=0.01, above=0.0, maximum=1.0
    )
    lecam_lambda: float = field("weight of LeCam; 0 turns it off", default=0.0, minimum=0.0)
    lecam_decay: float = field(
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
class AugmentConfig(Section):
    """DiffAugment (Zhao et al. 2020)."""

    policy: tuple[str, ...] = field(
        "augmentations, applied in this order; empty for none",
        default=("color", "translation", "scaling", "cutout"),
        choices=AUGMENTATIONS,
    )
    probability: float = field(
        "probability of each augmentation, drawn per image", default=0.8, minimum=0.0, maximum=1.0
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig(Section):
    """Optimisation and the length of the run."""

    total_kimg: float = field("length of the run, in thousands of real images", above=0.0)
    batch_size: int = field("real images per step, over all devices", default=128, minimum=1)
    generator_learning_rate: float = field("Adam's learning rate for the generator", default=0.002, above=0.0)
    discriminator_learning_rate: float = field("Adam's learning rate for the discriminator", default=0.002, above=0.0)
    adam_beta1: float = field("Adam's beta1", default=0.0, minimum=0.0, below=1.0)
    adam_beta2: float = field("Adam's beta2", default=0.99, minimum=0.0, below=1.0)
    adam_epsilon: float = field("Adam's epsilon", default=1e-8, above=0.0)
    ema_halflife_kimg: float = field(
        "half-life of the generator's moving average, in thousands of images; 0 for none", default=10.0, minimum=0.0
    )
    ema_rampup: float = field(
        "the half-life is at most this fraction of the images seen so far; 0 for no ramp-up",
        default=0.05,
        minimum=0.0,
    )
    seed: int = field(
        "seed of weights, data order, latents and augmentation", default=0, minimum=0, maximum=2**31 - 1
    )
    microbatch: int = field(
        "images of a step that a device works on at a time: their gradients are summed up, and memory is that of so "
        "many images; must divide each device's share of the batch. 0 = all at once, but on CPUs as many as "
        "need about 1 GB",
        default=0,
        minimum=0,
    )
    steps_per_execution: int = field(
        "steps that a device runs before the host is asked; what is due in between comes at their end. 0 = 1, but on "
        "TPUs 100",
        default=0,
        minimum=0,
    )
    on_nan: str = field(
        "at a loss or gradient that is not finite: stop = end with an error, skip = leave that update out, "
        "rollback = go on from the newest checkpoint with other random numbers",
        default="stop",
        choices=NAN_POLICIES,
    )
    precision: str = field(
        "of both networks' activations and products; weights, spectral norms, softmax, statistics of the norms, "
        "losses and moving average are float32 in all. mixed_float16 is for GPUs, with a scaled loss",
        default="float32",
        choices=PRECISIONS,
    )
    xla: str = field(
        "what XLA compiles: full = the whole step, kernels = runs of element-wise operations, off = nothing; "
        "auto = full on TPUs, kernels on CPUs, off on GPUs",
        default="auto",
        choices=XLA_MODES,
    )


@dataclasses.dataclass(frozen=True)
class LogConfig(Section):
    """What a run writes, and how often. None of it changes the result of the training."""

    scalars_every_steps: int = field(
        "steps between TensorBoard scalars, means over the interval", default=100, minimum=1
    )
    samples_every_kimg: float = field("images between sample grids, in thousands", default=100.0, above=0.0)
    eval_every_kimg: float = field("images between evaluations, in thousands", default=500.0, above=0.0)
    checkpoint_every_kimg: float = field("images between checkpoints, in thousands", default=100.0, above=0.0)
    diagnostics_every_kimg: float = field(
        "images between diagnostics of spectral norms and attention, in thousands; 0 for none",
        default=100.0,
        minimum=0.0,
    )
    keep_checkpoints: int = field(
        "how many of the newest checkpoints are kept: at least two, one to fall back on", default=3, minimum=2
    )
    eval_samples: int = field("generated images per evaluation during training", default=2000, minimum=2)
    eval_real_images: int = field(
        "real images per evaluation during training, drawn at random; 0 for all", default=50_000, minimum=0
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig(Section):
    """What scores are made of; it does not change the training.

    Network and split hold during training too; the numbers there are those of `LogConfig`.
    """

    extractor: str = field(
        "network whose features are compared: tfgan_inception = that of published FIDs, keras_inception = other "
        "weights, not comparable, digits = a classifier of the digits; auto = digits on the digits, else "
        "tfgan_inception",
        default="auto",
        choices=EXTRACTORS,
    )
    split: str = field("real images to compare with", default="training", choices=SPLITS)
    num_generated: int = field("generated images", default=50_000, minimum=2)
    num_real: int = field("real images, drawn at random; 0 for all of the split", default=0, minimum=0)


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
    networks: Mapping[str, Section] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        networks = {name: self.networks.get(name) or SECTIONS[name]() for name in SECTIONS}
        object.__setattr__(self, "networks", networks)
        if self.train.precision == "mixed_float16" and max(self.loss.r1_gamma, self.loss.path_length_weight) > 0:
            raise ConfigError(
                "train.precision=mixed_float16 is too narrow for the second derivatives of R1 (loss.r1_gamma) and of "
                "path lengths (loss.path_length_weight): mixed_bfloat16 is not"
            )
        generator, discriminator = self.chosen_networks()
        generator.check(self)
        discriminator.check(self)
        if self.loss.style_mixing > 0 and not generator.takes_several_styles(self):
            name = "style_injection" if self.generator.architecture == "vit" else "architecture"
            raise ConfigError(
                "loss.style_mixing needs a generator that takes styles in several places, "
                f"got generator.{name}={getattr(self.generator, name)}"
            )

    def __getattr__(self, name: str) -> Any:
        """A network's section."""
        networks = self.__dict__.get("networks", {})
        if name not in networks:
            raise AttributeError(f"a configuration has no section {name!r}")
        return networks[name]

    def value(self, path: str) -> Any:
        """The value of a field, by its path: "train.batch_size"."""
        section, name = path.split(".")
        return getattr(getattr(self, section), name)

    def chosen_networks(self) -> tuple[Network, Network]:
        """Generator and discriminator."""
        return GENERATORS[self.generator.architecture], DISCRIMINATORS[self.discriminator.architecture]

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


def section_types() -> dict[str, type[Section]]:
    """The sections of a configuration by name: the experiment's, then those of networks."""
    types = typing.get_type_hints(ExperimentConfig)
    del types["networks"]
    return {**types, **SECTIONS}


def field_paths() -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """Every field of a configuration as ("section.name", dataclass field, type), in order."""
    for section, section_type in section_types().items():
        types = typing.get_type_hints(section_type)
        for each in dataclasses.fields(section_type):
            yield f"{section}.{each.name}", each, types[each.name]


def short_names() -> dict[str, str]:
    """Field name -> path, for names that are one field's among the experiment's, or failing those among networks'."""
    found: dict[str, list[str]] = {}
    for path, _, _ in field_paths():
        section, name = path.split(".")
        if section not in SECTIONS or all(other.split(".")[0] in SECTIONS for other in found.get(name, [])):
            found.setdefault(name, []).append(path)
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1}


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
    sections = {name: getattr(config, name) for name in section_types()}
    sections.update({name: dataclasses.replace(sections[name], **fields) for name, fields in changes.items()})
    return _from_sections(sections)


def _from_sections(sections: dict[str, Any]) -> ExperimentConfig:
    networks = {name: section for name, section in sections.items() if name in SECTIONS}
    others = {name: section for name, section in sections.items() if name not in SECTIONS}
    return ExperimentConfig(**others, networks=networks)


def as_dict(config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    """A configuration by section and field, as it is in a run's config.json."""
    return {name: dataclasses.asdict(getattr(config, name)) for name in section_types()}


def from_dict(values: dict[str, dict[str, Any]]) -> ExperimentConfig:
    """The inverse of `as_dict`, also of what earlier versions wrote: see `aliases`.

    Raises:
      ConfigError: a section or field is missing, unknown or refused.
    """
    types = section_types()
    try:
        values = aliases.renamed_fields(values)
        return _from_sections({name: types[name](**fields) for name, fields in values.items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"not a configuration of this version: {error}") from error


def is_of_network(path: str) -> bool:
    """Whether a field, by its path, is one of a network."""
    return path.split(".")[0] in ("generator", "discriminator", *SECTIONS)


def unread_fields(config: ExperimentConfig) -> tuple[str, ...]:
    """Paths of the fields of networks that neither network of a configuration reads."""
    read = {path for network in config.chosen_networks() for path in network.arguments.values()}
    paths = (path for path, _, _ in field_paths() if is_of_network(path))
    return tuple(path for path in paths if path not in read and not path.endswith(".architecture"))


def differences(old: ExperimentConfig, new: ExperimentConfig, ignored: tuple[str, ...] = ()) -> list[str]:
    """One "section.name: old -> new" for each field whose value differs and whose path begins with none ignored."""
    found = []
    for path, _, _ in field_paths():
        before, after = old.value(path), new.value(path)
        if before != after and not path.startswith(ignored):
            found.append(f"{path}: {before} -> {after}")
    return found
