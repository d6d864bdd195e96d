"""The configuration of an experiment, and where its data is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from vitgan_tf.config.fields import Section
from vitgan_tf.config.networks import DISCRIMINATORS, GENERATORS, SECTIONS, Network
from vitgan_tf.config.schema import (
    AugmentConfig,
    DataConfig,
    DiscriminatorConfig,
    EvalConfig,
    GeneratorConfig,
    LogConfig,
    LossConfig,
    TrainConfig,
)
from vitgan_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that defines a run.

    Raises:
      ConfigError: an image is not a whole number of patches, or R1 is to be computed in float16.
    """

    data: DataConfig
    train: TrainConfig
    generator: GeneratorConfig = dataclasses.field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = dataclasses.field(default_factory=DiscriminatorConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
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
