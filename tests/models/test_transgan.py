"""TransGAN's networks against their float64 references: images, logits, gradients, relative positions, sizes."""

import math
import re

import numpy as np
import pytest
import tensorflow as tf
from reference import transgan as reference
from reference.comparison import (
    assert_close,
    float64_layers,
    moved,
    randomize,
    unit_directions,
    variables,
    weights,
)

from vitgan_tf.layers.attention import MultiHeadAttention, RelativeMultiHeadAttention
from vitgan_tf.models.transgan import TransGANDiscriminator, TransGANGenerator
from vitgan_tf.randomness import BatchRandom

pytestmark = pytest.mark.slow

LATENT_DIM = 5
FLOAT64 = 1e-10
# TensorFlow has the square root of 2 of GELU in float32.
GELU_FLOAT64 = 1e-7


def _generator(image_size, num_channels=3, embed_dim=32, num_heads=2, num_blocks=(2, 1), lowest_resolution=4):
    network = TransGANGenerator(
        image_size, num_channels, LATENT_DIM, embed_dim, num_heads, num_blocks, lowest_resolution
    )
    network.build((None, LATENT_DIM))
    randomize(network)
    return network


def _discriminator(image_size, num_channels=3, patch_size=2, embed_dim=16, num_heads=2, num_blocks=1):
    network = TransGANDiscriminator(image_size, num_channels, patch_size, embed_dim, num_heads, num_blocks)
    network.build((None, image_size, image_size, num_channels))
    randomize(network)
    return network


def _in_float64(network, input_shape):
    """A network, or layer, of the same weights in float64."""
    with float64_layers():
        double = type(network).from_config({**network.get_config(), "dtype": "float64"})
        double.build(input_shape)
    double.set_weights(network.get_weights())
    return double


def _normal(*shape):
    return np.random.normal(size=shape).astype(np.float32)


def _images(network, batch_size=3):
    shape = (batch_size, network.image_size, network.image_size, network.num_channels)
    return np.random.uniform(-1, 1, size=shape).astype(np.float32)


def _expected_images(network, latents, values=None):
    return reference.generator(
        weights(network) if values is None else values,
        latents,
        image_size=network.image_size,
        lowest_resolution=network.lowest_resolution,
        num_heads=network.num_heads,
    )


def _expected_logits(network, images, values=None):
    values = weights(network) if values is None else values
    return reference.discriminator(values, images, patch_size=network.patch_size, num_heads=network.num_heads)


# Relative positions.


def _attention(num_heads=2, grid_size=3, width=6, batch_size=2):
    layer = RelativeMultiHeadAttention(num_heads, grid_size)
    layer.build((None, grid_size**2, width))
    randomize(layer)
    return layer, _normal(batch_size, grid_size**2, width)


@pytest.mark.parametrize("num_heads, grid_size, width", [(1, 1, 2), (2, 2, 4), (2, 3, 6), (4, 5, 8)])
def test_relative_attention(num_heads, grid_size, width):
    layer, x = _attention(num_heads, grid_size, width)
    expected = reference.self_attention(x, weights(layer), "", num_heads)
    assert_close(layer(x), expected)
    assert_close(_in_float64(layer, x.shape)(x.astype(np.float64)), expected, FLOAT64)
    for num_queries in {1, grid_size, grid_size**2}:
        residual = _normal(2, num_queries, width)
        assert_close(layer(x, num_queries=num_queries), expected[:, :num_queries])
        assert_close(layer(x, num_queries=num_queries, residual=residual), expected[:, :num_queries] + residual)


def test_gradients_of_relative_attention():
    layer, x = _attention()
    layer, x = _in_float64(layer, x.shape), x.astype(np.float64)
    _check_gradients(layer, x, lambda values: reference.self_attention(values["input"], values, "", 2))


def test_a_table_of_zeros_is_attention_without_positions():
    layer, x = _attention()
    plain = MultiHeadAttention(2)
    plain.build(x.shape)
    for path, variable in variables(plain).items():
        variable.assign(variables(layer)[path])
    assert np.abs(layer(x) - plain(x)).max() > 1e-3
    layer.table.assign(tf.zeros_like(layer.table))
    assert_close(layer(x), plain(x).numpy().astype(np.float64), 1e-6)
    # Nor does it matter what is added to all displacements.
    layer.table.assign(tf.broadcast_to([3.0, -2.0], layer.table.shape))
    assert_close(layer(x), plain(x).numpy().astype(np.float64))


