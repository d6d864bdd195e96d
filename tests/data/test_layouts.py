"""Data sets in the folders and archives in which people have them after a download."""

import gzip
import io
import os
import pickle
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from support import official

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.preparation import prepare
from vitgan_tf.data.registry import dataset_spec
from vitgan_tf.data.sources import lsun as lsun_lib
from vitgan_tf.data.sources.base import MissingFilesError
from vitgan_tf.data.sources.celeba import celeba
from vitgan_tf.data.sources.cifar10 import cifar10
from vitgan_tf.data.sources.lsun import lsun
from vitgan_tf.data.sources.mnist import mnist
from vitgan_tf.errors import UserError


def _all(source):
    return [source.read(index) for index in range(len(source))]


def _members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def _write_files(folder, files):
    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


def _write_zip(path, files):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _celeba_of(folder, layout):
    """Writes CelebA in a layout; returns the path to give, and the images of both splits."""
    training, evaluation = official.write_celeba(folder / "official")
    images = _members(folder / "official" / "img_align_celeba.zip")
    text = (folder / "official" / "list_eval_partition.txt").read_bytes()
    csv = b"image_id,partition\n" + text.replace(b" ", b",")
    root = folder / "root"
    if layout == "kaggle_zip":
        files = {f"img_align_celeba/{name}": content for name, content in images.items()}
        _write_zip(root / "archive.zip", {**files, "list_eval_partition.csv": csv, "list_attr_celeba.csv": b"a"})
        return root / "archive.zip", training, evaluation
    if layout == "kaggle_zip_in_its_folder":
        return _celeba_of(folder, "kaggle_zip")[0].parent, training, evaluation
    if layout == "kaggle_folder":
        _write_files(root, {f"img_align_celeba/{name}": content for name, content in images.items()})
        _write_files(root, {"list_eval_partition.csv": csv})
    elif layout == "torchvision":
        _write_files(root, {f"celeba/{name}": content for name, content in images.items()})
        _write_files(root, {"celeba/list_eval_partition.txt": text})
    elif layout == "authors":
        _write_files(root, {"Eval/list_eval_partition.txt": text, "Anno/identity_CelebA.txt": b""})
        _write_zip(root / "Img" / "img_align_celeba.zip", images)
    elif layout == "png":
        files = {name.replace("img_align_celeba/", "").replace(".jpg", ".png"): c for name, c in images.items()}
        _write_files(root, {f"img_align_celeba_png/{name}": content for name, content in files.items()})
        _write_files(root, {"list_eval_partition.txt": text})
    return root, training, evaluation


CELEBA_LAYOUTS = ["kaggle_zip", "kaggle_zip_in_its_folder", "kaggle_folder", "torchvision", "authors", "png"]


@pytest.mark.parametrize("layout", CELEBA_LAYOUTS)
def test_celeba_as_it_is_downloaded(tmp_path, layout):
    path, training, evaluation = _celeba_of(tmp_path, layout)
    for split, expected in (("training", training), ("evaluation", evaluation)):
        source = celeba(str(path), split)
        assert _all(source) == expected and source.notes == []


def test_a_part_of_celeba_is_used_and_counted(tmp_path):
    path, training, _ = _celeba_of(tmp_path, "kaggle_folder")
    images = sorted((path / "img_align_celeba" / "img_align_celeba").iterdir())
    for image in images[30:]:
        image.unlink()
    source = celeba(str(path), "training")
    assert _all(source) == training[:30]
    assert source.notes == [
        f"10 of the 40 images of CelebA's training split are not in {str(path)!r}, the first is 000031: the others "
        "are used"
    ]
    with pytest.raises(MissingFilesError, match="none of the 10 images of CelebA's evaluation split"):
        celeba(str(path), "evaluation")


