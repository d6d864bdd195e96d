"""Configuration of an experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vitgan_tf.config.data import DataConfig
from vitgan_tf.config.evaluation import EvalConfig
from vitgan_tf.config.fields import Section
from vitgan_tf.config.loss import LossConfig
from vitgan_tf.config.networks import DISCRIMINATORS, GENERATORS, SECTIONS, Network
from vitgan_tf.config.schema import (
    AugmentConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LogConfig,
    TrainConfig,
)
from vitgan_tf.errors import ConfigError

# Weights of penalties on gradients.
_SECOND_DERIVATIVES = ("r1_gamma", "r2_gamma", "gradient_penalty_weight", "path_length_weight")


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Complete definition of a run.

    Raises:
      ConfigError: a network does not fit the image size, mixed_float16 is combined with a penalty on
        gradients, style mixing with a generator that takes its style in one place only, or ContraD with a
        discriminator that has no head for it.
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
        used = [name for name in _SECOND_DERIVATIVES if getattr(self.loss, name) > 0]
        if self.train.precision == "mixed_float16" and used:
            raise ConfigError(
                f"train.precision=mixed_float16 is too narrow for the second derivatives of loss.{used[0]}: use "
                "mixed_bfloat16"
            )
        generator, discriminator = self.chosen_networks()
        generator.check(self)
        discriminator.check(self)
        if self.loss.uses_contrad and not discriminator.may_contrast:
            raise ConfigError(
                "loss.contrad_lambda_real and loss.contrad_lambda_fake need discriminator.architecture=vit or "
                f"stylegan2, got {self.discriminator.architecture}"
            )
        if self.loss.style_mixing > 0 and not generator.takes_several_styles(self):
            name = "style_injection" if self.generator.architecture == "vit" else "architecture"
            raise ConfigError(
                "loss.style_mixing needs a generator that takes styles in several places, "
                f"got generator.{name}={getattr(self.generator, name)}"
            )

    def __getattr__(self, name: str) -> Any:
        """Returns the section of a network."""
        networks = self.__dict__.get("networks", {})
        if name not in networks:
            raise AttributeError(f"the configuration has no section {name!r}")
        return networks[name]

    def value(self, path: str) -> Any:
        """Returns the value of a field by its path, for example "train.batch_size"."""
        section, name = path.split(".")
        return getattr(getattr(self, section), name)

    def chosen_networks(self) -> tuple[Network, Network]:
        """Returns the generator and the discriminator."""
        return GENERATORS[self.generator.architecture], DISCRIMINATORS[self.discriminator.architecture]

    @property
    def images_per_step(self) -> int:
        """Real images per training step: a batch for each update of the discriminator."""
        return self.train.discriminator_steps * self.train.batch_size

    @property
    def total_steps(self) -> int:
        """Number of training steps in the whole run."""
        return self.kimg_to_steps(self.train.total_kimg)

    def kimg_to_steps(self, kimg: float) -> int:
        """Returns the first step, at least 1, by which `kimg` thousand real images have been seen."""
        return max(1, -int(-kimg * 1000 // self.images_per_step))
