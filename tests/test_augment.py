"""DiffAugment: draws per image, gradients, probability. test_augment_reference.py has the operations."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf import augment
from vitgan_tf.randomness import BatchRandom
from vitgan_tf.registries import AUGMENTATIONS

BATCH, HEIGHT, WIDTH, CHANNELS = 4, 8, 12, 3
SEED = tf.constant([3, 5])


def _augmented(images, policy, probability, seed=SEED):
    return augment.diff_augment(images, policy, probability, BatchRandom(seed, len(images)))


def _images(batch=BATCH):
    return np.random.uniform(-1, 1, size=(batch, HEIGHT, WIDTH, CHANNELS)).astype(np.float32)


def _per_image(values):
    return tf.reshape(tf.constant(values, tf.float32), (-1, 1, 1, 1))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_image_has_its_own_draw(name):
    """The same picture in each place of the batch: all results differ, and follow from the seed."""
    images = np.repeat(_images(1), 16, axis=0)
    result = _augmented(tf.constant(images), (name,), 1.0).numpy()
    distinct = {image.tobytes() for image in result}
    # Translations by -1, 0 or 1 rows and -2 to 2 columns: 15 outcomes; the others have hundreds.
    assert len(distinct) >= (6 if name == "translation" else 12)
    again = _augmented(tf.constant(images), (name,), 1.0).numpy()
    np.testing.assert_array_equal(again, result)
    other = _augmented(tf.constant(images), (name,), 1.0, SEED + 1).numpy()
    assert np.abs(other - result).max() > 0.1


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_probability_is_per_image(name):
    images = tf.constant(np.repeat(_images(1), 4000, axis=0))
    result = _augmented(images, (name,), 0.8).numpy()
    unchanged = np.mean(np.all(np.abs(result - images.numpy()) < 1e-6, axis=(1, 2, 3)))
    # A translation by 0 and 0, drawn once in 15, changes nothing. Three standard deviations are 0.019.
    expected = 0.2 + (0.8 / 15 if name == "translation" else 0.0)
    assert abs(unchanged - expected) < 0.02
    never = _augmented(images, (name,), 0.0).numpy()
    np.testing.assert_allclose(never, images.numpy(), atol=1e-6)


def test_draws_cover_their_ranges():
    """From a picture whose changes can be read off: 1 at the centre pixel, 0 elsewhere."""
    point = np.zeros((3000, 9, 9, 1), np.float32)
    point[:, 4, 4] = 1.0
    moved = _augmented(tf.constant(point), ("translation",), 1.0).numpy()
    rows, columns = np.argmax(moved.max(axis=(2, 3)), axis=1) - 4, np.argmax(moved.max(axis=(1, 3)), axis=1) - 4
    for shifts in (rows, columns):
        values, counts = np.unique(shifts, return_counts=True)
        np.testing.assert_array_equal(values, [-1, 0, 1])
        assert counts.min() > 900
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.06
    white = tf.ones((3000, 8, 8, 1))
    holes = 1.0 - _augmented(white, ("cutout",), 1.0).numpy()[..., 0]
    assert set(holes.sum(axis=(1, 2)).astype(int)) <= {h * w for h in range(2, 5) for w in range(2, 5)}
    bright = _augmented(tf.zeros((3000, 2, 2, 1)), ("color",), 1.0).numpy()[:, 0, 0, 0]
    assert -0.5 <= bright.min() < -0.48 and 0.48 < bright.max() <= 0.5


def test_gradients_reach_the_images():
    """The whole policy is affine in the images: its gradient equals finite differences exactly."""
    images = tf.constant(_images(2))
    weights = np.random.normal(size=images.shape).astype(np.float32)

    def loss(images):
        augmented = _augmented(images, tuple(AUGMENTATIONS), 1.0)
        return tf.reduce_sum(weights * augmented)

    with tf.GradientTape() as tape:
        tape.watch(images)
        value = loss(images)
    gradient = tape.gradient(value, images).numpy()
    assert np.mean(np.abs(gradient) > 0) > 0.3
    direction = np.random.normal(size=images.shape).astype(np.float32)
    difference = (loss(images + direction) - loss(images - direction)).numpy() / 2
    np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=1e-3)


def test_operations_are_applied_in_the_order_of_the_policy():
    """Brightness before a cutout leaves the hole at 0; after it, the hole is brightened too."""
    images = tf.ones((64, 8, 8, 1))
    first = _augmented(images, ("color", "cutout"), 1.0).numpy()
    second = _augmented(images, ("cutout", "color"), 1.0).numpy()
    assert np.mean(np.any(first == 0, axis=(1, 2, 3))) == 1.0
    assert np.mean(np.any(second == 0, axis=(1, 2, 3))) < 0.1


def test_no_policy_is_the_identity():
    images = tf.constant(_images())
    assert _augmented(images, (), 0.8) is images
