"""The augmentations with given draws, on images that are not square.

Colour and scaling against the float64 references of tests/reference, the others against tensorflow-addons.
"""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from reference import augment as reference
from reference.comparison import assert_close

from vitgan_tf import augment

BATCH = 5


@pytest.fixture(scope="module")
def addons():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of its end
        import tensorflow_addons

        return tensorflow_addons


@pytest.fixture(params=[(8, 12, 3), (7, 4, 1)], ids=str)
def images(request):
    return np.random.uniform(-1, 1, size=(BATCH, *request.param)).astype(np.float32)


def _draws(low, high):
    return np.random.uniform(low, high, size=BATCH).astype(np.float32)


def _whole_draws(low, high):
    return np.random.randint(low, high + 1, size=BATCH)


def _per_image(values):
    return tf.reshape(tf.constant(values, tf.float32), (-1, 1, 1, 1))


def test_color(images):
    draws = _draws(-0.5, 0.5), _draws(0.0, 2.0), _draws(0.5, 1.5)
    assert_close(augment.adjust_color(images, *map(_per_image, draws)), reference.adjust_color(images, *draws))


def test_color_that_changes_nothing(images):
    neutral = [np.full(BATCH, value, np.float32) for value in (0.0, 1.0, 1.0)]
    assert_close(augment.adjust_color(images, *map(_per_image, neutral)), images.astype(np.float64))


def test_translation_equals_that_of_tensorflow_addons(images, addons):
    """Pixels are moved, not computed with: equal to the last bit. Some leave the image altogether."""
    for _ in range(4):
        down, right = _whole_draws(-9, 9), _whole_draws(-5, 5)
        moved = augment.translate(images, _per_image(down), _per_image(right))
        shifts = np.stack([right, down], axis=1).astype(np.float32)
        np.testing.assert_array_equal(moved, addons.image.translate(images, shifts, interpolation="nearest"))


def test_scaling(images):
    for low, high in ((0.8, 1.25), (0.3, 4.0), (1.0, 1.0)):
        factor = _draws(low, high)
        assert_close(augment.scale(images, _per_image(factor)), reference.scale(images, factor))


@pytest.mark.parametrize("size", [(2, 2), (4, 6)])
def test_cutout_equals_that_of_tensorflow_addons(images, addons, size):
    """The centre lies in the image, the rectangle partly outside."""
    for _ in range(4):
        centre = [_whole_draws(0, edge - 1) for edge in images.shape[1:3]]
        corner = [_per_image(middle - edge // 2) for middle, edge in zip(centre, size)]
        cut = augment.cutout(images, *corner, size)
        np.testing.assert_array_equal(
            cut, addons.image.cutout(images, size, np.stack(centre, axis=1).astype(np.int32))
        )


def test_a_rectangle_outside_cuts_nothing(images):
    for row, column in ((-3, 0), (0, 12)):
        cut = augment.cutout(images, *(_per_image([place] * BATCH) for place in (row, column)), (3, 3))
        np.testing.assert_array_equal(cut, images)
