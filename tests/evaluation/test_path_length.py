"""Path length in W: known of simple generators, equal to a loop in float64, trimmed as its authors do."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.errors import UserError
from vitgan_tf.evaluation import path_length as module
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.path_length import path_length
from vitgan_tf.latents import chunk_of_latents

LATENT_DIM, STYLES = 6, 2
_random = np.random.RandomState(0)
MAPPING = _random.normal(size=(LATENT_DIM, 3))
RENDERING = _random.normal(size=(STYLES * 3, 4 * 4))
FEATURES = _random.normal(size=(4 * 4, 5))


def _extractor(function, batch_size=32):
    return FeatureExtractor(
        "toy", lambda images: (function(images), images[:, :1, 0, 0]), "0", "none", 1, False, batch_size
    )


def _flat(images):
    return tf.reshape(images, [-1, 16])


def _map(latents):
    """w for each of two places, as in the SavedModel."""
    return tf.tile(tf.tanh(latents @ tf.constant(MAPPING, tf.float32))[:, None], [1, STYLES, 1])


def _render(w):
    return tf.reshape(tf.sin(tf.reshape(w, [-1, STYLES * 3]) @ tf.constant(RENDERING, tf.float32)), [-1, 4, 4, 1])


def _features(images):
    return tf.square(_flat(images) @ tf.constant(FEATURES, tf.float32))


def _length(num_samples=100, seed=5, batch_size=16, extractor_batch=32):
    extractor = _extractor(_features, extractor_batch)
    return path_length(_map, _render, extractor, LATENT_DIM, num_samples, seed, batch_size)


def _latents(num_samples, seed, latent_dim):
    chunks = [chunk_of_latents(seed, index, latent_dim).numpy() for index in range(-(-2 * num_samples // 16))]
    return np.concatenate(chunks)[: 2 * num_samples].astype(np.float64)


def _trimmed(distances):
    """As in the authors' code, without its functions."""
    ordered = sorted(distances)
    first, last = int(np.floor(0.01 * (len(ordered) - 1))), int(np.ceil(0.99 * (len(ordered) - 1)))
    return np.mean(ordered[first : last + 1])


@pytest.mark.parametrize("num_samples", [1, 100, 333])
def test_equals_a_loop_in_float64(num_samples):
    def features(w):
        return (np.sin(np.tile(w, STYLES) @ RENDERING) @ FEATURES) ** 2

    w = np.tanh(_latents(num_samples, 5, LATENT_DIM) @ MAPPING)
    distances = []
    for start, target in zip(w[::2], w[1::2]):
        difference = features(start + 1e-4 * (target - start)) - features(start)
        distances.append((difference**2).sum() / 1e-4**2)
    assert _length(num_samples) == pytest.approx(_trimmed(distances), rel=0.01)


def test_of_the_identity_it_is_the_known_squared_distance_of_latents():
    """|z' - z|^2 of two latents in two dimensions is four times exponential: its mean between two quantiles."""
    low, high = -np.log(0.99), -np.log(0.01)
    expected = 4 * ((low + 1) * np.exp(-low) - (high + 1) * np.exp(-high)) / 0.98

    def render(w):
        return tf.reshape(w, [-1, 1, 2, 1])

    extractor = _extractor(lambda images: tf.reshape(images, [-1, 2]))
    length = path_length(lambda latents: latents, render, extractor, 2, 20_000, 0, 256)
    assert length == pytest.approx(expected, rel=0.02)
    # An image that changes twice as fast has four times the length.
    double = path_length(lambda latents: latents, lambda w: 2.0 * render(w), extractor, 2, 20_000, 0, 256)
    assert double == pytest.approx(4 * length, rel=1e-6)


def test_without_change_it_is_zero():
    extractor = _extractor(_flat)
    assert path_length(_map, lambda w: tf.ones([tf.shape(w)[0], 4, 4, 1]), extractor, LATENT_DIM, 30, 0, 8) == 0.0


def test_extremes_are_left_out_as_by_the_authors():
    values = np.random.RandomState(0).permutation(1000).astype(np.float64) ** 2
    assert module._trimmed_mean(values) == pytest.approx(np.mean(np.arange(9.0, 991.0) ** 2), rel=1e-12)
    few = np.array([1.0, 5.0, 1e9])
    assert module._trimmed_mean(few) == pytest.approx(few.mean())  # of few samples, none
    values = np.concatenate([np.ones(198), [-1e9, 1e9]])
    assert module._trimmed_mean(values) == 1.0


def test_batches_do_not_matter_and_seeds_do():
    expected = _length()
    assert _length() == expected
    for batch_size, extractor_batch in ((1, 32), (100, 7), (1000, 3)):
        assert _length(batch_size=batch_size, extractor_batch=extractor_batch) == pytest.approx(expected, rel=1e-3)
    assert abs(_length(seed=6) / expected - 1.0) > 0.02


def test_images_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="not finite"):
        path_length(_map, lambda w: _render(w) / 0.0, _extractor(_flat), LATENT_DIM, 10, 0, 8)
