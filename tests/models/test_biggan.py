"""BigGAN's generator against its float64 reference: images, gradients, batch statistics, chunks, sizes."""

import math

import numpy as np
import pytest
import tensorflow as tf
from reference import biggan as reference
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

from vitgan_tf.layers.spectral import normalized_layers
from vitgan_tf.models.biggan import BigGANGenerator

pytestmark = pytest.mark.slow

WIDTH, CHUNK_DIM = 4, 3
FLOAT64 = 1e-10
# Keras has the momentum in float32.
AVERAGES = 1e-7


def _generator(image_size, num_channels=3, width=WIDTH, chunk_dim=CHUNK_DIM):
    network = BigGANGenerator(image_size, num_channels, width, chunk_dim)
    network.build((None, network.latent_dim))
    randomize(network)
    for path, variable in variables(network).items():
        if path.endswith("moving_variance"):
            variable.assign(np.random.uniform(0.3, 3.0, size=variable.shape))
    return network


def _in_float64(network):
    """A network of the same weights in float64."""
    with float64_layers():
        double = BigGANGenerator.from_config({**network.get_config(), "dtype": "float64"})
        double.build((None, double.latent_dim))
    double.set_weights(network.get_weights())
    return double


def _normal(*shape):
    return np.random.normal(size=shape).astype(np.float32)


def _latents(network, batch_size=3):
    return _normal(batch_size, network.latent_dim)


def _averages(network):
    return {path: value for path, value in weights(network).items() if "/moving_" in path}


SIZES = [(8, 3, WIDTH, CHUNK_DIM), (16, 1, 5, 2), (16, 3, 3, 1), (32, 3, WIDTH, CHUNK_DIM)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("image_size, num_channels, width, chunk_dim", SIZES)
def test_generator(image_size, num_channels, width, chunk_dim, training):
    network = _generator(image_size, num_channels, width, chunk_dim)
    double = _in_float64(network)
    latents = _latents(network)
    expected, _ = reference.generator(weights(network), latents, training)
    assert expected.shape == (3, image_size, image_size, num_channels)
    # A batch's variance is a difference of larger numbers, in every norm: float32 loses more than in other layers.
    assert_close(network(latents, use_batch_statistics=training), expected, 1e-4 if training else 1e-5)
    assert_close(double(latents.astype(np.float64), use_batch_statistics=training), expected, FLOAT64)


@pytest.mark.parametrize("image_size", [8, 32])
def test_one_latent_is_that_of_all_places(image_size):
    network = _generator(image_size)
    latents = _latents(network)
    expected, _ = reference.generator(weights(network), latents)
    assert_close(network.synthesize(tf.constant(latents)), expected)
    styles = np.repeat(latents[:, None], network.num_styles, axis=1)
    assert_close(network.synthesize(tf.constant(styles)), expected)
    np.testing.assert_array_equal(network.mapping(latents), latents)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_synthesis_with_another_style_at_each_place(image_size, training):
    network = _generator(image_size)
    double = _in_float64(network)
    assert network.num_styles == math.log2(image_size) - 1
    assert network.latent_dim == CHUNK_DIM * network.num_styles
    styles = _normal(3, network.num_styles, network.latent_dim)
    expected, _ = reference.synthesis(weights(network), styles, training)
    images = network.synthesize(tf.constant(styles), use_batch_statistics=training)
    assert_close(images, expected, 1e-4 if training else 1e-5)
    assert_close(double.synthesize(tf.constant(styles, tf.float64), use_batch_statistics=training), expected, FLOAT64)


@pytest.mark.parametrize("image_size", [8, 16])
def test_a_place_takes_its_chunk_and_nothing_else_of_its_style(image_size):
    network = _generator(image_size)
    styles = _normal(2, network.num_styles, network.latent_dim)
    images = network.synthesize(tf.constant(styles)).numpy()
    for place in range(network.num_styles):
        for chunk in range(network.num_styles):
            changed = styles.copy()
            changed[:, place, chunk * CHUNK_DIM : (chunk + 1) * CHUNK_DIM] += 1.0
            difference = np.abs(network.synthesize(tf.constant(changed)).numpy() - images).max()
            assert difference > 1e-3 if place == chunk else difference == 0.0, (place, chunk)


@pytest.mark.parametrize("num_styles", [1, 2, 4])
def test_refuses_another_number_of_styles(num_styles):
    network = _generator(16)
    with pytest.raises(ValueError, match=f"number of styles per image must be 3, got {num_styles}"):
        network.synthesize(tf.zeros((2, num_styles, network.latent_dim)))


@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_the_generator(training):
    """In float64 along a random direction of each weight, and of z, against central differences of the reference."""
    network = _in_float64(_generator(8, num_channels=2))
    converge_power_iterations(network)
    latents, upstream = np.random.normal(size=(3, network.latent_dim)), np.random.normal(size=(3, 8, 8, 2))
    by_path = {path: variable for path, variable in variables(network).items() if variable.trainable}
    assert len(by_path) == len(network.trainable_variables)
    values = {**weights(network), "z": latents}
    z = tf.constant(latents)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = tf.reduce_sum(network(z, use_batch_statistics=training) * upstream)
    gradients = tape.gradient(loss, {**by_path, "z": z})
    found, expected = [], []
    for path, direction in unit_directions(values, gradients).items():
        # So short that no relu changes its side in between.
        ends = [
            np.sum(upstream * reference.generator(step, step["z"], training)[0])
            for step in (moved(values, path, step * direction) for step in (1e-6, -1e-6))
        ]
        found.append(np.sum(gradients[path].numpy() * direction))
        expected.append((ends[0] - ends[1]) / 2e-6)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * scale, err_msg=str(list(gradients)))
    # All count but those that a batch norm takes out again.
    small = [path for path, value in zip(gradients, expected) if abs(value) < 1e-7 * scale]
    assert small == ([f"block_0/{name}/bias" for name in ("first", "second", "skip")] if training else [])


