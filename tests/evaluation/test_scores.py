"""Scores against the float64 reference, against tensorflow-gan, and against what is known of them."""

import math
import tracemalloc

import numpy as np
import pytest
import reference.scores as reference
import tensorflow as tf

from vitgan_tf.evaluation import scores
from vitgan_tf.evaluation.scores import (
    GENERATED_ORDER,
    REAL_ORDER,
    Gaussian,
    GaussianAccumulator,
    frechet_distance,
    gaussian,
    inception_score,
    kernel_blocks,
    kernel_distance,
    reorder,
    scrambled_order,
)


def _features(count, dim, seed, shift=0.0, decay=0.0):
    """Correlated, not negative, like Inception's; with decay, of widely different variances."""
    random = np.random.RandomState(seed)
    mixing = np.random.RandomState(dim).normal(size=(dim, dim)) * np.exp(-decay * np.arange(dim))[:, None]
    return np.maximum(random.normal(size=(count, dim)) @ mixing / np.sqrt(dim) + shift, 0.0).astype(np.float32)


def _distance(a, b):
    return frechet_distance(gaussian(a), gaussian(b))


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("dim", [3, 64, 256])
def test_frechet_distance_is_that_of_scipys_matrix_root(dim, decay):
    a, b = _features(1000, dim, 0, decay=decay), _features(700, dim, 1, 0.1, decay)
    expected = reference.frechet_distance_sqrtm(a, b)
    np.testing.assert_allclose(_distance(a, b), expected, rtol=1e-4)
    np.testing.assert_allclose(_distance(a, b), reference.frechet_distance_low_rank(a, b), rtol=1e-6)


def test_frechet_distance_of_fewer_samples_than_dimensions():
    """SciPy's root of a singular matrix is not defined; the distance is."""
    a, b = _features(60, 512, 0), _features(90, 512, 1, 0.05)
    np.testing.assert_allclose(_distance(a, b), reference.frechet_distance_low_rank(a, b), rtol=1e-5)


@pytest.mark.slow
def test_frechet_distance_at_the_size_of_inceptions_features():
    a, b = _features(300, 2048, 0, decay=0.002), _features(200, 2048, 1, 0.02, 0.002)
    expected = reference.frechet_distance_low_rank(a, b)
    np.testing.assert_allclose(_distance(a, b), expected, rtol=1e-5)
    trace = np.trace(gaussian(a).covariance)
    assert 0.0 <= _distance(a, a) < 1e-5 * trace


def test_frechet_distance_equals_tensorflow_gans():
    a, b = _features(400, 32, 0), _features(300, 32, 1, 0.2)
    tfgans = scores.tfgan_eval().frechet_classifier_distance_from_activations(a, b)
    np.testing.assert_allclose(_distance(a, b), float(tfgans), rtol=1e-5)


