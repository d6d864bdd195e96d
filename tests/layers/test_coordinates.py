"""Coordinates of grids and their Fourier embedding."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.coordinates import FourierEmbedding, LearnedEmbedding, coordinate_grid, patch_pixels


def test_grid_lists_cell_centres_in_raster_order():
    expected = [(y, x) for y in (-0.5, 0.5) for x in (-2 / 3, 0.0, 2 / 3)]
    np.testing.assert_allclose(coordinate_grid(2, 3).numpy(), expected, atol=1e-6)


def test_a_finer_grid_averages_to_the_coarse_one():
    fine = coordinate_grid(8, 8).numpy().reshape(4, 2, 4, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(fine.reshape(16, 2), coordinate_grid(4, 4).numpy(), atol=1e-6)


@pytest.mark.parametrize("grid, size", [(4, 16), (4, 8), (4, 4), (4, 18), (4, 11), (3, 10), (5, 3), (8, 1), (8, 37)])
def test_every_pixel_finds_its_patch_and_its_place_there(grid, size):
    """The definition: pixel j is centred at (j + 1/2) / size of the axis, patch i covers [i, i + 1] / grid."""
    coordinates, index = (tensor.numpy() for tensor in patch_pixels(grid, size))
    places = coordinates.shape[1]
    assert places == math.ceil(size / grid) and index.shape == (size,)
    for j in range(size):
        centre = (j + 0.5) / size * grid
        patch, place = divmod(index[j], places)
        assert patch == int(centre + 1e-9)
        np.testing.assert_allclose(coordinates[patch, place], 2 * (centre - patch) - 1, atol=1e-6)
    assert len(set(index)) == size
    unknown_size = tf.function(lambda n: patch_pixels(grid, n), input_signature=[tf.TensorSpec([], tf.int32)])
    for tensor, expected in zip(unknown_size(size), (coordinates, index)):
        np.testing.assert_array_equal(tensor.numpy(), expected)


@pytest.mark.parametrize("places", [1, 2, 4, 8])
def test_whole_multiples_have_the_coordinates_of_the_grid(places):
    coordinates, _ = patch_pixels(4, 4 * places)
    expected = coordinate_grid(places, 1).numpy()[:, 0]
    np.testing.assert_array_equal(coordinates.numpy(), np.tile(expected, (4, 1)))


def test_learned_embedding_is_a_table_of_unit_variance():
    layer = LearnedEmbedding(384)
    table = layer(coordinate_grid(8, 8)).numpy()
    np.testing.assert_array_equal(table, layer.trainable_variables[0].numpy())
    np.testing.assert_allclose([table.mean(), table.std()], [0.0, 1.0], atol=0.03)
    np.testing.assert_array_equal(layer(tf.zeros((64, 2))).numpy(), table)


def test_embedding_equals_numpy():
    layer = FourierEmbedding(6)
    coordinates = np.random.uniform(-1, 1, size=(5, 2))
    result = layer(coordinates.astype(np.float32)).numpy()
    frequencies, phases = layer.frequencies.numpy().astype(np.float64), layer.phases.numpy()
    for point in range(5):
        for feature in range(6):
            angle = sum(coordinates[point, axis] * frequencies[axis, feature] for axis in range(2))
            expected = math.sin(math.pi * angle / math.sqrt(2) + phases[feature])
            np.testing.assert_allclose(result[point, feature], expected, atol=1e-5)


def test_embedding_distinguishes_neighbours_and_mirror_images():
    """With 96 features, the 64 positions of the paper's grids are linearly independent, and far from each other."""
    embedding = FourierEmbedding(384)(coordinate_grid(8, 8)).numpy()
    distances = np.linalg.norm(embedding[:, None] - embedding[None], axis=-1)
    assert distances[~np.eye(64, dtype=bool)].min() > 0.2 * distances.max()
    np.testing.assert_allclose(np.mean(embedding**2), 0.5, atol=0.05)


def test_gradient_reaches_frequencies_and_phases():
    layer = FourierEmbedding(4)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer(coordinate_grid(2, 2))[:, 0] * tf.constant([1.0, 2.0, 3.0, 4.0]))
    gradients = tape.gradient(value, [layer.frequencies, layer.phases])
    for gradient in gradients:
        assert np.abs(gradient.numpy()[..., 0]).min() > 0
        np.testing.assert_array_equal(gradient.numpy()[..., 1:], 0)


def test_refuses_senseless_arguments():
    with pytest.raises(ValueError, match="embed_dim must be at least 1"):
        FourierEmbedding(0)
    with pytest.raises(ValueError, match="embed_dim must be at least 1"):
        LearnedEmbedding(0)
