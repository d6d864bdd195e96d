"""Adversarial losses and regularisers: pure functions of logits, gradients and projections.

Logits are (batch,), before any sigmoid. Losses are unweighted scalars, averaged over the batch.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import tensorflow as tf


def non_saturating_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """L_D = mean softplus(-D(x)) + mean softplus(D(G(z)))      (Goodfellow et al. 2014)"""
    return tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(tf.nn.softplus(fake_logits))


def non_saturating_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """L_G = mean softplus(-D(G(z)))      (Goodfellow et al. 2014)"""
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def hinge_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """L_D = mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))      (Lim, Ye 2017; Miyato et al. 2018, Eq. 17)"""
    return tf.reduce_mean(tf.nn.relu(1.0 - real_logits)) + tf.reduce_mean(tf.nn.relu(1.0 + fake_logits))


def wasserstein_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """L_D = mean D(G(z)) - mean D(x)      (Arjovsky et al. 2017)"""
    return tf.reduce_mean(fake_logits) - tf.reduce_mean(real_logits)


def negative_logit_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """L_G = -mean D(G(z)): the generator loss of the hinge and Wasserstein GANs."""
    return -tf.reduce_mean(fake_logits)


def relativistic_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """L_D = mean softplus(D(G(z)) - D(x)): each real image with a generated one (Jolicoeur-Martineau 2019)."""
    return tf.reduce_mean(tf.nn.softplus(fake_logits - real_logits))


def relativistic_generator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """L_G = mean softplus(D(x) - D(G(z)))      (R3GAN: Huang et al. 2024, section 2)"""
    return tf.reduce_mean(tf.nn.softplus(real_logits - fake_logits))


class AdversarialLoss(NamedTuple):
    """A pair of discriminator and generator losses.

    Attributes:
      discriminator: (real logits, fake logits) -> L_D.
      generator: fake logits -> L_G; with compares, (real logits, fake logits) -> L_G.
      compares: whether the generator loss also takes real logits. The generator step then passes real images through
        the discriminator.
    """

    discriminator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    generator: Callable[..., tf.Tensor]
    compares: bool = False


NON_SATURATING = AdversarialLoss(non_saturating_discriminator_loss, non_saturating_generator_loss)
HINGE = AdversarialLoss(hinge_discriminator_loss, negative_logit_generator_loss)
WASSERSTEIN = AdversarialLoss(wasserstein_discriminator_loss, negative_logit_generator_loss)
RELATIVISTIC = AdversarialLoss(relativistic_discriminator_loss, relativistic_generator_loss, compares=True)


def consistency_loss(logits: tf.Tensor, other_view_logits: tf.Tensor) -> tf.Tensor:
    """mean (D(T(x)) - D(T'(x)))^2: the bCR term, for real or generated images (Zhao et al. 2021).

    T and T' are independent augmentations of the same images, as in the authors' reproduction.
    """
    return tf.reduce_mean(tf.math.squared_difference(logits, other_view_logits))


def r1_penalty(gradients: tf.Tensor) -> tf.Tensor:
    """mean |dD(x)/dx|^2; its weight is gamma / 2      (Mescheder et al. 2018, Eq. 9 and 10)

    R1 over real images, R2 over generated ones.

    Args:
      gradients: gradient of each image's logit with respect to that image, (batch, height, width, channels).
    """
    return tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3]))


def gradient_penalty(gradients: tf.Tensor, target: float = 1.0) -> tf.Tensor:
    """mean (|dD(x)/dx| / target - 1)^2 over images between real and generated ones (Gulrajani et al. 2017, Eq. 3).

    Args:
      gradients: gradient of each image's logit with respect to that image, (batch, height, width, channels).
      target: norm without a penalty. TransGAN's code has this division too.
    """
    # As tensorflow-gan has it: a norm of 0 has no derivative.
    norms = tf.sqrt(tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3]) + 1e-10)
    return tf.reduce_mean(tf.square(norms / target - 1.0))


def drift_penalty(real_logits: tf.Tensor) -> tf.Tensor:
    """mean D(x)^2: keeps the logits of a Wasserstein loss near 0 (Karras et al. 2018, appendix A.1)."""
    return tf.reduce_mean(tf.square(real_logits))


def path_lengths(gradients: tf.Tensor) -> tf.Tensor:
    """|J_w^T y|, the path length of each image, (batch,)      (Karras et al. 2020, section 3.2)

    With several styles per image, the root mean square over them, as in the authors' code.

    Args:
      gradients: gradient of sum(images * y) with respect to the styles, (batch, num_styles, style_dim). y is N(0, 1)
        divided by the image size, so that path lengths do not grow with it.
    """
    return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=2), axis=1))


def path_length_penalty(lengths: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    """mean (|J_w^T y| - a)^2      (Karras et al. 2020, Eq. 4)

    Args:
      lengths: `path_lengths` of the images.
      mean: a, the moving average of the mean path length.
    """
    return tf.reduce_mean(tf.square(lengths - mean))


def lecam_loss(
    real_logits: tf.Tensor, fake_logits: tf.Tensor, real_average: tf.Tensor, fake_average: tf.Tensor
) -> tf.Tensor:
    """mean (D(x) - a_F)^2 + mean (D(G(z)) - a_R)^2      (LeCam: Tseng et al. 2021, Eq. 3)

    Args:
      real_logits: D(x).
      fake_logits: D(G(z)).
      real_average: a_R, moving average of mean D(x), a scalar.
      fake_average: a_F, moving average of mean D(G(z)), a scalar.
    """
    return tf.reduce_mean(tf.math.squared_difference(real_logits, fake_average)) + tf.reduce_mean(
        tf.math.squared_difference(fake_logits, real_average)
    )


def rectified_lecam_loss(
    real_logits: tf.Tensor, fake_logits: tf.Tensor, real_average: tf.Tensor, fake_average: tf.Tensor
) -> tf.Tensor:
    """mean max(0, D(x) - a_F)^2 + mean max(0, a_R - D(G(z)))^2      (code of the authors of LeCam)

    Unlike in `lecam_loss`, a logit that is already beyond the other average adds nothing. The arguments are those of
    `lecam_loss`.
    """
    return tf.reduce_mean(tf.square(tf.nn.relu(real_logits - fake_average))) + tf.reduce_mean(
        tf.square(tf.nn.relu(real_average - fake_logits))
    )


def simclr_loss(projections: tf.Tensor, other_projections: tf.Tensor, temperature: float) -> tf.Tensor:
    """-mean log softmax_j(p_i . p_j / temperature) at the other view of image i      (SimCLR: Chen et al. 2020)

    j runs over all views but i itself. Over real images, it is ContraD's L_con+ (Jeong and Shin 2021, section 3.1).

    Args:
      projections: first views, unit vectors, (batch, features).
      other_projections: second views of the same images.
      temperature: divisor of the similarities.
    """
    size = projections.shape[0]
    log_shares = _log_shares(tf.concat([projections, other_projections], axis=0), temperature)
    pairs = tf.linalg.diag_part(log_shares[:size, size:]), tf.linalg.diag_part(log_shares[size:, :size])
    return -tf.reduce_mean(tf.concat(pairs, axis=0))


def supervised_contrastive_loss(
    real: tf.Tensor, real_again: tf.Tensor, fake: tf.Tensor, temperature: float
) -> tf.Tensor:
    """-mean log softmax_j(p_i . p_j / temperature) at the other generated images, of generated images i.

    j runs over all views but i itself, also over both views of the real images. ContraD's L_con-, which draws
    generated images together and away from real ones (Jeong and Shin 2021, section 3.2; Khosla et al. 2020).

    Args:
      real: first views of real images, unit vectors, (batch, features).
      real_again: second views of the same images.
      fake: views of as many generated images, at least 2.
      temperature: divisor of the similarities.
    """
    size = fake.shape[0]
    log_shares = _log_shares(tf.concat([real, real_again, fake], axis=0), temperature)[-size:, -size:]
    of_others = tf.linalg.set_diag(log_shares, tf.zeros([size]))
    return -tf.reduce_sum(of_others) / (size * (size - 1))


def _log_shares(projections: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns log softmax_j(p_i . p_j / temperature) over all j but i, (count, count), with -inf for j = i."""
    similarities = tf.matmul(projections, projections, transpose_b=True) / temperature
    itself = tf.fill([projections.shape[0]], similarities.dtype.min)
    return tf.nn.log_softmax(tf.linalg.set_diag(similarities, itself))
