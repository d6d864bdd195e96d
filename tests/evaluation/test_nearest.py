"""The nearest real images of generated ones: exact, by pixels and by features, whatever the blocks."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.evaluation import nearest as module
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.nearest import nearest_real
from vitgan_tf.evaluation.real_statistics import real_statistics


class _Counting(FeatureExtractor):
    """Fixed random features, and how many images have gone through it."""

    def __init__(self, channels=1):
        weights = np.random.RandomState(0).normal(size=(25 * channels, 6)).astype(np.float32)

        def function(images):
            features = tf.reshape(images, [-1, 25 * channels]) @ weights
            return features, features[:, :2]

        super().__init__("counting", function, "0", "none", num_channels=channels, batch_size=8)
        self.images = 0

    def activations(self, batches):
        for features, logits in super().activations(batches):
            self.images += len(features)
            yield features, logits


def _images(count, seed, channels=1, high=256):
    return np.random.RandomState(seed).randint(0, high, (count, 5, 5, channels)).astype(np.uint8)


def _expected(values, real_values, count):
    """By a loop over all pairs, in exact integers where the values are; of equal distances, the first index."""
    indices, distances = [], []
    for value in values:
        squares = [((value - other) ** 2).sum() for other in real_values]
        chosen = sorted(range(len(squares)), key=lambda index: (squares[index], index))[:count]
        indices.append(chosen)
        distances.append(np.sqrt([float(squares[index]) for index in chosen]))
    return np.array(indices), np.array(distances)


@pytest.fixture(params=[(4096, 2**22, 256), (7, 2**22, 3), (4096, 60, 3)])
def _sizes(request, monkeypatch):
    for name, value in zip(("_ROWS", "_NUMBERS", "_QUERIES"), request.param):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("channels, high", [(1, 256), (3, 256), (1, 2), (1, 1)])
def test_by_pixels_they_are_those_of_a_naive_loop(channels, high):
    images, real_images = _images(10, 0, channels, high), _images(60, 1, channels, high)
    indices, distances = nearest_real(images, real_images, count=5)
    expected = _expected(images.astype(np.int64), real_images.astype(np.int64), 5)
    np.testing.assert_array_equal(indices, expected[0])
    np.testing.assert_array_equal(distances, expected[1])


def test_blocks_are_bounded_in_rows_and_in_numbers(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 5)
    monkeypatch.setattr(module, "_NUMBERS", 60)
    sizes = [[len(block) for _, block in module._blocks(np.empty([9, dim]))] for dim in (1, 12, 25, 100)]
    assert sizes == [[5, 4], [5, 4], [2, 2, 2, 2, 1], [1] * 9]


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("channels", [1, 3])
def test_by_features_they_are_those_of_a_naive_loop_with_and_without_statistics(channels):
    images, real_images = _images(10, 0, channels), _images(60, 1, channels)
    extractor = _Counting(channels)
    features, real_features = (
        np.concatenate([batch for batch, _ in extractor.activations([values])]).astype(np.float64)
        for values in (images, real_images)
    )
    expected = _expected(features, real_features, 4)
    statistics = real_statistics(real_images, extractor, {}, None)
    some = real_statistics(real_images, extractor, {}, None, rows=np.arange(0, 60, 2))
    for real, extracted in ((statistics, 10), (None, 70), (some, 70)):
        before = extractor.images
        indices, distances = nearest_real(images, real_images, extractor, real)
        np.testing.assert_array_equal(indices, expected[0])
        np.testing.assert_allclose(distances, expected[1], rtol=1e-5)
        assert extractor.images - before == extracted


@pytest.mark.parametrize("extractor", [None, _Counting()])
def test_copies_are_found_at_distance_zero(extractor):
    real_images = _images(50, 0)
    copied = np.array([31, 4, 49])
    indices, distances = nearest_real(real_images[copied], real_images, extractor)
    np.testing.assert_array_equal(indices[:, 0], copied)
    np.testing.assert_allclose(distances[:, 0], 0.0, atol=0.0 if extractor is None else 1e-4)
    assert distances[:, 1].min() > 1.0


def test_there_are_no_more_than_there_are_real_images():
    indices, distances = nearest_real(_images(2, 0), _images(3, 1))
    assert indices.shape == distances.shape == (2, 3)
    assert (np.sort(indices, axis=1) == [0, 1, 2]).all()


def test_memory_mapped_images_are_read(tmp_path):
    real_images = _images(30, 1)
    np.save(tmp_path / "images.npy", real_images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(nearest_real(_images(5, 0), mapped), nearest_real(_images(5, 0), real_images))


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="images of one shape"):
        nearest_real(_images(2, 0), _images(2, 0, channels=3))