@pytest.mark.parametrize(
    "displacements", [((0, 0), (1, 0)), ((0, 1), (-1, 0)), ((0, -1), (2, -1)), ((-3, 2), (1, 1)), ((3, 3), (-1, 2))]
)
def test_a_displacement_that_is_large_in_the_table_is_attended_to(displacements):
    """By each head its own: the query at (y, x) attends to the key at (y, x) minus it, where there is one."""
    grid = 4
    layer, x = _attention(grid_size=grid)
    table = np.zeros(layer.table.shape, np.float32)
    layer.table.assign(table)
    plain = layer.attention_weights(x).numpy()
    for head, (down, right) in enumerate(displacements):
        table[down + grid - 1, right + grid - 1, head] = 1000.0
    layer.table.assign(table)
    attention = layer.attention_weights(x).numpy()
    assert attention.shape == (2, 2, grid**2, grid**2)
    for head, (down, right) in enumerate(displacements):
        for i in range(grid**2):
            y, x_ = i // grid - down, i % grid - right
            if 0 <= y < grid and 0 <= x_ < grid:
                expected = np.zeros(grid**2)
                expected[y * grid + x_] = 1.0
                np.testing.assert_allclose(attention[:, head, i], [expected, expected], atol=1e-6)
            else:
                np.testing.assert_allclose(attention[:, head, i], plain[:, head, i], rtol=1e-5)


def _turned(tokens, grid, turn):
    """The map of tokens, turned: its rows reversed, and so on."""
    batch, _, width = tokens.shape
    return turn(tokens.reshape(batch, grid, grid, width), (1, 2)).reshape(batch, grid**2, width)


TURNS = {
    "up and down": lambda x, axes: np.flip(x, axes[0]),
    "left and right": lambda x, axes: np.flip(x, axes[1]),
    "rows and columns": lambda x, axes: np.swapaxes(x, *axes),
    "a quarter": lambda x, axes: np.rot90(x, axes=axes),
}


@pytest.mark.parametrize("name", TURNS)
def test_turned_maps_and_tables(name):
    """A turned map of tokens, under a table turned alike, has the turned outputs; under the old table it has not."""
    layer, x = _attention()
    expected = _turned(layer(x).numpy(), 3, TURNS[name]).astype(np.float64)
    turned = _turned(x, 3, TURNS[name])
    assert np.abs(layer(turned) - expected).max() > 1e-3
    layer.table.assign(TURNS[name](layer.table.numpy(), (0, 1)))
    assert_close(layer(turned), expected)


def test_what_positions_add_depends_on_displacements_alone():
    """With equal tokens, log attention is the table but for a constant of each row: the same for shifted pairs."""
    grid = 4
    layer, x = _attention(grid_size=grid)
    x = np.repeat(x[:, :1], grid**2, axis=1)
    logits = np.log(layer.attention_weights(x).numpy()).reshape(2, 2, grid, grid, grid, grid)
    # Of query and key in the first 3 x 3 places, each relative to the query itself; then all shifted by (1, 1).
    first, shifted = logits[:, :, :3, :3, :3, :3], logits[:, :, 1:, 1:, 1:, 1:]
    first, shifted = (part - np.einsum("bhyxyx->bhyx", part)[..., None, None] for part in (first, shifted))
    assert np.abs(first).max() > 0.1
    np.testing.assert_allclose(first, shifted, atol=1e-5)


def test_refuses_other_maps():
    with pytest.raises(ValueError, match="grid_size must be at least 1, got 0"):
        RelativeMultiHeadAttention(2, 0)
    for tokens in (8, 10):
        with pytest.raises(ValueError, match=f"expected 9 tokens, got {tokens}"):
            RelativeMultiHeadAttention(2, 3).build((None, tokens, 6))


def test_config_round_trip_of_relative_attention():
    layer, x = _attention()
    twin = RelativeMultiHeadAttention.from_config(layer.get_config())
    twin.build(x.shape)
    assert twin.get_config() == layer.get_config()
    assert twin.grid_size == 3 and twin.table.shape == (5, 5, 2)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(x).numpy(), layer(x).numpy())


# The generator.


def test_pixel_shuffle_of_the_reference():
    x = np.random.normal(size=(2, 3, 5, 8))
    np.testing.assert_array_equal(tf.nn.depth_to_space(x, 2), reference.pixel_shuffle(x))