@pytest.mark.parametrize("batch_size, compiled", [(1, False), (3, False), (2, True)])
def test_moving_averages(batch_size, compiled):
    """0.9 of what they were and 0.1 of the batch's, with the variance of all numbers: a sum over n, not n - 1."""
    network = _in_float64(_generator(8))
    function = tf.function(network) if compiled else network
    averages = _averages(network)
    assert len(averages) == 2 * 3
    for _ in range(2):
        latents = np.random.normal(size=(batch_size, network.latent_dim))
        images, expected = reference.generator(weights(network), latents, training=True)
        assert_close(function(latents, use_batch_statistics=True), images, FLOAT64)
        after = _averages(network)
        assert set(after) == set(expected)
        for path, value in expected.items():
            assert_close(after[path], value, AVERAGES, err_msg=path)
            assert np.abs(value - averages[path]).max() > 1e-3, path
        averages = after
    function(latents, use_batch_statistics=False)
    for path, value in _averages(network).items():
        np.testing.assert_array_equal(value, averages[path], err_msg=path)


def test_moving_averages_in_float32():
    network = _generator(8)
    for _ in range(2):
        latents = _latents(network, 2)
        _, expected = reference.generator(weights(network), latents, training=True)
        network(latents, use_batch_statistics=True)
        after = _averages(network)
        for path, value in expected.items():
            assert_close(after[path], value, err_msg=path)


def test_moving_averages_come_to_those_of_a_batch():
    """Then the images are the same with and without training."""
    network = _in_float64(_generator(8))
    converge_power_iterations(network)
    latents = tf.constant(np.random.normal(size=(3, network.latent_dim)))
    function = tf.function(network)
    assert (
        np.abs(function(latents, use_batch_statistics=True) - function(latents, use_batch_statistics=False)).max()
        > 0.01
    )
    for _ in range(160):
        images = function(latents, use_batch_statistics=True)
    assert_close(network(latents), images.numpy(), 1e-5)


@pytest.mark.parametrize("method", ["call", "synthesize", "compiled", "compiled synthesize"])
def test_power_iterations_do_not_move(method):
    network = _generator(8)
    function = network.synthesize if "synthesize" in method else network
    function = tf.function(function) if "compiled" in method else function
    latents = tf.constant(_latents(network))
    before = weights(network)
    paths = [path for path in before if path.endswith("/u")]
    assert len(paths) == 2 + 2 * 2 + 3
    for training in (False, True, True):
        function(latents, use_batch_statistics=training)
        after = weights(network)
        moved_paths = [path for path in paths if np.any(after[path] != before[path])]
        assert moved_paths == [], f"training={training}"


