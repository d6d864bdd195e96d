"""The sliced Wasserstein distance, beside a naive loop, tensorflow-gan's functions and known distributions."""

import numpy as np
import pytest
import reference.scores as reference
import scipy.ndimage
import tensorflow as tf
from tensorflow_gan.python.eval import sliced_wasserstein as tfgan

from vitgan_tf.evaluation import sliced_wasserstein as module
from vitgan_tf.evaluation.sliced_wasserstein import laplacian_level, num_compared, sliced_wasserstein


def _images(count, edge, channels, seed=0, low=0, high=256):
    return np.random.RandomState(seed).randint(low, high, (count, edge, edge, channels)).astype(np.uint8)


@pytest.mark.parametrize("edge, channels", [(16, 1), (40, 3), (33, 1), (12, 3), (5, 1)])
def test_equals_a_naive_loop(monkeypatch, edge, channels):
    monkeypatch.setattr(module, "PATCHES_PER_IMAGE", 5)
    monkeypatch.setattr(module, "DIRECTIONS", 16)
    monkeypatch.setattr(module, "_BATCH", 2)
    sets = _images(5, edge, channels), _images(5, edge, channels, 1, 50, 90)
    expected = reference.sliced_wasserstein(*sets, patches_per_image=5, num_directions=16)
    assert list(expected) == {16: [16], 40: [40, 20], 33: [33, 17], 12: [12], 5: [5]}[edge]
    distances = sliced_wasserstein(*sets)
    assert list(distances) == list(expected)
    for edge_, value in expected.items():
        assert distances[edge_] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("edge, levels", [(64, 3), (32, 2)])
def test_the_pyramid_is_that_of_tensorflow_gan(edge, levels):
    images = _images(3, edge, 3).astype(np.float32)
    for level, expected in enumerate(tfgan.laplacian_pyramid(images, levels)):
        np.testing.assert_allclose(laplacian_level(images, level, levels), expected, atol=1e-3)


def test_agrees_with_tensorflow_gan_on_noise():
    # Noise of one variance, as tensorflow-gan normalises each patch, not the set; coloured in the sense of spectra.
    noise = np.random.RandomState(0).normal(size=(2, 60, 16, 16, 3))
    smooth = scipy.ndimage.gaussian_filter(noise[1], (0, 0.6, 0.6, 0))
    sets = [np.clip(128 + 40 * values / values.std(), 0, 255).astype(np.uint8) for values in (noise[0], smooth)]
    ((_, expected),) = tfgan.sliced_wasserstein_distance(
        *map(tf.constant, sets), patches_per_image=128, random_projection_dim=512
    )
    assert sliced_wasserstein(*sets)[16] == pytest.approx(1000 * float(expected), rel=0.1)


def test_of_gaussian_noise_it_is_the_known_distance_of_correlated_patches():
    # Patches whose pixels are all equal: projections are normal with deviation |sum of the direction|, others with 1.
    random = np.random.RandomState(0)
    flat = np.broadcast_to(random.normal(size=(500, 1, 1, 1)), (500, 7, 7, 1))
    sets = [np.clip(128 + 30 * values, 0, 255).astype(np.uint8) for values in (flat, random.normal(size=flat.shape))]
    directions = random.normal(size=(100_000, 49))
    sums = np.abs(directions.sum(axis=1) / np.linalg.norm(directions, axis=1))
    expected = np.mean(np.abs(sums - 1)) * np.sqrt(2 / np.pi)
    assert sliced_wasserstein(*sets)[7] == pytest.approx(1000 * expected, rel=0.05)


def test_equal_sets_in_another_order_have_distance_zero():
    images = _images(20, 32, 3)
    assert sliced_wasserstein(images, images[::-1]) == {32: 0.0, 16: 0.0}


def test_brightness_and_contrast_of_a_whole_set_do_not_count():
    images = _images(1, 24, 3, low=0, high=100)
    assert sliced_wasserstein(images, 2 * images + 30)[24] < 1e-3


def test_flat_images_have_finite_distances():
    flat = np.full((4, 32, 32, 3), 77, np.uint8)
    assert sliced_wasserstein(flat, flat + 1) == {32: 0.0, 16: 0.0}
    assert 0 < sliced_wasserstein(flat, _images(4, 32, 3))[16] < 1e4


def test_the_random_draws_are_fixed():
    sets = _images(6, 16, 1), _images(6, 16, 1, 1, 0, 128)
    np.random.seed(1)
    first = sliced_wasserstein(*sets)
    np.random.seed(2)
    assert sliced_wasserstein(*sets) == first


def test_sets_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="equal shape"):
        sliced_wasserstein(_images(4, 16, 1), _images(5, 16, 1))


def test_at_most_8192_images_and_one_gib_are_compared():
    assert num_compared(50_000, 50_000, 128 * 128 * 3) == 8192
    assert num_compared(1797, 2000, 256) == 1797
    assert num_compared(50_000, 300, 256) == 300
    assert num_compared(50_000, 50_000, 1024 * 1024 * 3) == 341
    assert num_compared(50_000, 50_000, 2**31) == 1
