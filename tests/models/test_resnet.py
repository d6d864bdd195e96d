"""The ResNet discriminator of spectrally normalised GANs against its float64 reference, its size and its slope."""

import math

import numpy as np
import pytest
import tensorflow as tf
from reference import resnet as reference
from reference.comparison import (
    assert_close,
    converge_power_iterations,
    float64_layers,
    moved,
    randomize,
    unit_directions,
    variables,
    weights,
)
from reference.layers import spectral_norm_step

from vitgan_tf.layers.spectral import move_power_iterations, normalized_layers
from vitgan_tf.models.resnet import ResNetBlock, ResNetDiscriminator

pytestmark = pytest.mark.slow

WIDTH = 4


def _discriminator(image_size, spectral_norm="sn", num_channels=3):
    network = ResNetDiscriminator(image_size, num_channels, WIDTH, spectral_norm)
    network.build((None, image_size, image_size, num_channels))
    return network


def _images(image_size, batch_size=2, num_channels=3):
    shape = (batch_size, image_size, image_size, num_channels)
    return np.random.uniform(-1, 1, size=shape).astype(np.float32)


@pytest.mark.parametrize("spectral_norm", ["sn", "isn", "none"])
@pytest.mark.parametrize("features", [WIDTH, 3])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("downsample", [True, False])
def test_block(downsample, is_first, features, spectral_norm):
    block = ResNetBlock(WIDTH, downsample, is_first, spectral_norm)
    x = np.random.normal(size=(2, 4, 6, features)).astype(np.float32)
    block.build(x.shape)
    randomize(block)
    options = {"downsample": downsample, "is_first": is_first, "normalization": spectral_norm}
    expected = reference.block(x, weights(block), **options)
    assert expected.shape == ((2, 2, 3, WIDTH) if downsample else (2, 4, 6, WIDTH))
    assert_close(block(x), expected)


@pytest.mark.parametrize("spectral_norm", ["sn", "isn", "none"])
@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_discriminator(image_size, spectral_norm):
    network, images = _discriminator(image_size, spectral_norm), _images(image_size)
    randomize(network)
    # Twice: in the second round every u has moved.
    for _ in range(2):
        expected = reference.discriminator(weights(network), images, normalization=spectral_norm)
        logits = network(images)
        assert logits.shape == (2,)
        assert_close(logits, expected)
        move_power_iterations(normalized_layers(network))
        randomize(network)


@pytest.mark.parametrize("spectral_norm", ["sn", "isn", "none"])
def test_gradients_of_the_discriminator(spectral_norm):
    """In float64 along a random direction of each weight, against central differences of the reference."""
    with float64_layers():
        network = _discriminator(8, spectral_norm, num_channels=2)
    images, upstream = _images(8, num_channels=2).astype(np.float64), np.random.normal(size=2)
    randomize(network)
    converge_power_iterations(network)
    trainable = {path: variable for path, variable in variables(network).items() if variable.trainable}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(images) * upstream)
    gradients = tape.gradient(loss, trainable)
    values = weights(network)
    for path, direction in unit_directions(values, trainable).items():
        # So short that no relu changes its side in between.
        ends = [
            np.sum(upstream * reference.discriminator(step, images, normalization=spectral_norm))
            for step in (moved(values, path, step * direction) for step in (1e-6, -1e-6))
        ]
        found = np.sum(gradients[path].numpy() * direction)
        np.testing.assert_allclose(found, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-6, err_msg=path)


# Trainable weights for colour images, of 128 features.
WEIGHTS = {32: 1_053_825, 64: 1_365_505}


@pytest.mark.parametrize("image_size", WEIGHTS)
def test_weight_counts(image_size):
    """Also from table 3, in which every block at 64 x 64 and below is as at 32 x 32."""
    network = ResNetDiscriminator(image_size, 3)
    network.build((None, image_size, image_size, 3))

    def convolution(kernel_size, fan_in, units):
        return kernel_size**2 * fan_in * units + units

    def block(fan_in, has_skip):
        skip = convolution(1, fan_in, 128) if has_skip else 0
        return convolution(3, fan_in, 128) + convolution(3, 128, 128) + skip

    halvings = {32: 2, 64: 3}[image_size]
    expected = block(3, True) + (halvings - 1) * block(128, True) + 2 * block(128, False) + (128 + 1)
    count = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    assert count == expected == WEIGHTS[image_size]
    layers = normalized_layers(network)
    assert len(layers) == 2 * (halvings + 2) + halvings + 1
    assert all(layer.normalization == "sn" for layer in layers)


