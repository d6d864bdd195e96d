"""Classifiers of labelled images, and the yardstick of their scores."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.data.digits import load_digits
from vitgan_tf.evaluation import classifier as classifier_module
from vitgan_tf.evaluation.classifier import (
    build_classifier,
    classifier_extractor,
    half_split_distance,
    load_or_train_classifier,
    train_classifier,
)
from vitgan_tf.evaluation.scores import frechet_distance, gaussian
from vitgan_tf.images import to_float

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data():
    return load_digits(8)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A classifier and where it is kept."""
    path = tmp_path_factory.mktemp("trained") / "classifier.h5"
    return load_or_train_classifier(*data, 10, str(path))[0], path


def test_classifier_is_right_on_held_out_digits(data):
    _, accuracy = train_classifier(*data, 10, seed=1)
    assert 0.97 <= accuracy <= 1.0


def test_classifier_is_kept_and_a_damaged_file_replaced(data, trained, tmp_path, monkeypatch):
    first, path = trained[0], pathlib.Path(shutil.copy(trained[1], tmp_path))
    inputs = to_float(data[0][:50]).numpy()
    expected = first.predict(inputs, verbose=0)[0]
    assert expected.shape == (50, 64)
    with monkeypatch.context() as patch:
        patch.setattr(classifier_module, "train_classifier", None)  # not called
        again, accuracy = load_or_train_classifier(*data, 10, str(path))
    assert 0.9 < accuracy <= 1
    np.testing.assert_array_equal(again.predict(inputs, verbose=0)[0], expected)
    path.write_bytes(b"not a weights file")
    retrained, _ = load_or_train_classifier(*data, 10, str(path))
    np.testing.assert_allclose(retrained.predict(inputs, verbose=0)[0], expected, rtol=1e-3, atol=1e-3)
    assert [file.name for file in tmp_path.iterdir()] == ["classifier.h5"]


def test_classifier_is_trained_on_one_device_whatever_the_strategy(data, tmp_path, monkeypatch):
    """Replicas would share the batches otherwise, and end at another classifier, which gives other scores."""
    seen, model = [], build_classifier((8, 8, 1), 10)

    def train(images, labels, num_classes, seed):
        seen.append(tf.distribute.has_strategy())
        return model, 1.0

    monkeypatch.setattr(classifier_module, "train_classifier", train)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        used, _ = load_or_train_classifier(*data, 10, str(tmp_path / "classifier.h5"))
        assert all(strategy.extended.variable_created_in_scope(weights) for weights in used.weights)
    assert seen == [False]
    for weights, expected in zip(used.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(weights, expected)


def test_extractor_is_the_classifier_and_its_hash_that_of_the_weights(data, trained):
    classifier = trained[0]
    extractor = classifier_extractor("digits", (classifier, None), 1)
    features, logits = (np.concatenate(values) for values in zip(*extractor.activations([data[0][:70]])))
    expected = classifier.predict(to_float(data[0][:70]), verbose=0)
    np.testing.assert_allclose(features, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, expected[1], rtol=1e-4, atol=1e-5)
    assert classifier_extractor("digits", (classifier, None), 1).sha256 == extractor.sha256
    weights = classifier.get_weights()
    weights[0].flat[-1] += 1e-3
    classifier.set_weights(weights)
    assert classifier_extractor("digits", (classifier, None), 1).sha256 != extractor.sha256


def test_half_split_distance_is_that_of_random_halves():
    features = np.random.normal(size=(600, 5)).astype(np.float32)
    order = np.random.permutation(600)
    distance = frechet_distance(gaussian(features[order[:300]]), gaussian(features[order[300:]]))
    assert 0.3 < distance / half_split_distance(features) < 3.0
