"""Losses on fixed logits, with the arithmetic beside them."""

import math
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_gan as tfgan

from vitgan_tf import losses
from vitgan_tf.registries import ADVERSARIAL_LOSSES

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


def test_hinge_and_wasserstein_losses():
    # Hinge: max(0, 1 - (0, 2, -1, 30)) = 1, 0, 2, 0; max(0, 1 + (1, 0, -2, -30)) = 2, 1, 0, 0.
    np.testing.assert_allclose(losses.hinge_discriminator_loss(REAL, FAKE).numpy(), 3 / 4 + 3 / 4, rtol=1e-6)
    # Means: real 31 / 4, fake -31 / 4.
    np.testing.assert_allclose(losses.wasserstein_discriminator_loss(REAL, FAKE).numpy(), -62 / 4, rtol=1e-6)
    for name in ("hinge", "wasserstein"):
        np.testing.assert_allclose(ADVERSARIAL_LOSSES[name].generator(FAKE).numpy(), 31 / 4, rtol=1e-6)


def test_r1_penalty_sums_over_pixels_and_averages_over_images():
    gradients = tf.constant([[[[1.0, 2.0]], [[0.0, 2.0]]], [[[3.0, 0.0]], [[0.0, 0.0]]]])  # squares: 9 and 9
    np.testing.assert_allclose(losses.r1_penalty(gradients).numpy(), 9.0, rtol=1e-6)
    np.testing.assert_allclose(losses.r1_penalty(gradients[:, :, :, :1]).numpy(), (1 + 9) / 2, rtol=1e-6)


def test_lecam_compares_each_side_with_the_average_of_the_other():
    # Real logits with a_F = 1: 1, 1, 4, 841; fake ones with a_R = -1: 4, 1, 1, 841.
    value = losses.lecam_loss(REAL, FAKE, real_average=tf.constant(-1.0), fake_average=tf.constant(1.0))
    np.testing.assert_allclose(value.numpy(), 847 / 4 + 847 / 4, rtol=1e-6)


def test_gradient_penalty_equals_that_of_tensorflow_gan():
    """Of a quadratic discriminator, for images between pairs at the places that tensorflow-gan draws."""
    real, fake = (np.random.normal(size=(5, 3, 3, 2)).astype(np.float32) for _ in range(2))
    share = np.random.uniform(size=(5, 1, 1, 1)).astype(np.float32)
    images = real + share * (fake - real)
    with tf.Graph().as_default(), mock.patch.object(tf.random, "uniform", lambda shape: tf.constant(share)):
        penalty = tfgan.losses.losses_impl.wasserstein_gradient_penalty(
            real, fake, None, lambda x, _: tf.reduce_sum(x**2 - 0.5 * x, axis=[1, 2, 3]), "d", target=1.7
        )
        with tf.compat.v1.Session() as session:
            expected = session.run(penalty)
    gradients = tf.constant(2 * images - 0.5)
    np.testing.assert_allclose(losses.gradient_penalty(gradients, target=1.7), expected, rtol=1e-5)


def test_a_vanishing_gradient_has_a_penalty_with_a_derivative():
    gradients = tf.zeros([2, 3, 3, 1])
    with tf.GradientTape() as tape:
        tape.watch(gradients)
        penalty = losses.gradient_penalty(gradients)
    np.testing.assert_allclose(penalty, 1.0, rtol=1e-4)
    np.testing.assert_array_equal(tape.gradient(penalty, gradients), np.zeros([2, 3, 3, 1]))


def test_drift_is_the_mean_square_of_real_logits():
    np.testing.assert_allclose(losses.drift_penalty(REAL), (0 + 4 + 1 + 900) / 4, rtol=1e-6)