@pytest.mark.parametrize("compiled", [False, True])
def test_power_iterations_move_once(compiled):
    network = _discriminator(16)
    randomize(network)
    layers = normalized_layers(network)
    move = tf.function(lambda: move_power_iterations(layers)) if compiled else lambda: move_power_iterations(layers)
    paths = [path for path in variables(network) if path.endswith("/u")]
    assert len(paths) == 3 * 2 + 1 + 1
    for _ in range(2):
        before = weights(network)
        move()
        after = weights(network)
        for path in paths:
            _, expected = spectral_norm_step(before[path[: -len("u")] + "kernel"], before[path])
            np.testing.assert_allclose(after[path], expected, atol=1e-6, err_msg=path)
            # The head's u has a single number, its sign.
            assert path == "head/u" or np.abs(after[path] - before[path]).max() > 1e-4, path


def _lipschitz_bound(image_size):
    """Under plain spectral normalisation with converged power iterations.

    A 3 x 3 convolution has norm 3 at most, as a pixel is in 9 windows at most, each multiplied with a matrix of norm
    1; a 1 x 1 convolution and the last layer have norm 1; relu has slope 1; the mean of 2 x 2 pixels has norm 1 / 2,
    the sum over n pixels sqrt(n). A block that halves the resolution: (3 * 3 + 1) / 2; one that does not: 3 * 3 + 1.
    """
    halvings = reference.HALVINGS[image_size]
    return 5.0**halvings * 10.0**2 * (image_size / 2**halvings)


def _ratios(network, first, second):
    """|D(x) - D(y)| / |x - y| of each pair."""
    differences = network(first).numpy().astype(np.float64) - network(second).numpy()
    return np.abs(differences) / np.linalg.norm((first - second).reshape(len(first), -1).astype(np.float64), axis=1)


@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_slope_under_sn_is_bounded_whatever_the_kernels(image_size):
    network, bound = _discriminator(image_size), _lipschitz_bound(image_size)
    randomize(network, scale=100.0)
    converge_power_iterations(network)
    images = _images(image_size, batch_size=16)
    for distance in (1.0, 0.01):
        ratios = _ratios(network, images, images + distance * _images(image_size, batch_size=16))
        assert np.all(np.isfinite(ratios)) and ratios.max() > 0.0
        assert np.all(ratios <= bound)


@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_slope_under_sn_comes_near_its_bound(image_size):
    """With constant kernels and images, but for the borders: the bound is not one that nothing could break."""
    network, bound = _discriminator(image_size), _lipschitz_bound(image_size)
    for variable in network.trainable_variables:
        variable.assign(tf.fill(variable.shape, 100.0 if "kernel" in variable.name else 0.0))
    converge_power_iterations(network)
    images = np.ones((1, image_size, image_size, 3), np.float32)
    ratio = _ratios(network, 2.0 * images, images)[0]
    assert 0.25 * bound < ratio <= bound


@pytest.mark.parametrize("spectral_norm", ["sn", "isn", "none"])
def test_config_round_trip(spectral_norm):
    network, images = _discriminator(16, spectral_norm), _images(16)
    config = network.get_config()
    twin = ResNetDiscriminator.from_config(config)
    twin.build((None, 16, 16, 3))
    assert twin.get_config() == config
    assert {path: value.shape for path, value in variables(twin).items()} == {
        path: value.shape for path, value in variables(network).items()
    }
    twin.set_weights(network.get_weights())
    np.testing.assert_array_equal(twin(images).numpy(), network(images).numpy())


@pytest.mark.parametrize("image_size", [0, 4, 12, 33])
def test_refuses_sizes_that_blocks_do_not_halve_to_8(image_size):
    with pytest.raises(ValueError, match=f"image_size must be a power of 2 of at least 8, got {image_size}"):
        ResNetDiscriminator(image_size, 3)
