"""StyleGAN2's networks and path lengths against the float64 references in tests/reference.

All weights are random, so that those which start at 0 or 1 count too.
"""

import math

import numpy as np
import pytest
import tensorflow as tf
from reference import networks
from reference import stylegan2 as reference
from reference.comparison import assert_close, float64_layers, randomize, variables
from reference.losses import finite_difference_gradient

from vitgan_tf import losses
from vitgan_tf.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

pytestmark = pytest.mark.slow

LATENT_DIM, STYLE_DIM, LR_MULTIPLIER = 5, 7, 0.01
# 6 features at 4 and 8 pixels, then 4 and 2.
CHANNELS = {"channel_base": 64, "channel_max": 6}
# TensorFlow has the slope of the leaky ReLU in float32.
FLOAT64 = 1e-7


def _generator(image_size, num_channels=3, mapping_layers=2):
    network = StyleGAN2Generator(
        image_size=image_size,
        num_channels=num_channels,
        latent_dim=LATENT_DIM,
        style_dim=STYLE_DIM,
        mapping_layers=mapping_layers,
        mapping_lr_multiplier=LR_MULTIPLIER,
        **CHANNELS,
    )
    network(tf.zeros((1, LATENT_DIM), tf.keras.backend.floatx()))
    randomize(network)
    return network


def _discriminator(image_size, num_channels=3, group_size=4):
    network = StyleGAN2Discriminator(
        image_size=image_size, num_channels=num_channels, group_size=group_size, **CHANNELS
    )
    network(tf.zeros((group_size, image_size, image_size, num_channels), tf.keras.backend.floatx()))
    randomize(network)
    return network


def _in_float64(build, network, *args, **kwargs):
    """A network of the same weights in float64."""
    with float64_layers():
        double = build(*args, **kwargs)
    double.set_weights(network.get_weights())
    return double


def _normal(*shape):
    return np.random.normal(size=shape).astype(np.float32)


def _places(image_size):
    return 2 * round(math.log2(image_size)) - 2


def _styles(image_size, batch_size=3):
    """Another style at each place of each image."""
    return _normal(batch_size, _places(image_size), STYLE_DIM)


@pytest.mark.parametrize("image_size, num_channels, mapping_layers", [(8, 3, 2), (16, 1, 3), (32, 3, 1), (32, 1, 8)])
def test_generator(image_size, num_channels, mapping_layers):
    network = _generator(image_size, num_channels, mapping_layers)
    latents = _normal(3, LATENT_DIM) * 3
    expected = reference.generator(reference.generator_weights(network), latents, LR_MULTIPLIER)
    assert expected.shape == (3, image_size, image_size, num_channels)
    assert_close(network(latents), expected)
    double = _in_float64(_generator, network, image_size, num_channels, mapping_layers)
    assert_close(double(latents.astype(np.float64)), expected, FLOAT64)


@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_synthesis_with_another_style_at_each_place(image_size):
    network = _generator(image_size)
    styles = _styles(image_size)
    expected = reference.synthesis(reference.generator_weights(network), styles)
    assert_close(network.synthesize(tf.constant(styles)), expected)
    double = _in_float64(_generator, network, image_size)
    assert_close(double.synthesize(tf.constant(styles, tf.float64)), expected, FLOAT64)


def test_one_style_is_that_of_all_places():
    network = _generator(16)
    style = _normal(3, STYLE_DIM)
    expected = reference.synthesis(reference.generator_weights(network), style)
    assert_close(network.synthesize(tf.constant(style)), expected)
    assert_close(network.synthesize(tf.repeat(style[:, None], _places(16), axis=1)), expected)


def test_the_generator_maps_and_synthesizes():
    network = _generator(8)
    latents = _normal(3, LATENT_DIM)
    layers = reference.generator_weights(network)["mapping"]
    styles = networks.mapping_network(latents, layers, LR_MULTIPLIER)
    assert_close(network.mapping(latents), styles)
    assert_close(network(latents), network.synthesize(network.mapping(latents)).numpy().astype(np.float64), 1e-6)


