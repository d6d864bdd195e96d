"""Scores of sets of images that are known to be better or worse, and what evaluations cost."""

import dataclasses
import json
import weakref

import numpy as np
import psutil
import pytest
import reference.scores as reference
import scipy.ndimage
import tensorflow as tf
from support import stand_in

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data.digits import load_digits
from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation import evaluator as evaluator_module
from vitgan_tf.evaluation import samples as samples_module
from vitgan_tf.evaluation import sliced_wasserstein
from vitgan_tf.evaluation.build import build_evaluator, load_extractor
from vitgan_tf.evaluation.inception import ExtractorNotFoundError

pytestmark = pytest.mark.slow

DIGITS = DataConfig(dataset="digits", image_size=16, num_channels=1)


def _evaluator(num_generated, classifier_path, **options):
    values = {"extractor_name": "auto", "split": "training", "num_real": 0, "seed": 0, **options}
    return build_evaluator(
        DIGITS, DataLocation(), num_generated=num_generated, classifier_path=classifier_path, **values
    )


@pytest.fixture(scope="module")
def classifier_path(tmp_path_factory):
    return str(tmp_path_factory.mktemp("classifier") / "classifier.h5")


@pytest.fixture(autouse=True)
def full_precision():
    """Products in float32, as in every command."""
    tf.config.experimental.enable_tensor_float_32_execution(False)


@pytest.fixture(autouse=True)
def few_patches(monkeypatch):
    """Other scores than the sliced Wasserstein distance are the subject of most tests here, and quicker."""
    monkeypatch.setattr(sliced_wasserstein, "PATCHES_PER_IMAGE", 2)


@pytest.fixture(scope="module")
def digits():
    return load_digits(16)


@pytest.fixture(scope="module")
def score(classifier_path):
    """Scores of a set of digits by the digits' classifier."""

    def score(images, **options):
        return _evaluator(len(images), classifier_path, **options).evaluate(np.array_split(images, 7))

    return score


def test_the_real_images_score_best(digits, score):
    images, labels = digits
    scores = score(images)
    assert 0.0 <= scores["digits_fd"] < 1e-3
    assert scores["digits_precision"] == scores["digits_recall"] == 1.0
    assert scores["digits_authenticity"] == 0.0  # all of them are copies
    # An estimate over random subsets: 0 within its deviation.
    assert abs(scores["digits_kd"]) < 2 * scores["digits_kd_std"] < 1.0
    assert scores["digits_is"] > 9.0 and 0 < scores["digits_is_std"] < 0.5
    assert 0 < scores["digits_fd_half_split"] < 5
    np.testing.assert_allclose(scores["digits_class_fractions"], np.bincount(labels) / len(labels), atol=0.01)


def test_scores_do_not_depend_on_order_or_batches(digits, classifier_path):
    images = digits[0][:600]
    evaluator = _evaluator(600, classifier_path)
    expected = evaluator.evaluate([images])
    shuffled = images[np.random.RandomState(1).permutation(600)]
    for batches in ([shuffled], np.array_split(images, 600), np.array_split(shuffled, 11)):
        scores = evaluator.evaluate(batches)
        for name, value in expected.items():
            # An image at the very edge of a ball may be counted or not, as processors round a row by its place.
            atol = 2 / (3 * 600) if name.endswith("density") else 1e-6
            np.testing.assert_allclose(scores[name], value, rtol=1e-4, atol=atol, err_msg=name)


def test_noise_raises_the_distances_and_lowers_precision(digits, score):
    images = digits[0]
    noise = np.random.RandomState(0).normal(size=images.shape)
    results = [score(np.clip(images + amount * noise, 0, 255).astype(np.uint8)) for amount in (0, 20, 60, 180)]
    # At first, the kernel distance is less than its deviation.
    for name, first in (("digits_fd", 0), ("digits_kd", 1)):
        values = [result[name] for result in results][first:]
        assert values == sorted(values) and values[-1] > 10 * abs(values[1 - first])
    assert results[0]["digits_precision"] > results[2]["digits_precision"] > results[3]["digits_precision"]


def test_the_distance_is_checked_by_other_code(digits, classifier_path):
    images = digits[0][::2]
    scores = _evaluator(len(images), classifier_path).evaluate(np.array_split(images, 3), cross_check=True)
    for name, tolerance in (("tfgan", 1e-3), ("scipy", 1e-5)):
        assert scores[f"digits_fd_{name}"] == pytest.approx(scores["digits_fd"], rel=tolerance)
    evaluator = _evaluator(10, classifier_path)
    evaluator.protocol = dataclasses.replace(evaluator.protocol, num_real_kept=100)
    with pytest.raises(UserError, match="--cross_check needs the features of all 1797 real images, and 100 are kept"):
        evaluator.evaluate([images[:10]], cross_check=True)


