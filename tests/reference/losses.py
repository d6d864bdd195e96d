"""Losses, regularisers, and a gradient by finite differences."""

import numpy as np

from .layers import in_float64, relu


@in_float64
def softplus(x):
    """log(1 + exp(x))."""
    return np.logaddexp(0.0, x)


@in_float64
def non_saturating_discriminator(real_logits, fake_logits):
    """mean softplus(-D(x)) + mean softplus(D(G(z)))."""
    return np.mean(softplus(-real_logits)) + np.mean(softplus(fake_logits))


@in_float64
def non_saturating_generator(fake_logits):
    """mean softplus(-D(G(z)))."""
    return np.mean(softplus(-fake_logits))


@in_float64
def hinge_discriminator(real_logits, fake_logits):
    """mean relu(1 - D(x)) + mean relu(1 + D(G(z)))."""
    return np.mean(relu(1.0 - real_logits)) + np.mean(relu(1.0 + fake_logits))


@in_float64
def hinge_generator(fake_logits):
    """-mean D(G(z))."""
    return -np.mean(fake_logits)


@in_float64
def wasserstein_discriminator(real_logits, fake_logits):
    """mean D(G(z)) - mean D(x)."""
    return np.mean(fake_logits) - np.mean(real_logits)


@in_float64
def wasserstein_generator(fake_logits):
    """-mean D(G(z))."""
    return -np.mean(fake_logits)


@in_float64
def relativistic_discriminator(real_logits, fake_logits):
    """mean softplus(D(G(z)) - D(x)) over pairs."""
    return np.mean([softplus(fake - real) for real, fake in zip(real_logits, fake_logits)])


@in_float64
def relativistic_generator(real_logits, fake_logits):
    """mean softplus(D(x) - D(G(z))) over pairs."""
    return np.mean([softplus(real - fake) for real, fake in zip(real_logits, fake_logits)])


@in_float64
def consistency(logits, other_logits):
    """bCR, without its weight: mean (D(T(x)) - D(T'(x)))^2 over the images."""
    return np.mean((logits - other_logits) ** 2)


@in_float64
def r1_penalty(gradient):
    """mean over the images of |dD/dx|^2 (the caller multiplies by gamma / 2)."""
    return np.mean([np.sum(of_image**2) for of_image in gradient])


@in_float64
def lecam(real_logits, fake_logits, real_average, fake_average):
    """mean (D(x) - a_fake)^2 + mean (D(G(z)) - a_real)^2 (Tseng et al. 2021), a the moving averages."""
    return np.mean((real_logits - fake_average) ** 2) + np.mean((fake_logits - real_average) ** 2)


@in_float64
def rectified_lecam(real_logits, fake_logits, real_average, fake_average):
    """The authors' code: only logits on the right side of the other average count."""
    real = [max(0.0, logit - fake_average) ** 2 for logit in real_logits]
    fake = [max(0.0, real_average - logit) ** 2 for logit in fake_logits]
    return np.mean(real) + np.mean(fake)


def _log_share(vectors, i, j, temperature):
    """log of e^(p_i . p_j / t) over its sum for all other k than i."""
    others = [np.exp(np.dot(vectors[i], vectors[k]) / temperature) for k in range(len(vectors)) if k != i]
    return np.dot(vectors[i], vectors[j]) / temperature - np.log(np.sum(others))


@in_float64
def simclr(views, other_views, temperature):
    """Each view's other one among all views of all images (Chen et al. 2020)."""
    size, vectors = len(views), np.concatenate([views, other_views])
    return -np.mean([_log_share(vectors, i, (i + size) % (2 * size), temperature) for i in range(2 * size)])


@in_float64
def supervised_contrast(real, real_again, fake, temperature):
    """Each generated image's mean over the other generated ones, among these and both views of the real ones."""
    size, vectors = len(fake), np.concatenate([real, real_again, fake])
    generated = range(2 * size, 3 * size)
    return -np.mean([_log_share(vectors, i, j, temperature) for i in generated for j in generated if i != j])


@in_float64
def finite_difference_gradient(function, x, epsilon=1e-5):
    """(f(x + epsilon e_i) - f(x - epsilon e_i)) / (2 epsilon) for every element i; f is scalar."""
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[index] = epsilon
        gradient[index] = (function(x + step) - function(x - step)) / (2.0 * epsilon)
    return gradient
