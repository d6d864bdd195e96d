"""StyleGAN2 (Karras et al. 2020) with the discriminator of its ADA version: filters, layers, whole networks.

The weights of a network are a dict of its parts, read from its attributes: no name of a layer counts.
"""

import math

import numpy as np
from scipy.signal import correlate, upfirdn

from . import layers, networks
from .comparison import weights
from .layers import in_float64, to_float64

TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8.0


# Filters. scipy's upfirdn is the full convolution, as if padded by 3 on both sides.


@in_float64
def downsample2d(x):
    """upfirdn2d(x, [1 3 3 1] x [1 3 3 1] / 64, down=2, pad=(1, 1)): every second element from the third on."""
    for axis in (1, 2):
        full = upfirdn(TAPS, x, down=2, axis=axis)
        x = np.take(full, range(1, x.shape[axis] // 2 + 1), axis=axis)
    return x


@in_float64
def blur2d(x):
    """upfirdn2d(x, [1 3 3 1] x [1 3 3 1] / 64, pad=(2, 2)): one element more along each axis."""
    for axis in (1, 2):
        full = upfirdn(TAPS, x, axis=axis)
        x = np.take(full, range(1, x.shape[axis] + 2), axis=axis)
    return x


@in_float64
def upfirdn2d(x, kernel, up=1, down=1, padding=(0, 0)):
    """Its definition: zeros between the pixels, zeros around, convolution where it is whole, every down-th pixel.

    After each pixel, the last one too, come up - 1 zeros; the padding is that before and after, on both axes.
    """
    batch, height, width, channels = x.shape
    spread = np.zeros((batch, height * up, width * up, channels))
    spread[:, ::up, ::up] = x
    spread = np.pad(spread, [(0, 0), padding, padding, (0, 0)])
    rows, columns = spread.shape[1] - kernel.shape[0] + 1, spread.shape[2] - kernel.shape[1] + 1
    out = np.zeros((batch, rows, columns, channels))
    for di, dj in np.ndindex(kernel.shape):
        out += kernel[::-1, ::-1][di, dj] * spread[:, di : di + rows, dj : dj + columns]
    return out[:, ::down, ::down]


# Layers of the discriminator.


@in_float64
def equalized_conv2d(x, kernel, bias=None, downsample=False, activation="leaky_relu"):
    """Cross-correlation with kernel / sqrt(k k in), plus bias; then sqrt(2) leaky_relu(., 0.2), or nothing.

    Without downsampling, zeros outside. With it: 3 x 3, the blur and every second of the whole sums; 1 x 1, on the
    downsampled map.
    """
    size, _, fan_in, units = kernel.shape
    assert size in (1, 3), size
    kernel = kernel / np.sqrt(size * size * fan_in)
    if not downsample:
        margin = (size - 1) // 2
        x = np.pad(x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    else:
        x = blur2d(x) if size == 3 else downsample2d(x)
    stride = 2 if downsample and size == 3 else 1
    sums = [
        [correlate(image, kernel[..., unit], mode="valid", method="direct")[..., 0] for unit in range(units)]
        for image in x
    ]
    y = np.array(sums).transpose(0, 2, 3, 1)[:, ::stride, ::stride]
    if bias is not None:
        y = y + bias
    if activation == "linear":
        return y
    assert activation == "leaky_relu", activation
    return np.sqrt(2.0) * layers.leaky_relu(y, 0.2)


@in_float64
def minibatch_standard_deviation(x, group_size):
    """x with one more feature: sqrt(variance + 1e-8) over a group of consecutive images, its mean over the rest."""
    batch, height, width, channels = x.shape
    size = math.gcd(batch, group_size)
    out = np.zeros((batch, height, width, channels + 1))
    for first in range(0, batch, size):
        group = x[first : first + size]
        total = 0.0
        for i, j, c in np.ndindex(height, width, channels):
            values = group[:, i, j, c]
            variance = np.sum((values - np.sum(values) / size) ** 2) / size
            total += np.sqrt(variance + 1e-8)
        out[first : first + size, ..., :channels] = group
        out[first : first + size, ..., channels] = total / (height * width * channels)
    return out


# Whole networks.


def _kernel_and_bias(layer):
    return to_float64([layer.kernel.numpy(), None if layer.bias is None else layer.bias.numpy()])


def _by_path(layer):
    return {f"layer/{path}": value for path, value in weights(layer).items()}


def generator_weights(network):
    """Of a Keras generator."""
    return to_float64(
        {
            "mapping": [_kernel_and_bias(layer) for layer in network.mapping.dense_layers],
            "constant": network.constant.numpy(),
            "convolutions": [_by_path(layer) for layer in network.synthesis.convolutions],
            "to_images": [_by_path(layer) for layer in network.synthesis.to_images],
        }
    )


@in_float64
def synthesis(weights, styles):
    """Images of the styles (batch, places, style_dim), one for all places if (batch, style_dim).

    The convolutions take the places in their order. A resolution's image is made after its last convolution, by the
    place which the next convolution takes, and added to the upsampled image before.
    """
    convolutions, to_images = weights["convolutions"], weights["to_images"]
    assert len(convolutions) == 2 * len(to_images) - 1
    if styles.ndim == 2:
        styles = np.stack([styles] * 2 * len(to_images), axis=1)
    assert styles.shape[1] == 2 * len(to_images)
    x = np.concatenate([weights["constant"]] * len(styles))
    x = networks.styled_convolution(x, styles[:, 0], convolutions[0], "layer")
    images = networks.to_image(x, styles[:, 1], to_images[0], "layer")
    for level in range(1, len(to_images)):
        place = 2 * level - 1
        x = networks.styled_convolution(x, styles[:, place], convolutions[place], "layer", upsample=True)
        x = networks.styled_convolution(x, styles[:, place + 1], convolutions[place + 1], "layer")
        images = layers.upsample2d(images) + networks.to_image(x, styles[:, place + 2], to_images[level], "layer")
    return images


def generator(weights, latents, mapping_lr_multiplier):
    """Images of the latents (batch, latent_dim), with the fixed noise."""
    return synthesis(weights, networks.mapping_network(latents, weights["mapping"], mapping_lr_multiplier))


def discriminator_weights(network):
    """Of a Keras discriminator."""
    names = "convolution", "downsampling", "skip"
    return {
        "from_image": _kernel_and_bias(network.from_image),
        "blocks": [{name: _kernel_and_bias(getattr(block, name)) for name in names} for block in network.blocks],
        "convolution": _kernel_and_bias(network.convolution),
        "hidden": _kernel_and_bias(network.hidden),
        "head": _kernel_and_bias(network.head),
    }


@in_float64
def discriminator(weights, images, group_size):
    """Logits (batch,)."""
    x = equalized_conv2d(images, *weights["from_image"])
    for block in weights["blocks"]:
        assert block["skip"][1] is None
        skip = equalized_conv2d(x, *block["skip"], downsample=True, activation="linear")
        x = equalized_conv2d(x, *block["convolution"])
        x = equalized_conv2d(x, *block["downsampling"], downsample=True)
        x = (x + skip) / np.sqrt(2.0)
    assert x.shape[1:3] == (4, 4), x.shape
    x = minibatch_standard_deviation(x, group_size)
    x = equalized_conv2d(x, *weights["convolution"])
    x = layers.equalized_dense(x.reshape(len(x), -1), *weights["hidden"])
    x = np.sqrt(2.0) * layers.leaky_relu(x, 0.2)
    return layers.equalized_dense(x, *weights["head"])[:, 0]


# Path lengths.


@in_float64
def path_lengths(gradients):
    """sqrt(mean over the places of |gradient at the place|^2) of each image."""
    return np.array([np.sqrt(np.mean([np.sum(place**2) for place in image])) for image in gradients])


@in_float64
def path_length_penalty(lengths, mean):
    """mean (length - mean)^2."""
    return np.sum((lengths - mean) ** 2) / len(lengths)


# Numbers of trained weights, counted layer by layer.


def features(resolution, channel_base, channel_max):
    """Feature maps at a resolution."""
    return min(channel_base // resolution, channel_max)


def generator_size(
    image_size, channel_base, channel_max=512, num_channels=3, latent_dim=512, style_dim=512, mapping_layers=8
):
    """Weights of the generator, its fixed noise excepted."""

    def affine(fan_in):
        return (style_dim + 1) * fan_in

    def styled(fan_in, units):
        return affine(fan_in) + 9 * fan_in * units + units + 1  # one noise strength

    def to_image(fan_in):
        return affine(fan_in) + (fan_in + 1) * num_channels

    width = features(4, channel_base, channel_max)
    mapping = (latent_dim + 1) * style_dim + (mapping_layers - 1) * (style_dim + 1) * style_dim
    total = mapping + 4 * 4 * width + styled(width, width) + to_image(width)
    resolution = 8
    while resolution <= image_size:
        before, width = width, features(resolution, channel_base, channel_max)
        total += styled(before, width) + styled(width, width) + to_image(width)
        resolution *= 2
    return total


def noise_size(image_size):
    """Pixels of the fixed noise: one map at 4 x 4, two at each resolution above."""
    return 16 + sum(2 * 4**level for level in range(3, int(math.log2(image_size)) + 1))


def discriminator_size(image_size, channel_base, channel_max=512, num_channels=3):
    """Weights of the discriminator."""
    width = features(image_size, channel_base, channel_max)
    total = (num_channels + 1) * width
    resolution = image_size
    while resolution > 4:
        after = features(resolution // 2, channel_base, channel_max)
        total += (9 * width + 1) * width + (9 * width + 1) * after + width * after
        width, resolution = after, resolution // 2
    return total + (9 * (width + 1) + 1) * width + (16 * width + 1) * width + width + 1