# image_size, num_channels, embed_dim, num_heads, num_blocks, lowest_resolution.
GENERATORS = [
    (4, 3, 8, 2, (1,), 4),
    (8, 1, 16, 2, (2, 1), 4),
    (16, 3, 64, 4, (1,), 4),
    (16, 3, 32, 1, (1, 2), 8),
    (8, 3, 64, 1, (2, 1, 1, 3), 1),
    (12, 2, 32, 2, (1, 1), 3),
    (32, 3, 16, 1, (1,), 8),
]


@pytest.mark.parametrize("image_size, num_channels, embed_dim, num_heads, num_blocks, lowest_resolution", GENERATORS)
def test_generator(image_size, num_channels, embed_dim, num_heads, num_blocks, lowest_resolution):
    network = _generator(image_size, num_channels, embed_dim, num_heads, num_blocks, lowest_resolution)
    latents = 2.0 * _normal(2, LATENT_DIM)
    expected = _expected_images(network, latents)
    assert expected.shape == (2, image_size, image_size, num_channels)
    assert_close(network(latents), expected)
    double = _in_float64(network, (None, LATENT_DIM))
    assert_close(double(latents.astype(np.float64)), expected, GELU_FLOAT64)


def test_noise_of_each_image_and_block():
    """Drawn from independent streams, in the order of the blocks, from the lowest resolution up."""
    network, random = _generator(8), BatchRandom(tf.constant([3, 4]), 2)
    latents = _normal(2, LATENT_DIM)
    sizes = {"block_4_0": 4, "block_4_1": 4, "block_8_0": 8}
    noise = {
        path: random.fork(number).normal(size, size, 1).numpy().reshape(2, -1, 1)
        for number, (path, size) in enumerate(sizes.items())
    }
    expected = reference.generator(
        weights(network), latents, image_size=8, lowest_resolution=4, num_heads=2, noise=noise
    )
    assert network.has_noise
    assert_close(network(latents, random), expected)
    assert np.abs(network(latents) - expected).max() > 1e-2


def test_noise_begins_at_zero():
    network = TransGANGenerator(8, 3, LATENT_DIM, 32, 2, (2, 1), 4)
    network.build((None, LATENT_DIM))
    latents = _normal(2, LATENT_DIM)
    drawn = network(latents, BatchRandom(tf.constant([3, 4]), 2))
    np.testing.assert_array_equal(network(latents), drawn)


def test_blocks_of_each_resolution():
    """The last number is that of all further ones."""
    network = _generator(32, embed_dim=64, num_heads=1, num_blocks=(3, 1, 2))
    names = {path.split("/")[0] for path in weights(network) if path.startswith("block_")}
    counts = {4: 3, 8: 1, 16: 2, 32: 2}
    assert names == {f"block_{size}_{i}" for size, count in counts.items() for i in range(count)}


def test_styles_are_latents():
    network = _generator(8)
    latents = _normal(3, LATENT_DIM)
    expected = _expected_images(network, latents)
    np.testing.assert_array_equal(network.mapping(latents), latents)
    assert_close(network.synthesize(tf.constant(latents)), expected)
    assert_close(network.synthesize(tf.constant(latents[:, None])), expected)
    assert network.num_styles == 1


@pytest.mark.parametrize("num_styles", [0, 2, 3])
def test_refuses_another_number_of_styles(num_styles):
    with pytest.raises(ValueError, match=f"number of styles per image must be 1, got {num_styles}"):
        _generator(8).synthesize(tf.zeros((2, num_styles, LATENT_DIM)))


def _without(network, *names):
    """Zeros in the weights of which a part of the path is one of these."""
    for path, variable in variables(network).items():
        if re.search("|".join(names), path):
            variable.assign(tf.zeros_like(variable))


def test_colours_fill_their_squares():
    """Those of a resolution, when the others have none: a pixel of the lowest fills 4 x 4, of the highest one."""
    network, latents = _generator(16), _normal(2, LATENT_DIM)
    values, whole, parts = network.get_weights(), network(latents).numpy(), 0.0
    for size in (4, 8, 16):
        network.set_weights(values)
        _without(network, *(f"to_image_{other}/" for other in {4, 8, 16} - {size}))
        images, edge = network(latents).numpy(), 16 // size
        colours = images[:, ::edge, ::edge]
        np.testing.assert_array_equal(images, np.kron(colours, np.ones((1, edge, edge, 1))))
        assert all(np.abs(np.diff(colours, axis=axis)).min() > 0.0 for axis in (1, 2))
        parts = parts + images.astype(np.float64)
    assert_close(whole, parts)


