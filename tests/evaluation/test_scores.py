"""Scores against SciPy in float64 and against closed formulas."""

import numpy as np
import scipy.linalg

from vitgan_tf.evaluation.scores import classifier_score, frechet_distance


def test_frechet_distance_equals_scipys():
    a = np.random.normal(size=(300, 12)) @ np.random.normal(size=(12, 12))
    b = np.random.normal(size=(200, 12)) @ np.random.normal(size=(12, 12)) + 0.5
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    expected = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2) + np.trace(c1 + c2 - 2 * root)
    result = frechet_distance(a.astype(np.float32), b.astype(np.float32))
    np.testing.assert_allclose(result, expected, rtol=1e-3)
    np.testing.assert_allclose(frechet_distance(b.astype(np.float32), a.astype(np.float32)), result, rtol=1e-3)


def test_frechet_distance_of_a_set_to_itself_and_to_its_shifted_self():
    a = np.random.normal(size=(500, 8)).astype(np.float32)
    assert abs(frechet_distance(a, a)) < 1e-3
    np.testing.assert_allclose(frechet_distance(a, a + 0.5), 8 * 0.25, rtol=1e-2)


def test_classifier_score_is_the_exponential_of_the_mutual_information():
    logits = np.random.normal(size=(50, 10)) * 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.exp(np.mean(np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1)))
    np.testing.assert_allclose(classifier_score(logits.astype(np.float32)), expected, rtol=1e-4)
    certain = np.tile(np.eye(10), (5, 1)).astype(np.float32) * 100
    np.testing.assert_allclose(classifier_score(certain), 10.0, rtol=1e-4)
    np.testing.assert_allclose(classifier_score(np.zeros((20, 10), np.float32)), 1.0, rtol=1e-5)