def test_frechet_distance_is_symmetric_zero_on_itself_and_knows_a_shift():
    a, b = _features(500, 16, 0), _features(400, 16, 1, 0.3)
    np.testing.assert_allclose(_distance(a, b), _distance(b, a), rtol=1e-10)
    assert 0.0 <= _distance(a, a) < 1e-8
    np.testing.assert_allclose(_distance(a, a + 0.5), 16 * 0.25, rtol=1e-5)
    # Of one-dimensional Gaussians: the squared differences of means and of deviations.
    one = Gaussian(9, np.array([1.0]), np.array([[4.0]])), Gaussian(9, np.array([-2.0]), np.array([[25.0]]))
    np.testing.assert_allclose(frechet_distance(*one), 9.0 + 9.0, rtol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_frechet_distance_is_never_negative(seed):
    """Of sets that nearly agree, and have few dimensions of any size, rounding decides the sign."""
    a = _features(50, 40, seed, decay=0.5)
    assert _distance(a, a * np.float32(1 + 1e-7)) >= 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_frechet_distance_refuses_what_is_not_finite(bad):
    a = _features(50, 8, 0)
    broken = a.copy()
    broken[3, 2] = bad
    for pair in ((a, broken), (broken, a)):
        with pytest.raises(ValueError), np.errstate(invalid="ignore"):
            _distance(*pair)
    means = Gaussian(2, np.array([bad]), np.eye(1)), Gaussian(2, np.zeros(1), np.eye(1))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(*means)


def test_covariance_in_batches_is_numpys_far_from_zero_too():
    features = (1e4 + np.random.RandomState(0).normal(size=(9000, 7)) * np.arange(1, 8)).astype(np.float64)
    accumulator = GaussianAccumulator()
    for part in np.split(features, [3, 4, 1500, 1500, 4000, 4200, 8500]):
        accumulator.add(part)
    result = accumulator.result()
    assert result.count == 9000
    np.testing.assert_allclose(result.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.covariance, np.cov(features, rowvar=False), rtol=1e-9, atol=1e-9)


def test_a_covariance_needs_two_samples():
    with pytest.raises(ValueError, match="at least two samples, got 1"):
        gaussian(np.zeros((1, 3), np.float32))


def test_scrambled_order_depends_on_the_set_alone():
    features = _features(200, 5, 0)
    expected = features[scrambled_order(features, 1)]
    reference_order = reference.scrambled_order(features.astype(np.float64), 1)
    np.testing.assert_array_equal(scrambled_order(features, 1), reference_order)
    for seed in range(3):
        shuffled = features[np.random.RandomState(seed).permutation(200)]
        np.testing.assert_array_equal(shuffled[scrambled_order(shuffled, 1)], expected)
    # And it is no order by any feature.
    ranks = np.argsort(np.argsort(expected.sum(axis=1)))
    assert abs(np.corrcoef(ranks, np.arange(200))[0, 1]) < 0.2


@pytest.mark.parametrize("dim", [2, 8, 64])
def test_kernel_distance_of_two_draws_of_one_distribution_is_unbiased(dim):
    """Of equal sizes: under one permutation, blocks would hold images of the same ranks and look too much alike."""

    def evaluated(seed):
        real, generated = (
            np.random.RandomState(2 * seed + part).normal(size=(1000, dim)).astype(np.float32) for part in (0, 1)
        )
        orders = scrambled_order(real, REAL_ORDER), scrambled_order(generated, GENERATED_ORDER)
        return kernel_distance(real[orders[0]], generated[orders[1]])[0]

    distances = np.array([evaluated(seed) for seed in range(30)])
    assert abs(distances.mean()) < 3.0 * distances.std(ddof=1) / math.sqrt(30)


def test_orders_of_two_sets_are_independent_permutations():
    features = [np.random.RandomState(seed).normal(size=(1000, 2)).astype(np.float32) for seed in range(8)]

    def ranks(seed):
        return [np.argsort(np.argsort(f.sum(axis=1)))[scrambled_order(f, seed)] for f in features]

    correlations = np.corrcoef(ranks(REAL_ORDER), ranks(GENERATED_ORDER))[:8, 8:]
    assert np.abs(correlations).max() < 4.0 / math.sqrt(1000)
    # Rounding does not change them, and a set without any variance has one.
    shaken = features[0] * np.float32(1 + 1e-7)
    np.testing.assert_array_equal(scrambled_order(shaken, 0), scrambled_order(features[0], 0))
    assert sorted(scrambled_order(np.ones((5, 2), np.float32), 0)) == list(range(5))


def test_rows_are_reordered_without_a_copy_of_the_whole():
    array = np.random.RandomState(0).normal(size=(2000, 1000)).astype(np.float32)
    order = np.random.RandomState(1).permutation(2000)
    expected = array[order]
    tracemalloc.start()
    reorder(array, order)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(array, expected)
    assert peak < array.nbytes / 4


@pytest.mark.parametrize("count", [10, 57, 200])
def test_inception_score_is_the_mean_over_ten_parts(count):
    logits = (np.random.RandomState(0).normal(size=(count, 30)) * 3).astype(np.float32)
    expected = reference.inception_score(logits, np.arange(count))
    np.testing.assert_allclose(inception_score(logits), expected, rtol=1e-5)


def test_inception_score_of_certain_and_of_undecided_classifiers():
    certain = np.tile(np.eye(10), (50, 1)).astype(np.float32) * 100
    np.testing.assert_allclose(inception_score(certain), (10.0, 0.0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inception_score(np.zeros((20, 10), np.float32)), (1.0, 0.0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(inception_score(certain * 1e4), (10.0, 0.0), rtol=1e-5, atol=1e-5)
    assert inception_score(np.tile([[0.0, 5e3, 1e4]], (20, 1)).astype(np.float32)) == pytest.approx((1.0, 0.0))
    # Fewer than ten images: a part each, which is its own mean.
    np.testing.assert_allclose(inception_score(certain[:3]), (1.0, 0.0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("counts", [(300, 300), (2500, 1200), (100, 3000), (40, 12), (5, 4)])
def test_kernel_distance_is_the_references(counts):
    a, b = _features(counts[0], 20, 0), _features(counts[1], 20, 1, 0.3)
    blocks = kernel_blocks(*counts)
    assert blocks > 1
    expected = reference.kernel_distance(a, b, blocks)
    np.testing.assert_allclose(kernel_distance(a, b), expected, rtol=1e-3, atol=1e-5)


def test_kernel_distance_of_large_sets_is_tensorflow_gans():
    """From about ten thousand images on, its own way of cutting sets into blocks is followed."""
    a, b = _features(11_003, 6, 0), _features(9_500, 6, 1, 0.2)
    expected = scores.tfgan_eval().kernel_classifier_distance_and_std_from_activations(
        tf.constant(a), tf.constant(b), max_block_size=1024
    )
    np.testing.assert_allclose(kernel_distance(a, b), [float(value) for value in expected], rtol=1e-4)


def test_kernel_distance_in_one_block_has_no_deviation():
    a, b = _features(3, 4, 0), _features(2, 4, 1)
    distance, deviation = kernel_distance(a, b)
    np.testing.assert_allclose(distance, reference.kernel_distance(a, b, 1)[0], rtol=1e-4)
    assert deviation is None
    with pytest.raises(ValueError, match="at least two images of each set, got 1"):
        kernel_distance(a, b[:1])


@pytest.mark.parametrize("counts, blocks", [((50_000, 50_000), 49), ((50_000, 200), 49), ((50_000, 30), 15)])
def test_blocks_are_of_tensorflow_gans_size_and_hold_two_images_at_least(counts, blocks):
    assert kernel_blocks(*counts) == blocks == kernel_blocks(*counts[::-1])


def test_kernel_distance_is_unbiased_and_its_deviation_is_that_of_repetitions():
    """Forty pairs of sets of one distribution: the mean is 0 within its error, and values fall on both sides."""
    results = np.array([kernel_distance(_features(400, 12, 2 * i), _features(400, 12, 2 * i + 1)) for i in range(40)])
    distances, deviations = results.T
    assert abs(distances.mean()) < 3 * distances.std() / np.sqrt(40)
    assert 10 <= np.sum(distances > 0) <= 30
    assert 0.6 < distances.std() / np.mean(deviations) < 1.6