@pytest.mark.parametrize("row", ['"{}","{}"', "{index},{},{}", "{}, {}.0"])
def test_partitions_as_other_programs_write_them(tmp_path, row):
    path, training, _ = _celeba_of(tmp_path, "kaggle_folder")
    lines = (path / "list_eval_partition.csv").read_text().splitlines()[1:]
    rows = [row.format(*line.split(","), index=index) for index, line in enumerate(lines)]
    (path / "list_eval_partition.csv").write_text("\n".join(["header", *rows]))
    (path / "img_align_celeba_png").mkdir()
    assert _all(celeba(str(path), "training")) == training
    assert _all(celeba(str(path / "img_align_celeba"), "training")) == training
    (path / "list_eval_partition.csv").write_text("<html>")
    with pytest.raises(UserError, match="is no list of partitions: its rows are not like"):
        celeba(str(path), "training")


def test_wrong_versions_of_celeba_are_named(tmp_path):
    _write_files(tmp_path, {"img_celeba/1.jpg": b"", "list_eval_partition.txt": b"000001.jpg 0\n"})
    with pytest.raises(MissingFilesError, match="images in the wild, and not the aligned ones"):
        celeba(str(tmp_path), "training")
    shutil.rmtree(tmp_path / "img_celeba")
    (tmp_path / "img_align_celeba_png.7z.001").write_bytes(b"")
    with pytest.raises(
        MissingFilesError, match=r"lacks img_align_celeba.zip or .*unpack img_align_celeba_png.7z.001"
    ):
        celeba(str(tmp_path), "training")


class _Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as in the official files."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    dispatch[bytes] = save_bytes


def _python_batch(images):
    buffer = io.BytesIO()
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(len(images), -1))
    batch = {b"batch_label": b"training batch", b"labels": list(range(len(images))), b"data": rows}
    _Python2Pickler(buffer, protocol=2).dump({**batch, b"filenames": [b"a.png"] * len(images)})
    return buffer.getvalue()


def _cifar10_of(folder, layout):
    training, evaluation = official.write_cifar10(folder / "official")
    files = {f"data_batch_{n + 1}": _python_batch(part) for n, part in enumerate(np.array_split(training, 5))}
    files = {**files, "test_batch": _python_batch(evaluation), "batches.meta": b""}
    files = {f"cifar-10-batches-py/{name}": content for name, content in files.items()}
    root = folder / "root"
    if layout in ("python_folder", "torchvision"):
        _write_files(root / ("data" if layout == "torchvision" else ""), files)
    if layout in ("python_archive", "torchvision"):
        os.makedirs(root, exist_ok=True)
        with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
            for name, content in reversed(files.items()):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    if layout == "binary_below":
        shutil.move(folder / "official", root / "downloads")
    return root, training, evaluation


@pytest.mark.parametrize("layout", ["python_folder", "python_archive", "torchvision", "binary_below"])
def test_cifar10_as_it_is_downloaded(tmp_path, layout):
    root, training, evaluation = _cifar10_of(tmp_path, layout)
    places = [root, root / "cifar-10-python.tar.gz"] if layout == "python_archive" else [root]
    for place in places:
        for split, images in (("training", training), ("evaluation", evaluation)):
            source = cifar10(str(place), split)
            np.testing.assert_array_equal(_all(source), images)
            np.testing.assert_array_equal(source.labels, np.arange(len(images)) % 10)
            assert (source.labels.dtype, source.class_names[9]) == (np.int64, "truck")


def test_cifar10_of_which_parts_are_unpacked(tmp_path):
    root, training, evaluation = _cifar10_of(tmp_path, "torchvision")
    folder = root / "data" / "cifar-10-batches-py"
    (folder / "data_batch_3").unlink()
    (folder / "test_batch").unlink()
    np.testing.assert_array_equal(_all(cifar10(str(root), "training")), training)  # from the archive
    np.testing.assert_array_equal(_all(cifar10(str(root), "evaluation")), evaluation)
    (root / "cifar-10-python.tar.gz").unlink()
    with pytest.raises(MissingFilesError, match=r"CIFAR-10 in .* lacks data_batch_3"):
        cifar10(str(root), "training")
    with pytest.raises(MissingFilesError, match="no CIFAR-10"):
        cifar10(str(root), "evaluation")