def _reordered(images, order, edge):
    """The images with their squares of edge x edge pixels in another order."""
    batch, size, _, channels = images.shape
    grid = size // edge
    squares = images.reshape(batch, grid, edge, grid, edge, channels).swapaxes(2, 3)
    squares = squares.reshape(batch, grid**2, edge, edge, channels)[:, order]
    return squares.reshape(batch, grid, grid, edge, edge, channels).swapaxes(2, 3).reshape(images.shape)


@pytest.mark.parametrize(
    "kept", ["", "positions_4", "positions_8", "block_4_1/.*table", "block_8_0/.*table", "noise"]
)
def test_first_tokens_have_no_places_but_by_positions(kept):
    """Without any positions, in another order they make their squares of pixels in that order."""
    network, latents = _generator(8), _normal(2, LATENT_DIM)
    names = {"positions_4", "positions_8", "block_4_0/.*table", "block_4_1/.*table", "block_8_0/.*table", "noise"}
    _without(network, *(names - {kept}))
    order = np.random.permutation(16)
    expected = _reordered(network(latents).numpy(), order, 2).astype(np.float64)
    for name in ("kernel", "bias"):
        variable = variables(network)[f"from_latents/{name}"]
        variable.assign(variable.numpy().reshape(-1, 16, 32)[:, order].reshape(variable.shape))
    if kept:
        assert np.abs(network(latents) - expected).max() > 1e-3
    else:
        assert_close(network(latents), expected)


def _check_gradients(network, x, run):
    """Along a random direction of each weight, and of the input, against central differences of the reference."""
    by_path = {path: variable for path, variable in variables(network).items() if variable.trainable}
    assert len(by_path) == len(network.trainable_variables)
    values, x = {**weights(network), "input": x}, tf.constant(x)
    upstream = np.random.normal(size=network(x).shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(network(x) * upstream)
    gradients = tape.gradient(loss, {**by_path, "input": x})
    found, expected = [], []
    for path, direction in unit_directions(values, gradients).items():
        assert gradients[path].dtype == tf.float64
        ends = [np.sum(upstream * run(moved(values, path, step * direction))) for step in (1e-5, -1e-5)]
        found.append(np.sum(gradients[path].numpy() * direction))
        expected.append((ends[0] - ends[1]) / 2e-5)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * scale, err_msg=str(list(gradients)))
    assert np.abs(expected).min() > 1e-8 * scale


def test_gradients_of_the_generator():
    network = _in_float64(_generator(8, num_channels=2, embed_dim=16), (None, LATENT_DIM))
    latents = np.random.normal(size=(2, LATENT_DIM))
    _check_gradients(network, latents, lambda values: _expected_images(network, values["input"], values))


# The discriminator.

# image_size, num_channels, patch_size, embed_dim, num_heads, num_blocks.
DISCRIMINATORS = [
    (4, 3, 2, 8, 2, 1),
    (8, 1, 1, 16, 4, 1),
    (8, 3, 2, 16, 2, 3),
    (16, 3, 4, 8, 1, 2),
    (12, 2, 2, 16, 2, 1),
    (32, 3, 2, 8, 1, 1),
]


@pytest.mark.parametrize("image_size, num_channels, patch_size, embed_dim, num_heads, num_blocks", DISCRIMINATORS)
def test_discriminator(image_size, num_channels, patch_size, embed_dim, num_heads, num_blocks):
    network = _discriminator(image_size, num_channels, patch_size, embed_dim, num_heads, num_blocks)
    images = _images(network)
    expected = _expected_logits(network, images)
    assert expected.shape == (3,)
    assert_close(network(images), expected)
    double = _in_float64(network, (None, *images.shape[1:]))
    assert_close(double(images.astype(np.float64)), expected, GELU_FLOAT64)


