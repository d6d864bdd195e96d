"""Labels stay with their images, from the files through memory, disk and prepared sets."""

import gzip
import json
import os
import pathlib
import zipfile

import numpy as np
import pytest
from support import official

from vitgan_tf.commands.calls import call
from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data import cache, reading
from vitgan_tf.data.digits import load_digits
from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.data.loading import load_images, load_labelled_images
from vitgan_tf.data.preparation import prepare
from vitgan_tf.data.registry import dataset_spec
from vitgan_tf.data.sources.folder import image_folder
from vitgan_tf.data.sources.mnist import mnist
from vitgan_tf.errors import UserError
from vitgan_tf.registries import DATASETS

FOLDER = DataConfig("folder", 16, 3)
MNIST = DataConfig("mnist", 32, 1)
GREYS = {"bird": 50, "cat": 100, "dog": 150}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.core.features.feature.logging.warning", lambda *args: None)


def _write(root, *names):
    """Images whose grey is that of the class in their path."""
    for name in names:
        grey = next((value for part, value in GREYS.items() if part in name), 0)
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(official.encoded(np.full((16, 16, 3), grey, np.uint8), "png"))


def _assert_paired(labelled, num_images):
    assert labelled.labels.dtype == np.int64 and labelled.images.shape == (num_images, 16, 16, 3)
    greys = [GREYS[labelled.class_names[label]] for label in labelled.labels]
    np.testing.assert_array_equal(labelled.images[:, 0, 0, 0], greys)


CLASSES = [*(f"dog/{i}.png" for i in range(8)), *(f"cat/deep/{i}.png" for i in range(5)), "bird/0.png"]


