"""Losses on fixed logits, with the arithmetic beside them."""

import math

import numpy as np
import tensorflow as tf

from vitgan_tf import losses

REAL = tf.constant([0.0, 2.0, -1.0, 30.0])
FAKE = tf.constant([1.0, 0.0, -2.0, -30.0])


def test_non_saturating_losses():
    real_terms = [math.log(2.0), math.log1p(math.exp(-2.0)), math.log1p(math.exp(1.0)), 0.0]
    fake_terms = [math.log1p(math.exp(1.0)), math.log(2.0), math.log1p(math.exp(-2.0)), 0.0]
    expected = sum(real_terms) / 4 + sum(fake_terms) / 4
    np.testing.assert_allclose(losses.non_saturating_discriminator_loss(REAL, FAKE).numpy(), expected, rtol=1e-6)
    generator_terms = [math.log1p(math.exp(-1.0)), math.log(2.0), math.log1p(math.exp(2.0)), 30.0]
    np.testing.assert_allclose(
        losses.non_saturating_generator_loss(FAKE).numpy(), sum(generator_terms) / 4, rtol=1e-6
    )


def test_an_undecided_discriminator_has_loss_two_log_two():
    zeros = tf.zeros([8])
    np.testing.assert_allclose(
        losses.non_saturating_discriminator_loss(zeros, zeros).numpy(), 2 * math.log(2), rtol=1e-6
    )


def test_losses_are_finite_and_have_gradients_at_extreme_logits():
    logits = tf.constant([-1e4, 1e4])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        d_loss = losses.non_saturating_discriminator_loss(logits, logits)
        g_loss = losses.non_saturating_generator_loss(logits)
    np.testing.assert_allclose(tape.gradient(d_loss, logits).numpy(), [-0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(tape.gradient(g_loss, logits).numpy(), [-0.5, 0.0], atol=1e-6)


def test_consistency_loss_pairs_views_of_the_same_image():
    # (0 - 1)^2, (2 - 0)^2, (-1 + 2)^2, 60^2: not every image against every other.
    np.testing.assert_allclose(losses.consistency_loss(REAL, FAKE).numpy(), (1 + 4 + 1 + 3600) / 4, rtol=1e-6)
    assert losses.consistency_loss(REAL, REAL).numpy() == 0
