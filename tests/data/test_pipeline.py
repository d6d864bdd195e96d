"""The order of the training images."""

import numpy as np
import tensorflow as tf

from vitgan_tf.data.pipeline import training_dataset

NUM_IMAGES, BATCH = 23, 5


def _numbers(seed=0, first_step=0, batches=23):
    """Image numbers in the order in which they come: image i is a constant picture of grey level 10 i."""
    images = np.arange(NUM_IMAGES, dtype=np.uint8)[:, None, None, None] * np.full((1, 2, 3, 1), 10, np.uint8)
    dataset = training_dataset(images, BATCH, seed, first_step)
    assert dataset.element_spec == tf.TensorSpec((BATCH, 2, 3, 1), tf.float32)
    greys = np.concatenate([batch.numpy() for batch in dataset.take(batches)])
    numbers = np.rint((greys + 1) * 127.5) / 10
    assert np.ptp(numbers, axis=(1, 2, 3)).max() == 0
    return numbers[:, 0, 0, 0].astype(int)


def test_every_image_once_per_epoch_in_a_new_order():
    epochs = _numbers().reshape(5, NUM_IMAGES)
    for epoch in epochs:
        assert sorted(epoch) == list(range(NUM_IMAGES))
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert not np.array_equal(epochs[0], np.arange(NUM_IMAGES))


def test_starting_later_continues_the_same_order():
    order = _numbers()
    for step in (1, 4, 5, 17):
        np.testing.assert_array_equal(_numbers(first_step=step, batches=3), order[step * BATCH : (step + 3) * BATCH])


def test_seed_decides_the_order():
    np.testing.assert_array_equal(_numbers(seed=7), _numbers(seed=7))
    assert not np.array_equal(_numbers(seed=7), _numbers(seed=8))


def test_images_follow_each_other_without_pattern():
    """Over many epochs each image is as often first as any other (expected 20 of 460, sigma 4.4)."""
    firsts = _numbers(batches=NUM_IMAGES * 460 // BATCH).reshape(460, NUM_IMAGES)[:, 0]
    assert np.bincount(firsts, minlength=NUM_IMAGES).max() < 42
    assert np.bincount(firsts, minlength=NUM_IMAGES).min() > 3


def test_values_are_in_minus_one_to_one():
    images = np.array([0, 255], np.uint8)[:, None, None, None]
    batch = next(iter(training_dataset(images, 2, 0)))
    assert sorted(batch.numpy().ravel()) == [-1.0, 1.0]
