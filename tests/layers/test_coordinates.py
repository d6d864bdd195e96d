"""Coordinates of grids and their Fourier embedding."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.coordinates import FourierEmbedding, coordinate_grid


def test_grid_lists_cell_centres_in_raster_order():
    expected = [(y, x) for y in (-0.5, 0.5) for x in (-2 / 3, 0.0, 2 / 3)]
    np.testing.assert_allclose(coordinate_grid(2, 3).numpy(), expected, atol=1e-6)


def test_a_finer_grid_averages_to_the_coarse_one():
    fine = coordinate_grid(8, 8).numpy().reshape(4, 2, 4, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(fine.reshape(16, 2), coordinate_grid(4, 4).numpy(), atol=1e-6)


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
