"""Adversarial losses and consistency regularisation: pure functions of logits.

Logits are (batch,), before any sigmoid; the results are scalars, means over the batch.
"""

from __future__ import annotations

import tensorflow as tf


def non_saturating_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """L_D = mean softplus(-D(x)) + mean softplus(D(G(z)))      (Goodfellow et al. 2014)"""
    return tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(tf.nn.softplus(fake_logits))


def non_saturating_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """L_G = mean softplus(-D(G(z)))      (Goodfellow et al. 2014)"""
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def consistency_loss(logits: tf.Tensor, other_view_logits: tf.Tensor) -> tf.Tensor:
    """mean (D(T(x)) - D(T'(x)))^2: bCR's term, on real or on generated images, unweighted (Zhao et al. 2021).

    T and T' are independent augmentations of the same images, as in the authors' reproduction.
    """
    return tf.reduce_mean(tf.math.squared_difference(logits, other_view_logits))