def test_discriminator_of_a_batch_of_unknown_size():
    network = _discriminator(8)
    unknown = tf.function(network.__call__, input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    for batch_size in (1, 3):
        images = _images(network, batch_size)
        assert_close(unknown(images), _expected_logits(network, images))


def test_logits_and_images_do_not_depend_on_each_other():
    for network, inputs in (
        (_generator(8), _normal(3, LATENT_DIM)),
        (_discriminator(8), _normal(3, 8, 8, 3)),
    ):
        whole = network(inputs).numpy().astype(np.float64)
        for i in range(3):
            assert_close(network(inputs[i : i + 1]), whole[i : i + 1])


def test_gradients_of_the_discriminator():
    network = _discriminator(8, num_channels=2, embed_dim=8)
    images = _images(network, 2).astype(np.float64)
    network = _in_float64(network, (None, *images.shape[1:]))
    _check_gradients(network, images, lambda values: _expected_logits(network, values["input"], values))


@pytest.mark.parametrize(
    "kept", ["", "positions_0", "positions_1", "block_0_0/self_attention/table", "block_1_0.*table"]
)
def test_coarse_patches_have_no_places_but_by_positions(kept):
    """Without any positions their order does not matter; with any of them it does."""
    network = _discriminator(16)
    images = _images(network)
    other = _reordered(images, np.random.permutation(16), 4)
    assert np.abs(network(images) - network(other)).max() > 1e-3
    names = {"positions_0", "positions_1", "block_0_0/self_attention/table", "block_1_0.*table"}
    _without(network, *(names - {kept}))
    difference = np.abs(network(images) - network(other)).max()
    assert difference > 1e-4 if kept else difference < 1e-5


# Numbers of weights.


def _count(network):
    assert all("fixed_noise" in variable.name for variable in network.non_trainable_variables)
    return sum(math.prod(variable.shape) for variable in network.trainable_variables)


def test_weight_count_of_the_generator():
    """Of the CIFAR-10 model, the defaults: 5, 4 and 2 blocks of 1024, 256 and 64 features at 8, 16 and 32 pixels."""
    network = TransGANGenerator(32, 3)
    network.build((None, network.latent_dim))
    assert network.latent_dim == 256
    expected = reference.generator_size(32, 3, 256, 1024, 4, (5, 4, 2), 8)
    assert _count(network) == expected == 83_297_536


def test_weight_count_of_the_discriminator():
    """Of the CIFAR-10 model, the defaults: 3 blocks of 288 features on 16 x 16 tokens, 3 of 384 on 8 x 8, and one."""
    network = TransGANDiscriminator(32, 3)
    network.build((None, 32, 32, 3))
    expected = reference.discriminator_size(32, 3, 2, 384, 4, 3)
    assert _count(network) == expected == 10_202_425


# Configurations.


@pytest.mark.parametrize("build", [_generator, _discriminator])
def test_config_round_trip(build):
    network = build(8)
    is_generator = build is _generator
    inputs = _normal(2, LATENT_DIM) if is_generator else _images(network)
    config = network.get_config()
    twin = type(network).from_config(config)
    twin.build((None, *inputs.shape[1:]))
    assert twin.get_config() == config
    assert {path: value.shape for path, value in variables(twin).items()} == {
        path: value.shape for path, value in variables(network).items()
    }
    twin.set_weights(network.get_weights())
    np.testing.assert_array_equal(twin(inputs).numpy(), network(inputs).numpy())


@pytest.mark.parametrize("image_size", [0, 2, 4, 12, 24, 33])
def test_generator_refuses_sizes_that_are_not_doubled(image_size):
    message = f"image_size must be lowest_resolution 8 times a power of 2, got {image_size}"
    with pytest.raises(ValueError, match=message):
        TransGANGenerator(image_size, 3)


@pytest.mark.parametrize("embed_dim, num_heads", [(96, 4), (32, 4), (16, 2), (8, 1)])
def test_generator_refuses_widths_that_are_not_quartered(embed_dim, num_heads):
    message = f"embed_dim must be a multiple of num_heads {num_heads} after 2 divisions by 4, got {embed_dim}"
    with pytest.raises(ValueError, match=message):
        TransGANGenerator(32, 3, embed_dim=embed_dim, num_heads=num_heads)


def test_generator_refuses_no_blocks():
    with pytest.raises(ValueError, match="num_blocks must have at least one number"):
        TransGANGenerator(32, 3, num_blocks=())


@pytest.mark.parametrize("image_size, patch_size", [(10, 2), (6, 2), (32, 3), (33, 1)])
def test_discriminator_refuses_sizes_that_patches_do_not_fill(image_size, patch_size):
    message = f"image_size {image_size} is not a multiple of twice patch_size {patch_size}"
    with pytest.raises(ValueError, match=message):
        TransGANDiscriminator(image_size, 3, patch_size)


@pytest.mark.parametrize("embed_dim, num_heads", [(24, 4), (12, 2), (6, 1)])
def test_discriminator_refuses_widths_that_heads_do_not_divide(embed_dim, num_heads):
    message = f"embed_dim {embed_dim} is not a multiple of 4 times num_heads {num_heads}"
    with pytest.raises(ValueError, match=message):
        TransGANDiscriminator(32, 3, embed_dim=embed_dim, num_heads=num_heads)
