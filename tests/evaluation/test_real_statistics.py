"""Statistics of the real images: computed once, kept whole, never read under another key."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.evaluation import real_statistics as module
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.neighbors import manifold_radii, neighbor_distances
from vitgan_tf.evaluation.real_statistics import real_statistics
from vitgan_tf.evaluation.scores import REAL_ORDER, scrambled_order

KEY = {"dataset": "noise", "split": "training"}


class _Counting(FeatureExtractor):
    """Fixed random features, and how many images have gone through it."""

    def __init__(self, sha256="0", resize="none"):
        weights = np.random.RandomState(0).normal(size=(16, 6)).astype(np.float32)

        def function(images):
            features = tf.reshape(images, [-1, 16]) @ weights
            return features, features[:, :2]

        super().__init__("counting", function, sha256, resize, num_channels=1, batch_size=32)
        self.images = 0

    def activations(self, batches):
        for features, logits in super().activations(batches):
            self.images += len(features)
            yield features, logits


def _images(count=100, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, 4, 4, 1)).astype(np.uint8)


def _features(images):
    return np.concatenate([features for features, _ in _Counting().activations([images])])


def _same(first, second):
    np.testing.assert_array_equal(first.gaussian.mean, second.gaussian.mean)
    np.testing.assert_array_equal(first.gaussian.covariance, second.gaussian.covariance)
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.radii, second.radii)
    np.testing.assert_array_equal(first.nearest, second.nearest)
    assert first.gaussian.count == second.gaussian.count


def _files(cache_dir):
    return sorted(path for path in (pathlib.Path(cache_dir) / "statistics").iterdir() if path.suffix == ".npz")


def test_they_are_those_of_numpy():
    images = _images()
    features = _features(images)
    result = real_statistics(images, _Counting(), KEY, None)
    np.testing.assert_allclose(result.gaussian.mean, features.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(result.gaussian.covariance, np.cov(features, rowvar=False), rtol=1e-5)
    np.testing.assert_array_equal(result.features, features[scrambled_order(features, REAL_ORDER)])
    np.testing.assert_array_equal(result.radii, manifold_radii(result.features))
    np.testing.assert_array_equal(result.nearest, neighbor_distances(result.features)[:, 0])
    np.testing.assert_array_equal(features[result.rows], result.features)
    assert result.gaussian.count == 100


def test_those_of_some_rows_are_those_of_these_images_alone(tmp_path):
    images = _images()
    rows = np.arange(5, 100, 3)
    some, alone = (
        real_statistics(images, _Counting(), KEY, str(tmp_path), rows),
        real_statistics(images[rows], _Counting(), KEY, None),
    )
    _same(some, alone)
    np.testing.assert_array_equal(some.rows, rows[alone.rows])
    extractor = _Counting()
    read = real_statistics(images[rows], extractor, KEY, str(tmp_path))
    assert extractor.images == 0  # the same images have the same key
    np.testing.assert_array_equal(read.rows, alone.rows)


def test_they_do_not_depend_on_the_order_of_the_images():
    """But for rounding: some processors round a row of a product by its place."""
    images = _images()
    first, second = (real_statistics(values, _Counting(), KEY, None) for values in (images, images[::-1]))
    np.testing.assert_allclose(first.features, second.features, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(first.gaussian.covariance, second.gaussian.covariance, rtol=1e-6)


def test_of_large_sets_a_random_part_is_kept(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT", 40)
    images = _images()
    features = _features(images)
    result = real_statistics(images, _Counting(), KEY, None)
    assert result.gaussian.count == 100 and result.features.shape == (40, 6)
    np.testing.assert_allclose(result.gaussian.covariance, np.cov(features, rowvar=False), rtol=1e-5)
    rows = [np.flatnonzero((features == row).all(axis=1))[0] for row in result.features]
    assert len(set(rows)) == 40 and 35 < np.mean(rows) < 64  # from everywhere
    assert result.radii.shape == result.nearest.shape == (40,)
    np.testing.assert_array_equal(features[result.rows], result.features)


def test_a_second_time_they_are_read(tmp_path):
    images, extractor = _images(), _Counting()
    first = real_statistics(images, extractor, KEY, str(tmp_path))
    assert extractor.images == 100
    second = real_statistics(images, extractor, KEY, str(tmp_path))
    assert extractor.images == 100
    _same(first, second)
    assert len(_files(tmp_path)) == 1
    assert not list(tmp_path.glob("**/*.partial"))


@pytest.mark.parametrize("change", ["image", "number", "split", "extractor", "resize", "version"])
def test_another_key_is_another_file(tmp_path, monkeypatch, change):
    images, extractor, key = _images(), _Counting(), KEY
    first = real_statistics(images, extractor, key, str(tmp_path))
    if change == "image":
        images = images.copy()
        images[77, 3, 3, 0] ^= 1  # one grey level of one pixel
    elif change == "number":
        images = images[:-1]
    elif change == "split":
        key = {**KEY, "split": "evaluation"}
    elif change == "version":
        monkeypatch.setattr(module, "_VERSION", 99)
    else:
        extractor = _Counting(**{"sha256" if change == "extractor" else "resize": "other"})
    before = extractor.images
    real_statistics(images, extractor, key, str(tmp_path))
    assert extractor.images == before + len(images)
    assert len(_files(tmp_path)) == 2
    again = _Counting()
    monkeypatch.undo()
    _same(real_statistics(_images(), again, KEY, str(tmp_path)), first)
    assert again.images == 0


def _damage(path, kind):
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not statistics")
    elif kind == "flipped":
        middle = content.index(b"features.npy") + 400  # within the array: only its checksum tells
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif kind == "pickled":
        np.savez(path, key=np.array([{"a": 1}], dtype=object))
    elif kind == "one array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "directory":  # of the archive: a version of the format that does not exist
        entry = content.rindex(b"PK\x01\x02") + 6
        path.write_bytes(content[:entry] + b"\xd2" + content[entry + 1 :])
    elif kind == "shapes":
        with np.load(path) as file:
            np.savez(path, **{**{name: file[name] for name in file.files}, "covariance": np.eye(3)})
    elif kind == "incomplete":
        with np.load(path) as file:
            np.savez(path, **{name: file[name] for name in file.files if name != "radii"})


DAMAGES = ["truncated", "empty", "text", "flipped", "pickled", "incomplete", "one array", "directory", "shapes"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_is_named_and_replaced(tmp_path, caplog, kind):
    images, extractor = _images(), _Counting()
    first = real_statistics(images, extractor, KEY, str(tmp_path))
    other = real_statistics(images[:50], extractor, KEY, str(tmp_path))
    (path,) = (path for path in _files(tmp_path) if np.load(path)["count"] == 100)
    _damage(path, kind)
    extractor = _Counting()
    with caplog.at_level("WARNING", logger="absl"):
        _same(real_statistics(images, extractor, KEY, str(tmp_path)), first)
    assert extractor.images == 100
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"cannot use {path} (") and len(message.splitlines()) == 1
    _same(real_statistics(images, extractor, KEY, str(tmp_path)), first)
    _same(real_statistics(images[:50], extractor, KEY, str(tmp_path)), other)
    assert extractor.images == 100


def test_a_file_of_another_key_under_this_name_is_not_read(tmp_path, caplog):
    first = real_statistics(_images(), _Counting(), KEY, str(tmp_path))
    (path,) = _files(tmp_path)
    content = path.read_bytes()
    real_statistics(_images(seed=1), _Counting(), KEY, str(tmp_path))
    (other,) = (file for file in _files(tmp_path) if file != path)
    path.write_bytes(other.read_bytes())
    extractor = _Counting()
    with caplog.at_level("WARNING", logger="absl"):
        _same(real_statistics(_images(), extractor, KEY, str(tmp_path)), first)
    assert extractor.images == 100 and "belongs to other images or another extractor" in caplog.text
    assert path.read_bytes() == content


def test_without_a_place_for_the_file_the_statistics_are_still_there(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level("WARNING", logger="absl"):
        result = real_statistics(_images(), _Counting(), KEY, str(tmp_path / "file"))
    assert result.gaussian.count == 100
    assert "cannot write the statistics" in caplog.text and len(caplog.records) == 1


def test_an_interrupted_write_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    def fail(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(KeyboardInterrupt):
            real_statistics(_images(), _Counting(), KEY, str(tmp_path))
    assert _files(tmp_path) == [] and not list(tmp_path.glob("**/*.partial"))