@pytest.mark.parametrize(
    "names, expected",
    [
        (["b/1.png", "a/2.png", "b/c/3.png"], {"a/2.png": "a", "b/1.png": "b", "b/c/3.png": "b"}),
        (["top/b/1.png", "top/a/2.png"], {"top/a/2.png": "a", "top/b/1.png": "b"}),
        (["train/b/1.png", "train/a/2.png", "test/a/3.png"], {"train/a/2.png": "a", "train/b/1.png": "b"}),
        (["x/train/b/1.png", "x/train/a/2.png", "x/val/3.png"], {"x/train/a/2.png": "a", "x/train/b/1.png": "b"}),
        (["b/train/1.png", "a/train/2.png", "a/test/3.png"], {"a/train/2.png": "a", "b/train/1.png": "b"}),
        (["train/1.png", "bus/2.png"], {"bus/2.png": "bus", "train/1.png": "train"}),  # no split: classes
        (["1.png", "a/2.png", "b/3.png"], None),
        (["1.png", "2.png"], None),
        (["a/1.png", "a/2.png"], None),
        (["top/1.png", "top/a/2.png", "top/b/3.png"], None),
        (["trainA/1.png", "trainB/2.png", "testA/3.png"], None),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_subfolders_are_classes(tmp_path, names, expected, packed):
    _write(tmp_path / "images", *names)
    path = tmp_path / "images"
    if packed:
        path = tmp_path / "images.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.write(tmp_path / "images" / name, name)
    source = image_folder(str(path))
    if expected is None:
        assert source.labels is None and source.class_names is None
        return
    assert source.class_names == tuple(sorted(set(expected.values())))
    assert {name: source.class_names[label] for name, label in zip(source.names, source.labels)} == expected


def test_classes_whose_names_cannot_be_printed(tmp_path):
    names = os.fsdecode(b"\xe9t\xe9"), "two\nlines"
    _write(tmp_path / "images", *(f"{name}/{i}.png" for name in names for i in range(2)))
    prepared = prepare(dataset_spec(FOLDER), FOLDER, str(tmp_path / "images"), str(tmp_path), "x")
    labelled = load_labelled_images(FOLDER, DataLocation(prepared.directory))
    assert labelled.class_names == (r"\udce9t\udce9", r"two\nlines") and sorted(labelled.labels) == [0, 0, 1, 1]


def test_held_out_images_keep_their_labels(tmp_path):
    _write(tmp_path, *(f"{name}/{i}.png" for name in GREYS for i in range(10)))
    config = DataConfig("folder", 16, 3, holdout=0.3)
    for split, count in (("training", 21), ("evaluation", 9)):
        _assert_paired(load_labelled_images(config, DataLocation(str(tmp_path)), split), count)


def test_images_that_cannot_be_read_take_their_labels_along(tmp_path):
    _write(tmp_path, *CLASSES)
    (tmp_path / "dog" / "3.png").write_bytes(b"")
    (tmp_path / "bird" / "0.png").write_bytes(b"damaged")
    labelled = load_labelled_images(FOLDER, DataLocation(str(tmp_path)))
    _assert_paired(labelled, 12)
    assert labelled.class_names == ("bird", "cat", "dog") and labelled.labels.tolist() == [1] * 5 + [2] * 7
    np.testing.assert_array_equal(load_images(FOLDER, DataLocation(str(tmp_path))), labelled.images)


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """Loads labelled images from a file on disk; whether they were decoded."""
    decodings = []
    decode_all = reading.decode_all
    monkeypatch.setattr(reading, "decode_all", lambda *args: decodings.append(1) or decode_all(*args))
    _write(tmp_path / "images", *CLASSES)
    (tmp_path / "images" / "cat" / "deep" / "1.png").write_bytes(b"")

    def load():
        decodings.clear()
        location = DataLocation(str(tmp_path / "images"), memory_gb=0, cache_dir=str(tmp_path / "cache"))
        labelled = load_labelled_images(FOLDER, location)
        assert isinstance(labelled.images, np.memmap)
        _assert_paired(labelled, 13)
        return bool(decodings)

    return load


def _cached(tmp_path, suffix):
    (path,) = (tmp_path / "cache").glob(f"*{suffix}")
    return path


def test_labels_are_kept_on_disk(on_disk, tmp_path):
    assert [on_disk(), on_disk()] == [True, False]
    path = _cached(tmp_path, ".labels")
    content = path.read_bytes()
    for damaged in (content[:-1], content[:8] + b"\2" + content[9:], b""):
        path.write_bytes(damaged)
        assert [on_disk(), on_disk()] == [True, False]
        assert path.read_bytes() == content
    path.unlink()
    assert [on_disk(), on_disk()] == [True, False]


def test_a_file_of_an_earlier_version_gets_its_labels(on_disk, tmp_path):
    on_disk()
    _cached(tmp_path, ".labels").unlink()
    path = _cached(tmp_path, ".json")
    content = {k: v for k, v in json.loads(path.read_text())["content"].items() if k != "labels_crc32"}
    checksum = cache.zlib.crc32(json.dumps(content).encode())
    path.write_text(json.dumps({"content": content, "checksum": checksum}))
    assert [on_disk(), on_disk()] == [True, False]
    assert len(list((tmp_path / "cache").glob("*.uint8"))) == 1


def test_without_labels_the_files_on_disk_are_those_of_earlier_versions(tmp_path):
    _write(tmp_path / "images", "1.png", "2.png")
    location = DataLocation(str(tmp_path / "images"), memory_gb=0, cache_dir=str(tmp_path / "cache"))
    assert load_labelled_images(FOLDER, location).labels is None
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".uint8"]
    assert "labels_crc32" not in json.loads(_cached(tmp_path, ".json").read_text())["content"]


@pytest.mark.parametrize("test_names", [["test/dog/0.png", "test/cat/0.png"], ["test/dog/0.png", "test/emu/0.png"]])
def test_a_prepared_set_has_the_labels_of_the_folder(tmp_path, test_names):
    """The classes are those of the training images: with others, the evaluation images have no labels."""
    _write(tmp_path / "images", *(f"train/{name}" for name in CLASSES), *test_names)
    (tmp_path / "images" / "train" / "dog" / "2.png").write_bytes(b"")
    arguments = dataset_spec(FOLDER), FOLDER, str(tmp_path / "images"), str(tmp_path), "pets"
    prepared = prepare(*arguments, shard_images=4)
    location = DataLocation(prepared.directory)
    labelled = load_labelled_images(FOLDER, location)
    _assert_paired(labelled, 13)
    assert labelled.class_names == ("bird", "cat", "dog")
    evaluation = load_labelled_images(FOLDER, location, "evaluation")
    if "test/emu/0.png" in test_names:
        assert evaluation.images.shape == (2, 16, 16, 3) and evaluation.labels is None
    else:
        _assert_paired(evaluation, 2)
    on_disk = DataLocation(prepared.directory, memory_gb=0, cache_dir=str(tmp_path / "cache"))
    for _ in range(2):
        _assert_paired(load_labelled_images(FOLDER, on_disk), 13)


def _prepared_mnist(tmp_path):
    prepare(DATASETS["mnist"], MNIST, str(tmp_path / "raw"), str(tmp_path))
    location = DataLocation(str(tmp_path))
    return [load_labelled_images(MNIST, location, split) for split in ("training", "evaluation")]


def test_mnist(tmp_path):
    images = official.write_mnist(tmp_path / "raw")
    loaded = _prepared_mnist(tmp_path)
    for labelled, part, labels in zip(loaded, images, official.mnist_labels()):
        np.testing.assert_array_equal(labelled.images[:, 2:-2, 2:-2, 0], part)
        np.testing.assert_array_equal(labelled.labels, labels)
        assert labelled.class_names == tuple("0123456789")


@pytest.mark.parametrize("missing, labelled", [(["t10k"], [True, False]), (["train", "t10k"], [False, False])])
def test_mnist_without_files_of_labels(tmp_path, missing, labelled):
    official.write_mnist(tmp_path / "raw")
    for prefix in missing:
        os.remove(tmp_path / "raw" / f"{prefix}-labels-idx1-ubyte.gz")
    assert [loaded.labels is not None for loaded in _prepared_mnist(tmp_path)] == labelled


@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", "train-labels.idx1-ubyte"])
def test_files_of_labels_that_are_not_whole(tmp_path, name):
    official.write_mnist(tmp_path)
    packed = tmp_path / "train-labels-idx1-ubyte.gz"
    content = gzip.decompress(packed.read_bytes())
    packed.unlink()
    path = tmp_path / name
    path.write_bytes(content)
    np.testing.assert_array_equal(mnist(str(tmp_path), "training").labels, official.mnist_labels()[0])
    shorter = np.array([0x801, 59], ">i4").tobytes() + content[8:-1]
    advice = "fetch it again, or delete it if labels are not needed"
    for wrong, words in (
        (content[:-1], "not a complete idx file of labels"),
        (b"", "not a complete idx file of labels"),
        (gzip.compress(content)[:-9], "cannot read"),
        (shorter, "59 labels up to 9 for 60 images"),
        (content[:-1] + b"\xff", "60 labels up to 255"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=f"{words}.*{advice}"):
            mnist(str(tmp_path), "training")


def test_digits():
    labelled = load_labelled_images(DataConfig("digits", 8, 1))
    np.testing.assert_array_equal(labelled.labels, load_digits(8)[1])
    assert labelled.class_names == tuple("0123456789")


def test_images_of_some_classes():
    images, labels = load_digits(8)
    chosen = load_labelled_images(DataConfig("digits", 8, 1, classes=(7, 2)))
    expected = [index for index, label in enumerate(labels) if label in (2, 7)]
    np.testing.assert_array_equal(chosen.images, images[expected])
    np.testing.assert_array_equal(chosen.labels, labels[expected])
    assert chosen.class_names == tuple("0123456789")
    with pytest.raises(UserError, match="there is no class 10, only 0 to 9"):
        load_labelled_images(DataConfig("digits", 8, 1, classes=(3, 10)))
    with pytest.raises(UserError, match="--classes needs labels, and this set has none"):
        LabelledImages(images).of_classes((1,))
    with pytest.raises(UserError, match="there is no image of these classes"):
        LabelledImages(images, np.zeros(len(images), np.int64), ("a", "b")).of_classes((1,))


def test_classes_on_the_command_line():
    config = call("run", "--dry_run", "--dataset=digits", "--classes=0-2,7")
    assert config["data"]["classes"] == (0, 1, 2, 7)
