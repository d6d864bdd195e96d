"""The order of the training images, and their flips."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.data.pipeline import training_dataset

NUM_IMAGES, BATCH = 23, 5
# Image i is a picture of grey level 10 i.
IMAGES = np.arange(NUM_IMAGES, dtype=np.uint8)[:, None, None, None] * np.full((1, 2, 3, 1), 10, np.uint8)


def _numbers(seed=0, first_step=0, batches=23, images=IMAGES, **options):
    """Image numbers in the order in which they come."""
    dataset = training_dataset(images, BATCH, seed, first_step, **options)
    share = BATCH // options.get("num_workers", 1)
    assert dataset.element_spec == tf.TensorSpec((share, 2, 3, 1), tf.float32)
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


def test_no_two_epochs_are_alike():
    """Also after 256 of them, and under seeds that agree in their last byte."""
    epochs = _numbers(seed=3, batches=NUM_IMAGES * 600 // BATCH).reshape(600, NUM_IMAGES)
    assert len({tuple(epoch) for epoch in epochs}) == 600
    others = _numbers(seed=3 + 256, batches=NUM_IMAGES).reshape(-1, NUM_IMAGES)
    assert not {tuple(epoch) for epoch in others} & {tuple(epoch) for epoch in epochs}


@pytest.mark.slow
def test_pairs_meet_in_a_batch_as_often_as_chance_has_it():
    """Over 2,000 epochs: the mean of the counts, and their variance, as for independent draws."""
    numbers = _numbers(batches=NUM_IMAGES * 2000 // BATCH).reshape(-1, BATCH)
    present = np.zeros((len(numbers), NUM_IMAGES))
    np.put_along_axis(present, numbers, 1, axis=1)
    meetings = (present.T @ present)[np.triu_indices(NUM_IMAGES, 1)]
    chance = BATCH * (BATCH - 1) / (NUM_IMAGES * (NUM_IMAGES - 1))
    # A little less often: a batch that reaches into the next epoch may hold an image twice.
    np.testing.assert_allclose(meetings.mean(), len(numbers) * chance, rtol=0.03)
    np.testing.assert_allclose(meetings.var(), len(numbers) * chance * (1 - chance), rtol=0.35)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 65_537, 262_145])
def test_an_epoch_of_any_size_has_every_image_once(size):
    images = np.arange(size, dtype=np.uint32).view(np.uint8).reshape(size, 1, 4, 1)
    batch = next(iter(training_dataset(images, size, seed=1, first_step=2)))
    numbers = np.rint((batch.numpy().reshape(size, 4) + 1) * 127.5).astype(np.uint8).view(np.uint32)
    np.testing.assert_array_equal(np.sort(numbers[:, 0]), np.arange(size))


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


def test_the_whole_set_is_shuffled_and_not_a_window_of_it():
    """Neighbours in a batch lie, on average, a third of the set apart: that of two independent uniform draws."""
    images = np.arange(60_000, dtype=np.uint16).view(np.uint8).reshape(60_000, 1, 2, 1)
    batch = next(iter(training_dataset(images, 10_000, seed=1)))
    low, high = np.rint((batch.numpy()[:, 0, :, 0].T + 1) * 127.5).astype(int)
    numbers = low + 256 * high
    assert len(set(numbers)) == 10_000
    np.testing.assert_allclose(np.abs(np.diff(numbers)).mean(), 20_000, rtol=0.03)
    np.testing.assert_allclose(numbers.mean(), 30_000, rtol=0.03)


def test_the_same_order_whatever_the_parallel_calls():
    one, four = (_numbers(seed=2, batches=200, num_parallel_calls=calls) for calls in (1, 4))
    np.testing.assert_array_equal(one, four)
    images = np.random.RandomState(0).randint(0, 256, (50, 8, 8, 3)).astype(np.uint8)
    for a, b in zip(
        training_dataset(images, 8, 0, flip=True, num_parallel_calls=1).take(50),
        training_dataset(images, 8, 0, flip=True, num_parallel_calls=4),
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("num_workers", [2, 4])
def test_workers_share_each_batch_without_overlap(num_workers):
    """Together they see, batch for batch, what one worker alone sees, flips included."""
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (50, 4, 4, 3)).astype(np.uint8)
    whole = training_dataset(images, 8, seed=5, first_step=3, flip=True)
    shares = [
        training_dataset(images, 8, 5, 3, flip=True, num_workers=num_workers, worker=worker)
        for worker in range(num_workers)
    ]
    assert shares[0].element_spec.shape == (8 // num_workers, 4, 4, 3)
    for batch, *parts in zip(whole.take(30), *shares):
        np.testing.assert_array_equal(np.concatenate(parts), batch)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_step_of_several_batches_is_these_batches_one_after_the_other(num_workers):
    images = np.random.RandomState(0).randint(0, 256, (50, 4, 4, 3)).astype(np.uint8)
    for worker in range(num_workers):
        options = {"seed": 5, "flip": True, "num_workers": num_workers, "worker": worker}
        single = list(training_dataset(images, 8, **options).take(15))
        several = training_dataset(images, 8, first_step=2, batches_per_step=3, **options)
        assert several.element_spec.shape == (3 * 8 // num_workers, 4, 4, 3)
        for step, batch in zip(range(2, 5), several):
            np.testing.assert_array_equal(np.concatenate(single[3 * step : 3 * step + 3]), batch)


def test_shares_that_do_not_go():
    for num_workers, worker in ((2, 0), (5, 5), (5, -1)):
        with pytest.raises(
            ValueError, match=f"a batch of 5 images has no equal share for worker {worker} of {num_workers}"
        ):
            training_dataset(IMAGES, BATCH, 0, num_workers=num_workers, worker=worker)


def _flipped(first_step, steps, seed=0, batch_size=100):
    """Whether each image came mirrored, and its number: that stands in its left half, and 255 in its right half."""
    images = np.full((100, 1, 2, 1), 255, np.uint8)
    images[:, 0, 0, 0] = np.arange(100)
    batches = training_dataset(images, batch_size, seed, first_step, flip=True).take(steps)
    left, right = np.rint((np.concatenate(list(batches))[:, 0, :, 0].T + 1) * 127.5).astype(int)
    assert (np.maximum(left, right) == 255).all()
    return left == 255, np.minimum(left, right)


def test_half_of_the_images_are_flipped_each_time_anew():
    flips, numbers = _flipped(0, 100)
    # 10,000 draws of probability 1/2: three standard deviations are 0.015.
    assert abs(flips.mean() - 0.5) < 0.015
    by_image = np.array([flips[numbers == number] for number in range(100)])  # 100 epochs of each image
    assert abs(by_image.mean(axis=1) - 0.5).max() < 0.2 and by_image.mean(axis=1).std() < 0.07
    repeats = (by_image[:, 1:] == by_image[:, :-1]).mean()  # from epoch to epoch
    assert abs(repeats - 0.5) < 0.02
    neighbours = (flips[1:] == flips[:-1]).mean()  # from place to place
    assert abs(neighbours - 0.5) < 0.02


def test_flips_continue_after_a_resume_and_depend_on_the_seed():
    flips, numbers = _flipped(0, 20)
    later = _flipped(7, 5)
    np.testing.assert_array_equal(later[0], flips[700:1200])
    np.testing.assert_array_equal(later[1], numbers[700:1200])
    assert 0.3 < (_flipped(0, 20, seed=1)[0] == flips).mean() < 0.7


def test_without_flip_nothing_is_mirrored():
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 3, 2)
    for batch in training_dataset(image, 4, 0).take(20):
        np.testing.assert_allclose((batch.numpy() + 1) * 127.5, np.repeat(image, 4, axis=0), atol=1e-4)


def test_values_are_in_minus_one_to_one():
    images = np.array([0, 255], np.uint8)[:, None, None, None]
    batch = next(iter(training_dataset(images, 2, 0)))
    assert sorted(batch.numpy().ravel()) == [-1.0, 1.0]


def test_images_mapped_from_a_file_come_in_the_same_order(tmp_path):
    path = tmp_path / "images.uint8"
    IMAGES.tofile(path)
    mapped = np.memmap(path, np.uint8, mode="r", shape=IMAGES.shape)
    np.testing.assert_array_equal(_numbers(images=mapped), _numbers())
    np.testing.assert_array_equal(_numbers(images=mapped[3:]), _numbers(images=IMAGES[3:]))  # a part of it


@pytest.mark.parametrize("kind", ["aligned", "unaligned", "read_only", "strided", "dropped"])
def test_any_array_will_do(kind):
    """TensorFlow takes over memory only where it is aligned; and keeps it, whoever else lets it go."""
    memory = np.empty(IMAGES.size + 128, np.uint8)
    offset = -memory.ctypes.data % 64 + (kind == "unaligned")
    images = memory[offset : offset + IMAGES.size].reshape(IMAGES.shape)
    images[:] = IMAGES
    if kind == "read_only":
        images.flags.writeable = False
    elif kind == "strided":
        images = np.repeat(images, 2, axis=0)[::2]
    dataset = training_dataset(images, BATCH, 0)
    if kind == "dropped":
        del images, memory
    first = np.rint((next(iter(dataset)).numpy()[:, 0, 0, 0] + 1) * 127.5) / 10
    np.testing.assert_array_equal(first, _numbers()[:BATCH])
