"""BigGAN's generator (Brock et al. 2019, appendix B) for images of 4 pixels times a power of 2.

The weights are a dict from a variable's path to its array: from_latents, block_<i>/{first,second,skip} and to_image
have kernel, bias and u; block_<i>/{first,second}_norm/{gain,offset} kernel and u; block_<i>/{first,second}_norm/norm
moving_mean and moving_variance; norm these and gamma, beta. The kernel of a convolution is the matrix that is
normalised, as in the discriminator.
"""

import numpy as np

from .layers import in_float64, relu
from .networks import applied_matrix, dense
from .resnet import convolution

EPSILON = 1e-5
MOMENTUM = 0.9


@in_float64
def batch_statistics(x):
    """The mean and the variance, sum (x - mean)^2 / n, of each feature over the n pixels of all images."""
    pixels = x.reshape(-1, x.shape[-1])
    mean = np.sum(pixels, axis=0) / len(pixels)
    return mean, np.sum((pixels - mean) ** 2, axis=0) / len(pixels)


def _standardize(x, weights, path, moved):
    """(x - mean) / sqrt(variance + epsilon): of the batch where the moved averages are wanted, or the averages."""
    mean, variance = weights[f"{path}/moving_mean"], weights[f"{path}/moving_variance"]
    if moved is not None:
        of_batch = batch_statistics(x)
        moved[f"{path}/moving_mean"] = MOMENTUM * mean + (1 - MOMENTUM) * of_batch[0]
        moved[f"{path}/moving_variance"] = MOMENTUM * variance + (1 - MOMENTUM) * of_batch[1]
        mean, variance = of_batch
    return (x - mean) / np.sqrt(variance + EPSILON)


def _conditional_norm(x, z, weights, path, moved):
    """(1 + z W_gain) standardized x + z W_offset, with an own z for every image."""
    assert f"{path}/gain/bias" not in weights and f"{path}/offset/bias" not in weights
    gain = 1.0 + z @ applied_matrix(weights, f"{path}/gain", "sn")
    offset = z @ applied_matrix(weights, f"{path}/offset", "sn")
    return gain[:, None, None] * _standardize(x, weights, f"{path}/norm", moved) + offset[:, None, None]


@in_float64
def repeat_pixels(x):
    """Every pixel twice along both axes."""
    out = np.zeros((len(x), 2 * x.shape[1], 2 * x.shape[2], x.shape[3]))
    for a, b in np.ndindex(2, 2):
        out[:, a::2, b::2] = x
    return out


def _convolution(x, weights, path, size):
    matrix = applied_matrix(weights, path, "sn")
    return convolution(x, matrix.reshape(size, size, x.shape[-1], -1)) + weights[f"{path}/bias"]


def _block(x, z, weights, path, moved):
    """conv(relu(norm(conv(up(relu(norm(x))))))) + skip(up(x)), the skip a 1 x 1 convolution."""
    residual = repeat_pixels(relu(_conditional_norm(x, z, weights, f"{path}/first_norm", moved)))
    residual = _convolution(residual, weights, f"{path}/first", 3)
    residual = relu(_conditional_norm(residual, z, weights, f"{path}/second_norm", moved))
    residual = _convolution(residual, weights, f"{path}/second", 3)
    return residual + _convolution(repeat_pixels(x), weights, f"{path}/skip", 1)


def num_places(weights):
    """Where a part of z enters: the first map, and every block."""
    return 1 + sum(1 for path in weights if path.startswith("block_") and path.endswith("/first/kernel"))


@in_float64
def synthesis(weights, styles, training=False):
    """(images, moved averages) of the styles (batch, places, dim z); place i takes chunk i of its style.

    Place 0 is the map of 4 x 4 pixels, place i + 1 block i. The averages are by path, none but in training.
    """
    places = num_places(weights)
    assert styles.shape[1] == places and styles.shape[2] % places == 0
    size = styles.shape[2] // places
    chunks = [styles[:, place, place * size : (place + 1) * size] for place in range(places)]
    moved = {} if training else None
    x = dense(chunks[0], weights, "from_latents", "sn").reshape(len(styles), 4, 4, -1)
    for i in range(places - 1):
        x = _block(x, chunks[i + 1], weights, f"block_{i}", moved)
    x = weights["norm/gamma"] * _standardize(x, weights, "norm", moved) + weights["norm/beta"]
    return np.tanh(_convolution(relu(x), weights, "to_image", 3)), moved or {}


@in_float64
def generator(weights, latents, training=False):
    """The same of latents (batch, dim z): one style for all places."""
    return synthesis(weights, np.stack([latents] * num_places(weights), axis=1), training)


# Numbers of trained weights.


def generator_size(image_size, num_channels, width, chunk_dim):
    """Every convolution has a bias; a conditional norm two matrices of chunk_dim rows, the last one two vectors."""
    total = (chunk_dim + 1) * 16 * width
    size = 4
    while size < image_size:
        size *= 2
        total += 2 * 2 * chunk_dim * width + 2 * (9 * width + 1) * width + (width + 1) * width
    return total + 2 * width + (9 * width + 1) * num_channels