def test_a_missing_digit_raises_the_distance_and_lowers_recall_alone(digits, score):
    images, labels = digits
    whole, without = score(images), score(images[labels != 3])
    assert without["digits_fd"] > 0.5 * whole["digits_fd_half_split"]
    assert without["digits_kd"] > whole["digits_kd"] + 3 * without["digits_kd_std"]
    assert without["digits_recall"] < 0.95 and without["digits_precision"] == 1.0
    assert without["digits_class_fractions"][3] < 0.02
    assert without["digits_is"] < whole["digits_is"]
    # More missing digits, more distance.
    fewer = score(images[labels < 5])
    assert fewer["digits_fd"] > 2 * without["digits_fd"] and fewer["digits_recall"] < without["digits_recall"] - 0.2


def test_blur_lowers_precision(digits, score):
    images = digits[0]
    blurred = [scipy.ndimage.gaussian_filter(images, (0, sigma, sigma, 0)) for sigma in (1.0, 2.0)]
    results = [score(images), *(score(values) for values in blurred)]
    precisions = [result["digits_precision"] for result in results]
    assert precisions[0] > precisions[1] > precisions[2] and precisions[2] < 0.5
    assert results[0]["digits_fd"] < results[1]["digits_fd"] < results[2]["digits_fd"]


def test_fewer_images_than_dimensions_are_scored_and_labelled(digits, classifier_path):
    evaluator = _evaluator(40, classifier_path)
    scores = evaluator.evaluate([digits[0][:40]])
    assert np.isfinite(scores["digits_fd"]) and scores["digits_fd"] > 0
    assert "40 images are fewer than the 64 dimensions of the features" in evaluator.protocol.not_comparable()


