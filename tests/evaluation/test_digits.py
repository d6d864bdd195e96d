"""The digits classifier and the scores made with it."""

import numpy as np
import pytest

from vitgan_tf.data.digits import load_digits
from vitgan_tf.evaluation import digits
from vitgan_tf.evaluation.digits import DigitsEvaluator, load_or_train_classifier, train_classifier
from vitgan_tf.images import to_float


@pytest.fixture(scope="module")
def data():
    return load_digits(8)


@pytest.fixture(scope="module")
def evaluator(data, tmp_path_factory):
    return DigitsEvaluator(*data, str(tmp_path_factory.mktemp("classifier") / "classifier.h5"))


def test_classifier_is_right_on_held_out_digits(data):
    for seed in (0, 1):
        _, accuracy = train_classifier(*data, seed=seed)
        assert 0.97 <= accuracy <= 1.0


def test_classifier_is_kept_and_a_damaged_file_replaced(data, tmp_path, monkeypatch):
    path = tmp_path / "classifier.h5"
    first = load_or_train_classifier(*data, str(path))
    inputs = to_float(data[0][:50]).numpy()
    expected = first.predict(inputs, verbose=0)[0]
    assert expected.shape == (50, 64)
    with monkeypatch.context() as patch:
        patch.setattr(digits, "train_classifier", None)  # not called
        again = load_or_train_classifier(*data, str(path))
    np.testing.assert_array_equal(again.predict(inputs, verbose=0)[0], expected)
    path.write_bytes(b"not a weights file")
    retrained = load_or_train_classifier(*data, str(path))
    np.testing.assert_allclose(retrained.predict(inputs, verbose=0)[0], expected, rtol=1e-3, atol=1e-3)
    assert [file.name for file in tmp_path.iterdir()] == ["classifier.h5"]


def test_real_digits_score_best(data, evaluator):
    images, labels = data
    scores = evaluator.evaluate(images)
    assert abs(scores["digits_fd"]) < 1e-2
    assert scores["digits_is"] > 9.0
    assert 0 < scores["digits_fd_half_split"] < 5
    predicted = np.array(scores["digits_class_fractions"])
    np.testing.assert_allclose(predicted, np.bincount(labels) / len(labels), atol=0.01)


def test_half_split_distance_is_that_of_random_halves(data, evaluator):
    order = np.random.permutation(len(data[0]))
    half = DigitsEvaluator.__new__(DigitsEvaluator)
    half._classifier = evaluator._classifier
    half._real_features = evaluator._extract(data[0][order[:898]])[0]
    half.half_split_distance = 0.0
    distance = half.evaluate(data[0][order[898:]])["digits_fd"]
    assert 0.5 < distance / evaluator.half_split_distance < 2.0


def test_distance_grows_with_noise_and_with_missing_classes(data, evaluator):
    images, labels = data
    noise = np.random.normal(size=images.shape)
    distances = [
        evaluator.evaluate(np.clip(images + amount * noise, 0, 255).astype(np.uint8))["digits_fd"]
        for amount in (0, 20, 60, 180)
    ]
    assert distances == sorted(distances) and distances[-1] > 20 * evaluator.half_split_distance
    without = evaluator.evaluate(images[(labels != 3) & (labels != 7)])
    assert without["digits_fd"] > 2 * evaluator.half_split_distance
    assert without["digits_class_fractions"][3] < 0.01
    assert without["digits_is"] < evaluator.evaluate(images)["digits_is"]
