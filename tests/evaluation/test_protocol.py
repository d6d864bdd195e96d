"""Names of scores, and what keeps them from being compared with published ones."""

import dataclasses
import json

import pytest

from vitgan_tf.evaluation.protocol import Protocol

PUBLISHED = Protocol(
    dataset="cifar10",
    split="training",
    image_size=32,
    num_channels=3,
    real_fingerprint="0123",
    num_real=50_000,
    num_split=50_000,
    num_real_kept=50_000,
    num_generated=50_000,
    seed=0,
    extractor="tfgan_inception",
    extractor_sha256="4567",
    is_published_extractor=True,
    feature_dim=2048,
    resize="bilinear",
)


def _changed(**values):
    return dataclasses.replace(PUBLISHED, **values)


def test_the_protocol_of_published_fids_is_comparable():
    assert PUBLISHED.not_comparable() == []


@pytest.mark.parametrize(
    "values, reasons",
    [
        ({"tf32": True}, ["features rounded to TensorFloat-32"]),
        ({"num_generated": 49_999}, ["49999 generated images, not 50000"]),
        ({"num_generated": 60_000}, ["60000 generated images, not 50000"]),
        ({"feature_dim": 96}, ["96 features, not 2048: this is another network"]),
        (
            {"num_generated": 2047},
            ["2047 images are fewer than the 2048 dimensions of the features", "2047 generated images, not 50000"],
        ),
        ({"num_real": 100, "num_split": 100}, ["100 images are fewer than the 2048 dimensions of the features"]),
        ({"num_real": 40_000}, ["40000 real images, not all 50000"]),
        ({"other_resize": "clean"}, ["images resized as clean-fid does: comparable with figures of clean-fid only"]),
        ({"other_resize": "bilinear"}, ["resize=bilinear, not TensorFlow 1's resizing"]),
        ({"split": "evaluation"}, ["the evaluation images, not the training images"]),
        (
            {"extractor": "keras_inception", "is_published_extractor": False},
            ["keras_inception is not the network of published FIDs"],
        ),
    ],
)
def test_every_departure_is_named(values, reasons):
    assert _changed(**values).not_comparable() == reasons


def test_names_say_how_many_images_and_whether_all_real_ones():
    names = ("fd", "is", "is_std", "kd", "kd_std", "precision", "recall")
    assert [PUBLISHED.score_name(name) for name in names] == [
        *("fid50k_full", "is50k", "is50k_std", "kid50k_full", "kid50k_full_std"),
        *("precision50k_full", "recall50k_full"),
    ]
    # Mean and covariance of all, the rest of a part.
    larger = _changed(num_real=162_770, num_split=162_770, num_generated=1234)
    assert [larger.score_name(name) for name in names] == [
        *("fid1234_full", "is1234", "is1234_std", "kid1234", "kid1234_std", "precision1234", "recall1234"),
    ]
    assert _changed(num_real=10_000, num_real_kept=10_000).score_name("fd") == "fid50k"
    clean = _changed(other_resize="clean")
    assert [clean.score_name(name) for name in names[:5]] == [
        *("clean_fid50k_full", "clean_is50k", "clean_is50k_std", "clean_kid50k_full", "clean_kid50k_full_std"),
    ]
    other = _changed(extractor="keras_inception", is_published_extractor=False)
    assert [other.score_name(name) for name in names] == [f"keras_inception_{name}" for name in names]


def test_the_result_line_has_all_of_it():
    line = json.loads(json.dumps(_changed(num_generated=5000).as_dict()))
    assert line.pop("not_comparable_with_published") == ["5000 generated images, not 50000"]
    assert Protocol(**line) == _changed(num_generated=5000)
