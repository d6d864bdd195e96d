"""Exponential moving average of a network's weights."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.layers.normalization import BatchNorm


def ema_beta(images_seen: tf.Tensor, batch_size: int, halflife_kimg: float, rampup: float) -> tf.Tensor:
    """Decay of the average in a step: 0.5^(batch_size / half-life in images).

    The half-life is at most `rampup` times the images seen so far, so that the average forgets its untrained initial
    weights (Karras et al. 2020, as in StyleGAN2-ADA's code).

    Args:
      images_seen: number of real images before this step, a scalar.
      batch_size: images in this step.
      halflife_kimg: half-life in thousands of images; 0 for an average equal to the weights.
      rampup: limit of the half-life as a fraction of images_seen; 0 for no limit.

    Returns:
      A scalar in [0, 1), float32.
    """
    halflife = tf.constant(halflife_kimg * 1000.0, tf.float32)
    if rampup > 0:
        halflife = tf.minimum(halflife, tf.cast(images_seen, tf.float32) * rampup)
    return tf.pow(0.5, batch_size / tf.maximum(halflife, 1e-8))


def initial_average(generator: tf.keras.Model) -> tf.keras.Model:
    """Returns a generator of the same structure, with the same weights, as the start of their average."""
    average = type(generator).from_config({**generator.get_config(), "name": "ema_generator"})
    with tf.variable_creator_scope(_create_with_zeros):
        average.build((None, generator.latent_dim))
    average.set_weights(generator.get_weights())
    return average


def _create_with_zeros(create: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
    """Creates a variable without drawing random numbers for a value that is overwritten."""
    return create(**{**kwargs, "initial_value": lambda: tf.zeros(kwargs["shape"], kwargs["dtype"])})


def update_ema(average: tf.keras.Model, network: tf.keras.Model, beta: tf.Tensor) -> None:
    """average <- beta * average + (1 - beta) * network for trainable weights and batch-norm statistics.

    Other variables are copied. Each replica averages its own copy of the network: copies are equal, and so are their
    averages, without communication.
    """
    statistics = {id(variable) for variable in _batch_statistics(network)}

    def update_all(strategy: tf.distribute.Strategy, rate: tf.Tensor) -> None:
        for mean, weight in zip(average.trainable_variables, network.trainable_variables):
            strategy.extended.update(mean, _move_towards, args=(weight, rate), group=False)
        for mean, weight in zip(average.non_trainable_variables, network.non_trainable_variables):
            if id(weight) in statistics:
                strategy.extended.update(mean, _move_towards, args=(weight, rate), group=False)
            else:
                strategy.extended.update(mean, _copy, args=(weight,), group=False)

    tf.distribute.get_replica_context().merge_call(update_all, args=(1.0 - beta,))


def _batch_statistics(network: tf.keras.Model) -> list[tf.Variable]:
    """Returns the moving means and variances of all batch norms."""
    layers = (layer for layer in network.submodules if isinstance(layer, BatchNorm))
    return [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]


def _move_towards(mean: tf.Variable, weight: tf.Tensor, rate: tf.Tensor) -> None:
    # mean - rate (mean - weight), in place, in a single pass after the difference.
    tf.raw_ops.ResourceApplyGradientDescent(var=mean.handle, alpha=rate, delta=mean - weight)


def _copy(mean: tf.Variable, weight: tf.Tensor) -> None:
    mean.assign(weight)