@pytest.mark.parametrize(
    "member, words",
    [
        ("cifar-10-batches-mat/data_batch_1.mat", "CIFAR-10's Matlab version"),
        ("cifar-100-python/train", "CIFAR-100"),
        ("cifar-100-binary/train.bin", "CIFAR-100"),
    ],
)
def test_wrong_versions_of_cifar10_are_named(tmp_path, member, words):
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(member), io.BytesIO())
    for place in (tmp_path, tmp_path / "cifar-100-python.tar.gz"):
        with pytest.raises(
            UserError, match=rf"is {words}: cifar-10-binary.tar.gz or cifar-10-python.tar.gz is needed"
        ):
            cifar10(str(place), "training")
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz") as tar:
        tar.extractall(tmp_path)
    (tmp_path / "cifar-100-python.tar.gz").unlink()
    with pytest.raises(UserError, match=rf"no CIFAR-10, .* is {words}"):
        cifar10(str(tmp_path), "training")


@pytest.mark.parametrize("place", ["MNIST/raw", "train-images-idx3-ubyte", "downloads"])
def test_mnist_as_it_is_downloaded(tmp_path, place):
    training, evaluation = official.write_mnist(tmp_path / place)
    # Fashion-MNIST has files of the same names, and comes first in the alphabet.
    official.write_mnist(tmp_path / "FashionMNIST" / "raw", training=3, evaluation=2)
    if place != "downloads":
        for path in (tmp_path / place).glob("*images*.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    np.testing.assert_array_equal(_all(mnist(str(tmp_path), "training")), training)
    np.testing.assert_array_equal(_all(mnist(str(tmp_path), "evaluation")), evaluation)
    for other in (tmp_path / "FashionMNIST", tmp_path / "FashionMNIST" / "raw"):
        with pytest.raises(UserError, match="is not MNIST by its name"):
            mnist(str(other), "training")


def test_mnist_under_the_names_that_people_give_it(tmp_path):
    place = tmp_path / "fashionable_project" / "mnist"
    training, _ = official.write_mnist(place)
    packed = place / "train-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.decompress(packed.read_bytes()))  # a browser has unpacked it
    (place / "train-images-idx3-ubyte").write_bytes(b"")
    np.testing.assert_array_equal(_all(mnist(str(tmp_path / "fashionable_project"), "training")), training)
    np.testing.assert_array_equal(_all(mnist(str(packed), "training")), training)


def _lsun_zip(folder, name="bedroom_train_lmdb", inner=None):
    official.write_lsun(folder / "official")
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "official" / "bedroom_train_lmdb" / "data.mdb", f"{inner or name}/data.mdb")
        archive.writestr(f"{inner or name}/lock.mdb", b"")
    return folder / f"{name}.zip"


def test_an_archive_of_lsun_is_unpacked_beside_itself_once(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    training, _ = official.write_lsun(tmp_path)
    archive = _lsun_zip(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "official")
    assert _all(lsun(str(tmp_path / "data"), "training")) == training
    assert sorted(os.listdir(tmp_path / "data")) == ["bedroom_train_lmdb", "bedroom_train_lmdb.zip"]
    monkeypatch.setattr(lsun_lib, "_extract", None)  # not a second time
    assert _all(lsun(str(archive), "training")) == training


@pytest.mark.parametrize("fault", ["no room", "damaged", "another archive"])
def test_an_archive_of_lsun_that_cannot_be_unpacked(tmp_path, monkeypatch, fault):
    archive = _lsun_zip(tmp_path)
    shutil.rmtree(tmp_path / "official")
    words = "no room to unpack .*unzip it on another disk"
    if fault == "no room":
        monkeypatch.setattr(lsun_lib.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 10))
    elif fault == "damaged":
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 0xFF
        archive.write_bytes(content)
        words = "is damaged"
    else:
        _write_zip(archive, {"readme.txt": b"words"})
        words = "is not an archive of LSUN"
    with pytest.raises(UserError, match=words):
        lsun(str(tmp_path), "training")
    assert not (tmp_path / "bedroom_train_lmdb").exists()