@pytest.mark.parametrize("start", range(1, 6))
def test_styles_mixed_from_a_place_on(start):
    """Those of one latent before it, of another one from it on; another place makes another image."""
    network = _generator(16)
    first, second = network.mapping(_normal(2, LATENT_DIM)).numpy()
    styles = np.stack([first] * start + [second] * (6 - start))[None]
    expected = reference.synthesis(reference.generator_weights(network), styles)
    assert_close(network.synthesize(tf.constant(styles)), expected)
    styles[:, start - 1] = second
    changed = network.synthesize(tf.constant(styles)).numpy()
    assert np.abs(changed - expected).max() > 0.01 * np.abs(expected).max()


def test_images_do_not_depend_on_each_other():
    network = _generator(8)
    styles = _styles(8)
    whole = network.synthesize(tf.constant(styles)).numpy().astype(np.float64)
    for i in range(3):
        assert_close(network.synthesize(tf.constant(styles[i : i + 1])), whole[i : i + 1])


@pytest.mark.parametrize("image_size", [8, 32])
def test_generator_at_the_start(image_size):
    """Noise and biases are zero; a constant of variance 1; the shapes of the attributes."""
    network = StyleGAN2Generator(
        image_size=image_size,
        num_channels=3,
        latent_dim=LATENT_DIM,
        style_dim=STYLE_DIM,
        channel_base=512,
        channel_max=256,
        mapping_layers=2,
        mapping_lr_multiplier=LR_MULTIPLIER,
    )
    network(tf.zeros((1, LATENT_DIM)))
    levels = round(math.log2(image_size)) - 1
    convolutions, to_images = network.synthesis.convolutions, network.synthesis.to_images
    assert (len(convolutions), len(to_images)) == (2 * levels - 1, levels)
    assert [layer.upsample for layer in convolutions] == [False] + [True, False] * (levels - 1)
    units = [reference.features(2 ** (2 + (i + 1) // 2), 512, 256) for i in range(len(convolutions))]
    assert [layer.units for layer in convolutions] == units
    edges = [2 ** (2 + (i + 1) // 2) for i in range(len(convolutions))]
    assert [tuple(layer.fixed_noise.shape) for layer in convolutions] == [(1, edge, edge, 1) for edge in edges]
    assert all(float(layer.noise_strength) == 0.0 and not np.any(layer.bias) for layer in convolutions)
    assert all(not np.any(layer.bias) for layer in to_images)
    assert network.constant.shape == (1, 4, 4, 128)
    np.testing.assert_allclose([np.mean(network.constant), np.std(network.constant)], [0.0, 1.0], atol=0.08)


@pytest.mark.parametrize("image_size, num_channels", [(8, 3), (16, 1), (32, 3)])
@pytest.mark.parametrize("batch_size, group_size", [(4, 4), (6, 4), (8, 2)])
def test_discriminator(image_size, num_channels, batch_size, group_size):
    network = _discriminator(image_size, num_channels, group_size)
    images = np.random.uniform(-1, 1, size=(batch_size, image_size, image_size, num_channels)).astype(np.float32)
    expected = reference.discriminator(reference.discriminator_weights(network), images, group_size)
    assert expected.shape == (batch_size,)
    assert_close(network(images), expected)
    double = _in_float64(_discriminator, network, image_size, num_channels, group_size)
    assert_close(double(images.astype(np.float64)), expected, FLOAT64)


def test_discriminator_of_a_batch_of_unknown_size():
    network = _discriminator(8)
    unknown = tf.function(network.__call__, input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    values = reference.discriminator_weights(network)
    for batch_size in (4, 8):
        images = _normal(batch_size, 8, 8, 3)
        assert_close(unknown(images), reference.discriminator(values, images, 4))


def test_discriminator_at_the_start():
    """Of images of unit variance, the features have about the mean square 1 all the way: the logits too."""
    network = StyleGAN2Discriminator(image_size=32, num_channels=3, channel_base=2048, channel_max=64, group_size=4)
    logits = network(_normal(64, 32, 32, 3)).numpy()
    assert len(network.blocks) == 3 and network.hidden.units == 64 and network.convolution.units == 64
    assert [block.downsampling.units for block in network.blocks] == [64, 64, 64]
    assert np.all(np.isfinite(logits)) and 0.01 < np.sqrt(np.mean(logits**2)) < 10


def _directional_gradients(network, inputs, upstream, run):
    """Along a random direction of each trained weight: of sum(upstream y) by the library, and by differences of run.

    A step is so short that it seldom takes a feature past the kink of its leaky ReLU.
    """
    by_path = {path: variable for path, variable in variables(network).items() if variable.trainable}
    assert len(by_path) == len(network.trainable_variables)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(network(inputs) * upstream)
    found, expected = [], []
    for path, gradient in tape.gradient(value, by_path).items():
        assert gradient.dtype == tf.float64
        variable, start = by_path[path], by_path[path].numpy()
        direction = np.random.normal(size=start.shape)
        direction /= np.sqrt(np.sum(direction**2))
        # The mapping network's weights are large by its multiplier, and count as little.
        step = 1e-6 / (LR_MULTIPLIER if path.startswith("mapping/") else 1.0)
        ends = []
        for sign in (1, -1):
            variable.assign(start + sign * step * direction)
            ends.append(np.sum(run() * upstream))
        variable.assign(start)
        found.append(np.sum(gradient * direction) * step)
        expected.append((ends[0] - ends[1]) / 2)
    return np.array(found), np.array(expected), str(list(by_path))


def _check_gradients(network, inputs, run):
    upstream = np.random.normal(size=network(inputs).shape)
    found, expected, names = _directional_gradients(network, inputs, upstream, run)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max(), err_msg=names)


def test_gradients_of_the_generator():
    with float64_layers():
        network = _generator(8)
    latents = np.random.normal(size=(2, LATENT_DIM))
    _check_gradients(
        network,
        latents,
        lambda: reference.generator(reference.generator_weights(network), latents, LR_MULTIPLIER),
    )


def test_gradients_of_the_discriminator():
    with float64_layers():
        network = _discriminator(8)
    images = np.random.uniform(-1, 1, size=(4, 8, 8, 3))
    _check_gradients(
        network, images, lambda: reference.discriminator(reference.discriminator_weights(network), images, 4)
    )


def _check_penalty_gradients(penalty, by_path):
    """Along a random direction of each weight, against central differences of the penalty: gradients of gradients."""
    penalty = tf.function(penalty)
    with tf.GradientTape() as tape:
        value = penalty()
    found, expected = [], []
    for path, gradient in tape.gradient(value, by_path).items():
        variable, start = by_path[path], by_path[path].numpy()
        direction = np.random.normal(size=start.shape)
        direction /= np.sqrt(np.sum(direction**2))
        ends = []
        for step in (1e-6, -1e-6):
            variable.assign(start + step * direction)
            ends.append(float(penalty()))
        variable.assign(start)
        # The biases of the images, and that of the logits, do not count.
        found.append(0.0 if gradient is None else np.sum(gradient * direction))
        expected.append((ends[0] - ends[1]) / 2e-6)
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * scale, err_msg=str(list(by_path)))


def test_gradients_of_r1():
    """Of the logits with respect to the images, along random directions; and of R1 with respect to the weights.

    The images of a group count for each other's logits.
    """
    with float64_layers():
        network = _discriminator(8)
    images = tf.constant(np.random.uniform(-1, 1, size=(6, 8, 8, 3)))

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = tf.reduce_sum(network(images))
        return tape.gradient(value, images)

    values, found, expected = reference.discriminator_weights(network), [], []
    for _ in range(8):
        direction = np.random.normal(size=images.shape)
        direction /= np.sqrt(np.sum(direction**2))
        ends = [np.sum(reference.discriminator(values, images + step * direction, 4)) for step in (1e-6, -1e-6)]
        found.append(np.sum(gradients() * direction))
        expected.append((ends[0] - ends[1]) / 2e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    _check_penalty_gradients(lambda: losses.r1_penalty(gradients()), variables(network))


# Numbers of weights.


def test_sizes_of_the_published_networks():
    """Of 1024 pixels (configuration F), as the authors' program prints them: the formulas are right."""
    assert reference.generator_size(1024, 32768) == 30_370_060
    assert reference.discriminator_size(1024, 32768) == 29_012_513


# image_size, channel_base, mapping_layers, generator, discriminator.
SIZES = [
    (32, 32768, 2, 19_947_539, 21_507_073),
    (32, 32768, 8, 21_523_475, 21_507_073),
    (64, 16384, 2, 22_243_608, 23_407_361),
    (64, 16384, 8, 23_819_544, 23_407_361),
    (128, 16384, 2, 22_949_277, 23_882_369),
    (128, 16384, 8, 24_525_213, 23_882_369),
]


def _size(variables):
    return sum(math.prod(variable.shape) for variable in variables)


@pytest.mark.parametrize("image_size, channel_base, mapping_layers, generator_size, discriminator_size", SIZES)
def test_sizes(image_size, channel_base, mapping_layers, generator_size, discriminator_size):
    assert reference.generator_size(image_size, channel_base, mapping_layers=mapping_layers) == generator_size
    assert reference.discriminator_size(image_size, channel_base) == discriminator_size
    channels = {"num_channels": 3, "channel_base": channel_base, "channel_max": 512}
    network = StyleGAN2Generator(
        image_size=image_size,
        latent_dim=512,
        style_dim=512,
        mapping_layers=mapping_layers,
        mapping_lr_multiplier=LR_MULTIPLIER,
        **channels,
    )
    network.build((1, 512))
    assert _size(network.trainable_variables) == generator_size
    assert _size(network.non_trainable_variables) == reference.noise_size(image_size)
    if mapping_layers == 2:
        network = StyleGAN2Discriminator(image_size=image_size, group_size=4, **channels)
        network.build((4, image_size, image_size, 3))
        assert _size(network.trainable_variables) == discriminator_size
        assert network.non_trainable_variables == []


# Path lengths.


@pytest.mark.parametrize("shape", [(4, 6, 5), (1, 1, 3), (3, 2, 1)])
def test_path_lengths_of_gradients(shape):
    gradients = _normal(*shape) * 3
    expected = reference.path_lengths(gradients)
    lengths = losses.path_lengths(tf.constant(gradients))
    assert_close(lengths, expected)
    assert_close(losses.path_length_penalty(lengths, 0.7), reference.path_length_penalty(expected, 0.7))
    # At their mean, what remains is their variance.
    mean = expected.mean()
    penalty = losses.path_length_penalty(tf.constant(expected), tf.constant(mean))
    np.testing.assert_allclose(penalty, expected.var(), rtol=1e-10, atol=1e-14)


@pytest.fixture
def paths():
    """A generator in float64, styles, noise of the images, and its gradients by finite differences."""
    with float64_layers():
        network = _generator(8, num_channels=2)
    styles = np.random.normal(size=(3, _places(8), STYLE_DIM))
    noise = np.random.normal(size=(3, 8, 8, 2)) / 8
    values = reference.generator_weights(network)
    expected = finite_difference_gradient(
        lambda styles: np.sum(reference.synthesis(values, styles) * noise), styles, 1e-6
    )
    return network, styles, noise, expected


def _lengths(network, styles, noise):
    styles = tf.convert_to_tensor(styles)
    with tf.GradientTape() as tape:
        tape.watch(styles)
        value = tf.reduce_sum(network.synthesize(styles) * noise)
    return losses.path_lengths(tape.gradient(value, styles))


def test_path_lengths_of_a_generator(paths):
    network, styles, noise, gradients = paths
    expected = reference.path_lengths(gradients)
    lengths = _lengths(network, styles, noise)
    assert_close(lengths, expected, 1e-6)
    assert_close(losses.path_length_penalty(lengths, 0.3), reference.path_length_penalty(expected, 0.3), 1e-6)
    # In float32, as in training.
    single = _generator(8, num_channels=2)
    single.set_weights(network.get_weights())
    assert_close(_lengths(single, styles.astype(np.float32), noise.astype(np.float32)), expected)


def test_gradients_of_the_path_length_penalty(paths):
    """The penalty is that of the reference: see the test above."""
    network, styles, noise, _ = paths
    mean = 0.5 * float(np.mean(_lengths(network, styles, noise)))
    synthesis = {
        path: variable
        for path, variable in variables(network).items()
        if variable.trainable and not path.startswith("mapping/")
    }
    _check_penalty_gradients(lambda: losses.path_length_penalty(_lengths(network, styles, noise), mean), synthesis)
