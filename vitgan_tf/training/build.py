"""Builds the networks and optimisers of a configuration, and traces their step."""

from __future__ import annotations

import tensorflow as tf

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.models.build import build_discriminator, build_generator
from vitgan_tf.training.gan import GAN
from vitgan_tf.training.plan import ExecutionPlan, execution_plan


def build_gan(config: ExperimentConfig, plan: ExecutionPlan | None = None) -> GAN:
    """Builds both networks and their optimisers from the seed of a configuration, under the current strategy.

    Sets the global random seeds.

    Args:
      config: configuration of the experiment.
      plan: execution plan; default: that of `execution_plan` for the current strategy.

    Raises:
      UserError: the configuration does not fit the devices: see `execution_plan`.
    """
    plan = plan or execution_plan(config)
    tf.keras.utils.set_random_seed(config.train.seed)
    with plan.precision_policy():
        generator, discriminator = build_generator(config), build_discriminator(config)
    gan = GAN(generator, discriminator, config)
    gan.compile(plan)
    return gan


def trace_step(gan: GAN) -> tf.types.experimental.ConcreteFunction:
    """Traces the training step of a GAN by its plan, for the whole batch on one replica."""
    data = gan.config.data
    images = tf.TensorSpec([gan.config.images_per_step, data.image_size, data.image_size, data.num_channels])
    return tf.function(gan.train_step, autograph=False).get_concrete_function(images)
