"""Scores from nearest neighbours, against a naive loop in float64 and against scikit-learn."""

import dataclasses

import numpy as np
import pytest
import reference.scores as reference
import scipy.spatial
from sklearn.neighbors import NearestNeighbors

from vitgan_tf.evaluation import neighbors
from vitgan_tf.evaluation.neighbors import manifold_radii, neighbor_distances, neighbor_scores


def _features(count, dim, seed, shift=0.0):
    random = np.random.RandomState(seed)
    mixing = np.random.RandomState(dim).normal(size=(dim, dim))
    return np.maximum(random.normal(size=(count, dim)) @ mixing / np.sqrt(dim) + shift, 0.0).astype(np.float32)


def _scores(real, generated):
    return dataclasses.astuple(neighbor_scores(real, manifold_radii(real), neighbor_distances(real)[:, 0], generated))


def _expected(real, generated):
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    return (
        *reference.precision_and_recall(real, generated),
        *reference.density_and_coverage(real, generated),
        reference.authenticity(real, generated),
    )


@pytest.mark.parametrize("rows, others", [(13, 5), (13, 8192), (512, 29), (512, 8192)])
@pytest.mark.parametrize("counts", [(120, 90), (30, 200), (4, 5)])
def test_scores_are_those_of_a_naive_loop(counts, rows, others, monkeypatch):
    monkeypatch.setattr(neighbors, "_ROWS", rows)
    monkeypatch.setattr(neighbors, "_OTHERS", others)
    real, generated = _features(counts[0], 6, 0), _features(counts[1], 6, 1, 0.25)
    generated[:2] = real[:2]  # a copied image lies on its original
    expected = _expected(real, generated)
    assert _scores(real, generated) == pytest.approx(expected, abs=1e-12)
    assert min(expected) > 0.0 and (counts[0] != 120 or max(expected[:2]) < 1.0)


def test_rounding_decides_nothing():
    """Far from the origin float32 loses the distances, and samples lie on the borders of neighbourhoods."""
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), axis=-1).reshape(-1, 3)
    real, generated = (1000.0 + grid).astype(np.float32), (1000.0 + grid[::2] + [0.0, 0.0, 1.0]).astype(np.float32)
    assert _scores(real, generated) == pytest.approx(_expected(real, generated), abs=1e-12)


def test_radii_are_those_of_scikit_learn():
    for count, dim in ((700, 64), (300, 512)):
        features = _features(count, dim, 0)
        distances = (
            NearestNeighbors(n_neighbors=4, algorithm="brute").fit(features.astype(np.float64)).kneighbors()[0]
        )
        np.testing.assert_allclose(neighbor_distances(features), distances[:, :3], rtol=1e-6)
        np.testing.assert_array_equal(manifold_radii(features), neighbor_distances(features)[:, 2])


def test_equal_samples_are_in_each_others_neighbourhoods(monkeypatch):
    monkeypatch.setattr(neighbors, "_MAX_CLOSE_PAIRS", 10)
    equal = np.ones((40, 8), np.float32)
    assert manifold_radii(equal).max() == 0.0
    assert _scores(equal, np.zeros((40, 8), np.float32)) == (0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
def test_clusters_closer_than_the_rounding_of_float32(spread):
    random = np.random.RandomState(0)
    centers = random.normal(size=(10, 16))
    sets = [np.repeat(centers, 30, axis=0) + spread * random.normal(size=(300, 16)) for _ in range(2)]
    real, generated = (values.astype(np.float32) for values in sets)
    generated[::3] += 2 * np.float32(spread)
    expected = np.sort(scipy.spatial.distance.cdist(real.astype(np.float64), real.astype(np.float64)), axis=1)
    np.testing.assert_allclose(neighbor_distances(real), expected[:, 1:4], rtol=1e-5)
    assert _scores(real, generated) == pytest.approx(_expected(real, generated), abs=1e-12)


def test_most_samples_may_be_equal(monkeypatch):
    monkeypatch.setattr(neighbors, "_MAX_CLOSE_PAIRS", 100)
    real, generated = _features(300, 16, 0), _features(200, 16, 1)
    real[:250] = generated[:150] = real[0]
    assert _scores(real, generated) == pytest.approx(_expected(real, generated), abs=1e-12)


def test_features_far_from_zero():
    real, generated = (300 + np.random.RandomState(seed).normal(size=(200, 64)).astype(np.float32) for seed in (0, 1))
    assert _scores(real, generated) == pytest.approx(_expected(real, generated), abs=1e-12)


def test_density_exceeds_one_where_samples_gather_and_coverage_does_not():
    real = _features(300, 8, 0)
    held_by = (scipy.spatial.distance.cdist(real, real) <= manifold_radii(real)).sum(axis=1)
    gathered = np.repeat(real[[np.argmax(held_by)]], 300, axis=0)
    precision, _, density, coverage, _ = _scores(real, gathered)
    assert precision == 1.0 and coverage == held_by.max() / 300 < 0.1
    assert density == pytest.approx(held_by.max() / 3) and density > 1.5
    assert _scores(real, real)[3] == 1.0


def test_radii_are_distances_to_the_third_neighbour():
    a = _features(60, 5, 0).astype(np.float64)
    distances = scipy.spatial.distance.cdist(a, a)
    np.testing.assert_allclose(manifold_radii(a.astype(np.float32)), np.sort(distances, axis=1)[:, 3], rtol=1e-5)
    line = np.array([[0.0], [1.0], [3.0]], np.float32)
    np.testing.assert_allclose(manifold_radii(line), [3.0, 2.0, 3.0])
    np.testing.assert_allclose(manifold_radii(line[:1]), [0.0])
    np.testing.assert_allclose(neighbor_distances(line), [[1.0, 3.0, 3.0], [1.0, 2.0, 2.0], [2.0, 3.0, 3.0]])


def _authenticity(real, generated):
    return _scores(real, generated)[4]


def test_copies_are_not_authentic_and_far_samples_are():
    real = _features(300, 8, 0)
    assert _authenticity(real, real[::-1]) == 0.0
    assert _authenticity(np.repeat(real, 2, axis=0), real) == 0.0  # nor are copies of what the real set has twice
    assert _authenticity(real, real[:100] + np.float32(100.0)) == 1.0
    assert _authenticity(real, np.concatenate([real[:30], real[:10] + np.float32(100.0)])) == 0.25


def test_a_sample_as_far_as_the_nearest_other_real_one_is_not_authentic():
    real = np.array([[0.0], [1.0], [5.0], [7.0]], np.float32)
    assert [_authenticity(real, np.array([[x]], np.float32)) for x in (-1.0, -1.1, 8.9, 9.0, 9.1)] == [0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    "dim, expected",
    # The share of points of a Poisson process that are not their nearest neighbour's nearest neighbour.
    [(1, 1 / 3), (2, 1 - 6 * np.pi / (8 * np.pi + 3 * np.sqrt(3))), (3, 1 - 16 / 27), (63, 0.5)],
)
def test_independent_samples_have_the_known_authenticity(dim, expected):
    points = np.random.RandomState(0).normal(size=(2, 4000, dim + 1))
    points /= np.linalg.norm(points, axis=2, keepdims=True)  # uniform on a sphere, which has no border
    assert _authenticity(*points.astype(np.float32)) == pytest.approx(expected, abs=0.03)
