"""The discriminator of spectrally normalised GANs (Miyato et al. 2018, figure 8 and table 3).

The weights are a dict from a variable's path to its array: block_<i>/{first,second,skip}/{kernel,bias} and
head/{kernel,bias}, with u and, under "isn", initial_sigma beside them. The kernel of a convolution is the matrix that
is normalised: its rows are the places of the window, row by row and with the features innermost.
"""

import numpy as np
from scipy.signal import correlate2d

from .layers import in_float64, relu
from .networks import applied_matrix, dense

# Blocks that halve the resolution, of the images' edge.
HALVINGS = {8: 1, 16: 1, 32: 2, 64: 3}


@in_float64
def convolution(x, kernel):
    """Cross-correlation with kernel (kh, kw, in, out), zeros outside the image, which keeps its size."""
    batch, height, width, _ = x.shape
    out = np.zeros((batch, height, width, kernel.shape[-1]))
    for b, channel, unit in np.ndindex(batch, *kernel.shape[2:]):
        out[b, :, :, unit] += correlate2d(x[b, :, :, channel], kernel[:, :, channel, unit], mode="same")
    return out


@in_float64
def mean_pool(x):
    """The mean of each 2 x 2 pixels."""
    return (x[:, 0::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 0::2] + x[:, 1::2, 1::2]) / 4


def _convolution(x, weights, path, size, normalization):
    matrix = applied_matrix(weights, path, normalization)
    return convolution(x, matrix.reshape(size, size, x.shape[-1], -1)) + weights[f"{path}/bias"]


@in_float64
def block(x, weights, path="", *, downsample, is_first, normalization):
    """pool(conv(relu(conv(relu(x))))) + pool(skip(x)), without the first relu in a network's first block.

    The skip is a 1 x 1 convolution, or nothing where neither resolution nor features change.
    """
    residual = x if is_first else relu(x)
    residual = _convolution(residual, weights, f"{path}first", 3, normalization)
    residual = _convolution(relu(residual), weights, f"{path}second", 3, normalization)
    assert (f"{path}skip/kernel" in weights) == (downsample or x.shape[-1] != residual.shape[-1])
    skip = _convolution(x, weights, f"{path}skip", 1, normalization) if f"{path}skip/kernel" in weights else x
    return mean_pool(residual) + mean_pool(skip) if downsample else residual + skip


@in_float64
def discriminator(weights, images, *, normalization):
    """Logits (batch,): blocks down to 8 x 8 (4 x 4 from 8 x 8), two more, relu, sum over all pixels, linear layer."""
    halvings = HALVINGS[images.shape[1]]
    assert f"block_{halvings + 2}/first/kernel" not in weights
    x = images
    for i in range(halvings + 2):
        options = {"downsample": i < halvings, "is_first": i == 0, "normalization": normalization}
        x = block(x, weights, f"block_{i}/", **options)
    return dense(np.sum(relu(x), axis=(1, 2)), weights, "head", normalization)[:, 0]