@pytest.mark.parametrize(
    "category, name", [("church_outdoor", "church_outdoor_train_lmdb"), ("cat", "cat"), ("cat", "cat_lmdb")]
)
def test_other_categories_of_lsun(tmp_path, category, name):
    training, _ = official.write_lsun(tmp_path / "official")
    (tmp_path / "raw" / "scenes").mkdir(parents=True)
    shutil.move(tmp_path / "official" / "bedroom_train_lmdb", tmp_path / "raw" / "scenes" / name)
    config = DataConfig("lsun_bedroom64", 64, 3, category=category)
    spec = dataset_spec(config)
    assert _all(spec.source(str(tmp_path / "raw"), "training")) == training
    prepared = prepare(spec, config, str(tmp_path / "raw"), str(tmp_path))
    assert f"vitgan_lsun_{category}_64x64x3" in prepared.directory
    np.testing.assert_array_equal(
        load_images(config, DataLocation(str(tmp_path))), [spec.preprocessing(config)(file) for file in training]
    )


def test_the_category_that_is_there_is_named(tmp_path):
    (tmp_path / "tower_train_lmdb.zip").write_bytes(b"")
    with pytest.raises(MissingFilesError, match=r"holds tower_train_lmdb.zip.*--category=tower takes tower"):
        lsun(str(tmp_path), "training")


@pytest.mark.parametrize("name", ["celeba64", "cifar10", "mnist", "lsun_bedroom64"])
@pytest.mark.parametrize("place", ["raw", "here"])
def test_nobody_is_told_to_fetch_what_is_there(tmp_path, name, place):
    writers = {"celeba64": official.write_celeba, "cifar10": official.write_cifar10, "mnist": official.write_mnist}
    config = DataConfig(name, 32 if name in ("cifar10", "mnist") else 64, 1 if name == "mnist" else 3)
    spec = dataset_spec(config)
    folder = spec.raw_dir(str(tmp_path)) if place == "raw" else str(tmp_path)
    writers.get(name, official.write_lsun)(folder)
    with pytest.raises(UserError) as caught:
        load_images(config, DataLocation(str(tmp_path)))
    message = str(caught.value)
    assert ": fetch" not in message and spec.url not in message
    assert f"prepare-data --dataset={name} --data_dir={tmp_path}" in message
    assert ("--source=" in message) == (place == "here")
    source = folder if place == "raw" else str(tmp_path)
    assert len(prepare(spec, config, source, str(tmp_path / "set")).num_images) == 2


def test_an_archive_that_may_be_the_set_is_named(tmp_path):
    config = DataConfig("celeba64", 64, 3)
    path, training, _ = _celeba_of(tmp_path, "kaggle_zip")
    expected = rf"prepare it with .*prepare-data --dataset=celeba64 --data_dir={path.parent} --source={path}"
    for place in (path, path.parent):
        with pytest.raises(UserError, match=expected):
            load_images(config, DataLocation(str(place)))
    prepare(dataset_spec(config), config, str(path), str(path.parent))
    assert len(load_images(config, DataLocation(str(path.parent)))) == len(training)
    (tmp_path / "tower_train_lmdb.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"For tower, set --category=tower\. Otherwise: fetch bedroom_train_lmdb.zip"):
        load_images(DataConfig("lsun_bedroom64", 64, 3), DataLocation(str(tmp_path)))


def test_what_is_there_is_listed(tmp_path):
    for index in range(12):
        (tmp_path / f"{index:02d}.parquet").write_bytes(b"")
    for source in (celeba, cifar10, mnist, lsun):
        with pytest.raises(MissingFilesError, match=r"holds 00.parquet, .*07.parquet and 4 more"):
            source(str(tmp_path), "training")
