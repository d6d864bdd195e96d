"""Faults of known strength raise the sliced Wasserstein distance, of digits and of coloured photographs."""

import numpy as np
import pytest

from vitgan_tf.benchmarks import sensitivity
from vitgan_tf.data.digits import load_digits
from vitgan_tf.evaluation import sliced_wasserstein


@pytest.mark.parametrize("name", ["digits", "photographs"])
def test_distances_rise_with_the_strength_and_exceed_the_half_split(monkeypatch, name):
    monkeypatch.setattr(sliced_wasserstein, "PATCHES_PER_IMAGE", 16)
    monkeypatch.setattr(sliced_wasserstein, "DIRECTIONS", 64)
    images, labels = load_digits(16) if name == "digits" else sensitivity.photographs(1600)
    floor, distances = sensitivity.sensitivity(images, labels, [0])
    for fault, (_, strengths) in sensitivity.FAULTS.items():
        values = [floor[0], *(distances[fault, strength][0] for strength in strengths)]
        # Below the noise of the halves, neighbours may change places.
        assert values[-1] > values[-2] > max(values[0], 0.9 * values[-3]), (fault, values)
        assert values[-1] > 1.5 * floor[0]


def test_faults_change_what_they_say():
    images, labels = load_digits(16)
    random = np.random.RandomState(0)
    dropped = sensitivity.dropped_classes(images, labels, 3, random)
    np.testing.assert_array_equal(dropped[labels >= 3], images[labels >= 3])
    others = {image.tobytes() for image in images[labels >= 3]}
    assert all(image.tobytes() in others for image in dropped)
    shuffled = sensitivity.shuffled_patches(images, labels, 0.25, random)
    tiles = (images != shuffled).reshape(-1, 4, 4, 4, 4).any(axis=(2, 4)).sum(axis=(1, 2))
    assert tiles.max() == 4
    np.testing.assert_array_equal(np.sort(shuffled.reshape(1797, -1)), np.sort(images.reshape(1797, -1)))
    noisy = sensitivity.noise(np.full((10, 64, 64, 3), 128, np.uint8), labels, 8.0, random)
    assert noisy.std() == pytest.approx(8.0, rel=0.02)
    np.testing.assert_array_equal(sensitivity.blur(images, labels, 0.0, random), images)


def test_photographs_are_coloured_and_labelled():
    images, labels = sensitivity.photographs(300)
    assert images.shape == (300, 32, 32, 3) and images.dtype == np.uint8
    assert set(labels) == set(range(10))
    assert np.abs(images[..., 0].astype(int) - images[..., 2]).mean() > 10