def test_images_depend_on_their_batch_in_training_alone():
    network = _in_float64(_generator(8))
    converge_power_iterations(network)
    latents = np.random.normal(size=(4, network.latent_dim))
    others = np.concatenate([latents[:1], 2.0 * np.random.normal(size=(3, network.latent_dim))])
    whole = network(latents).numpy()
    assert_close(network(others)[:1], whole[:1], FLOAT64)
    for i in range(4):
        assert_close(network(latents[i : i + 1]), whole[i : i + 1], FLOAT64)
    whole = network(latents, use_batch_statistics=True).numpy()
    assert np.abs(network(others, use_batch_statistics=True)[0] - whole[0]).max() > 0.01
    # The same images in another order, each twice, have the same statistics.
    order = [2, 0, 3, 1, 1, 3, 0, 2]
    assert_close(network(latents[order], use_batch_statistics=True), whole[order], FLOAT64)


def test_what_batch_statistics_take_out():
    """What is added to a feature everywhere before a batch norm."""
    network = _in_float64(_generator(8))
    converge_power_iterations(network)
    values = variables(network)
    latents = np.random.normal(size=(5, network.latent_dim))
    images = network(latents, use_batch_statistics=True).numpy()
    outside = network(latents, use_batch_statistics=False).numpy()
    for name in ("first", "second", "skip"):
        bias = values[f"block_0/{name}/bias"]
        bias.assign_add(np.random.normal(size=bias.shape))
        assert_close(network(latents, use_batch_statistics=True), images, FLOAT64)
        assert np.abs(network(latents, use_batch_statistics=False) - outside).max() > 1e-3


def test_generator_at_the_start():
    """Gains are 1 + z W_g, averages 0 and 1, biases 0."""
    network = BigGANGenerator(16, 3, WIDTH, CHUNK_DIM)
    network.build((None, network.latent_dim))
    for path, value in weights(network).items():
        name = path.split("/")[-1]
        if name in ("bias", "beta", "moving_mean"):
            np.testing.assert_array_equal(value, 0.0, err_msg=path)
        elif name in ("gamma", "moving_variance"):
            np.testing.assert_array_equal(value, 1.0, err_msg=path)
    latents = _latents(network)
    assert_close(network(latents), reference.generator(weights(network), latents)[0])


# Trainable weights for colour images, of 256 features and chunks of 32.
WEIGHTS = {32: 3_978_755, 64: 5_257_475}


@pytest.mark.parametrize("image_size", WEIGHTS)
def test_weight_counts(image_size):
    network = BigGANGenerator(image_size, 3)
    network.build((None, network.latent_dim))
    num_blocks = {32: 3, 64: 4}[image_size]
    assert network.latent_dim == {32: 128, 64: 160}[image_size]
    count = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    assert count == reference.generator_size(image_size, 3, 256, 32) == WEIGHTS[image_size]
    layers = normalized_layers(network)
    assert len(layers) == 2 + 7 * num_blocks
    assert all(layer.normalization == "sn" for layer in layers)
    averages = [math.prod(value.shape) for value in _averages(network).values()]
    assert averages == 2 * (2 * num_blocks + 1) * [256]


def test_config_round_trip():
    network = _generator(16, num_channels=1)
    config = network.get_config()
    twin = BigGANGenerator.from_config(config)
    twin.build((None, twin.latent_dim))
    assert twin.get_config() == config
    assert {path: value.shape for path, value in variables(twin).items()} == {
        path: value.shape for path, value in variables(network).items()
    }
    twin.set_weights(network.get_weights())
    latents = _latents(network)
    np.testing.assert_array_equal(twin(latents).numpy(), network(latents).numpy())


@pytest.mark.parametrize("image_size", [0, 4, 12, 33])
def test_refuses_sizes_that_blocks_do_not_double_from_4(image_size):
    with pytest.raises(ValueError, match=f"image_size must be a power of 2 of at least 8, got {image_size}"):
        BigGANGenerator(image_size, 3)