def test_a_part_of_the_real_images_is_always_the_same(digits, score):
    first, second = (score(digits[0][:200], num_real=500) for _ in range(2))
    assert first == second
    assert first["digits_fd"] != score(digits[0][:200])["digits_fd"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_real_images_are_refused(classifier_path, count):
    with pytest.raises(UserError, match=f"^{count} real images are too few"):
        _evaluator(20, classifier_path, num_real=count)
    assert _evaluator(20, classifier_path, num_real=4).protocol.num_real == 4


def test_a_classifier_that_cannot_be_kept_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the digits classifier"):
        _evaluator(20, str(tmp_path / "file" / "classifier.h5"))


def test_scores_that_are_not_finite_are_refused(digits, classifier_path, monkeypatch):
    monkeypatch.setattr(samples_module, "kernel_distance", lambda *_: (float("nan"), None))
    with pytest.raises(UserError, match=r"scores are not finite: .*'digits_kd': nan"):
        _evaluator(20, classifier_path).evaluate([digits[0][:20]])


def test_the_number_of_images_must_be_that_of_the_protocol(digits, classifier_path):
    evaluator = _evaluator(30, classifier_path)
    for count, message in ((29, "29 images, not the 30"), (31, "more than the 30 images"), (0, "0 images, not")):
        with pytest.raises(ValueError, match=message):
            evaluator.evaluate(np.array_split(digits[0][:count], 2) if count else [])


def test_repeated_evaluation_does_not_grow(digits, classifier_path, tmp_path):
    """Over ten evaluations with a network of 3 MB.

    tensorflow-gan's own functions of images load it anew at every call, and keep it (tensorflow/gan, issue 25).
    """
    path = stand_in.write(tmp_path / "inception", values=stand_in.weights(512))
    location = DataLocation(inception=path, cache_dir=str(tmp_path))
    images = digits[0][:16]
    evaluator = build_evaluator(
        DIGITS,
        location,
        extractor_name="tfgan_inception",
        split="training",
        num_generated=16,
        num_real=16,
        seed=0,
        classifier_path=classifier_path,
    )
    sizes = []
    for _ in range(12):  # the first two fill pools of memory
        evaluator.evaluate([images])
        sizes.append(psutil.Process().memory_info().rss)
    assert sizes[-1] - sizes[1] < 10e6


def test_evaluator_of_the_published_network_names_its_scores(digits, tmp_path):
    weights = stand_in.weights(96)
    path = stand_in.write(tmp_path / "inception", values=weights)
    location = DataLocation(inception=path, cache_dir=str(tmp_path))
    options = {"extractor_name": "tfgan_inception", "split": "training", "num_real": 40, "seed": 3}
    evaluator = build_evaluator(DIGITS, location, num_generated=32, **options)
    scores = evaluator.evaluate([digits[0][:32]])
    assert set(scores) == {
        "fid32",
        "is32",
        "is32_std",
        "kid32",
        "kid32_std",
        "precision32",
        "recall32",
        "density32",
        "coverage32",
        "authenticity32",
        "swd",
    }
    assert evaluator.distance_name == "fid32"
    protocol = json.loads(json.dumps(evaluator.protocol.as_dict()))
    assert (protocol["num_real"], protocol["num_split"], protocol["seed"]) == (40, 1797, 3)
    assert protocol["feature_dim"] == 96 and len(protocol["not_comparable_with_published"]) == 4
    # The same by NumPy and SciPy, from the images.
    chosen = np.sort(np.random.RandomState(0).permutation(1797)[:40])
    features = []
    for images in (digits[0][chosen], digits[0][:32]):
        resized = reference.resize_bilinear_tf1(reference.to_unit_range(np.repeat(images, 3, axis=-1)), 299)
        features.append(reference.stand_in_inception(resized, weights)[0])
    np.testing.assert_allclose(scores["fid32"], reference.frechet_distance_low_rank(*features), rtol=1e-4)


def test_features_are_freed_before_patches_of_images_need_the_memory(digits, classifier_path, monkeypatch):
    evaluator, references, alive = _evaluator(300, classifier_path), [], []
    expected = evaluator.evaluate([digits[0][:300]])
    gaussian, sliced_wasserstein = samples_module.gaussian, samples_module.sliced_wasserstein

    def seen(features):
        references.append(weakref.ref(features))
        return gaussian(features)

    def checked(*sets):
        alive.append(references[-1]() is not None)
        return sliced_wasserstein(*sets)

    monkeypatch.setattr(samples_module, "gaussian", seen)
    monkeypatch.setattr(samples_module, "sliced_wasserstein", checked)
    assert evaluator.evaluate([digits[0][:300]]) == expected
    assert alive == [False]


def test_the_digits_classifier_judges_digits_alone(tmp_path):
    other = DataConfig(dataset="cifar10", image_size=32, num_channels=3)
    options = {"split": "training", "num_generated": 10, "num_real": 0, "seed": 0}
    with pytest.raises(UserError, match="digits classifier cannot score images of cifar10"):
        build_evaluator(other, DataLocation(), extractor_name="digits", **options)
    with pytest.raises(ExtractorNotFoundError):
        load_extractor("auto", other, DataLocation(cache_dir=str(tmp_path)))


@pytest.mark.parametrize("name", ["none", "auto"])
def test_without_a_network_the_sliced_wasserstein_distance_is_the_score(tmp_path, name):
    data, images = DataConfig("cifar10", 32, 3), np.random.RandomState(0).randint(0, 256, (2, 20, 32, 32, 3))
    real, generated = images.astype(np.uint8)
    options = {
        "split": "training",
        "num_generated": 16,
        "num_real": 0,
        "seed": 0,
        "training_images": LabelledImages(real),
    }
    evaluator = build_evaluator(data, DataLocation(cache_dir=str(tmp_path)), extractor_name=name, **options)
    order = evaluator_module.random_rows(20, 16)
    expected = sliced_wasserstein.sliced_wasserstein(generated[:16], real[order])
    assert evaluator.evaluate(np.array_split(generated[:16], 3)) == {
        "swd": (expected[32] + expected[16]) / 2,
        "swd_32px": expected[32],
        "swd_16px": expected[16],
    }
    assert evaluator.distance_name == "swd" and evaluator.protocol.num_swd == 16
    with pytest.raises(UserError, match="--cross_check needs a network"):
        evaluator.evaluate([generated[:16]], cross_check=True)


def test_the_sliced_wasserstein_distance_is_that_of_a_random_part_of_many_images(digits, score, monkeypatch):
    monkeypatch.setattr(sliced_wasserstein, "MAX_IMAGES", 50)
    images = digits[0][:300]
    chosen = [images[evaluator_module.random_rows(300, 50)], digits[0][evaluator_module.random_rows(1797, 50)]]
    assert score(images)["swd"] == sliced_wasserstein.sliced_wasserstein(*chosen)[16]
