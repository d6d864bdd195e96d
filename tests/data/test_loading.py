"""All images of a data set as one array: where it is looked for, what it holds, what is said if it is not there."""

import contextlib
import gzip
import importlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time
import types
import zipfile

import lmdb
import numpy as np
import psutil
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from support import official

from vitgan_tf import connectivity
from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data import cache as cache_module
from vitgan_tf.data import loading, reading, tfds_sets
from vitgan_tf.data.loading import load_images, load_labelled_images
from vitgan_tf.data.preparation import prepare
from vitgan_tf.data.reading import fingerprint
from vitgan_tf.errors import UserError
from vitgan_tf.registries import DATASETS

CELEBA = DataConfig("celeba64", 64, 3)
CIFAR10 = DataConfig("cifar10", 32, 3)
MNIST = DataConfig("mnist", 32, 1)
FOLDER = DataConfig("folder", 16, 3)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    # What tensorflow-datasets says of its own deprecated calls, and its progress bars.
    monkeypatch.setattr("tensorflow_datasets.core.features.feature.logging.warning", lambda *args: None)
    tfds.disable_progress_bar()


def _sorted(images):
    return sorted(image.tobytes() for image in images)


def _labels_by_image(labelled):
    """Sorted pairs of an image and its class; None without labels."""
    if labelled.labels is None:
        return None
    names = [labelled.class_names[label] for label in labelled.labels]
    return sorted(zip([image.tobytes() for image in labelled.images], names))


def _patched_downloads(monkeypatch, folder):
    """tensorflow-datasets' own builders, which get the official files from a folder instead of the network."""
    celeba = {
        "img_align_celeba": "img_align_celeba.zip",
        "list_eval_partition": "list_eval_partition.txt",
        "list_attr_celeba": "list_attr_celeba.txt",
        "landmarks_celeba": "list_landmarks_align_celeba.txt",
        "identity_celeba": "identity_CelebA.txt",
    }

    def unpack(self, urls):
        if isinstance(urls, str):
            with tarfile.open(folder / "cifar-10-binary.tar.gz") as tar:
                tar.extractall(folder)
            return tfds.core.Path(folder)
        if "val" in urls:
            return {"train": folder, "val": folder}
        for key, url in urls.items():
            packed = folder / url.split("/")[-1]
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
            urls[key] = tfds.core.Path(packed.with_suffix(""))
        return urls

    def iterate(self, path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.endswith("/"):
                    yield name, io.BytesIO(archive.read(name))

    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download_and_extract", unpack)
    monkeypatch.setattr(manager, "download", lambda self, urls: {k: tfds.core.Path(folder / celeba[k]) for k in urls})
    monkeypatch.setattr(manager, "iter_archive", iterate)
    monkeypatch.setattr(tfds_sets, "unreachable", lambda url: None)
    mnist = importlib.import_module("tensorflow_datasets.image_classification.mnist")
    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", 60)
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", 10)

    class IODataset:
        """tensorflow-io's reader of LMDB, without which tensorflow-datasets does not make LSUN."""

        @staticmethod
        def from_lmdb(path):
            with lmdb.open(os.path.dirname(path), lock=False) as environment, environment.begin() as transaction:
                keys, values = zip(*transaction.cursor())
            return tf.data.Dataset.from_tensor_slices((list(keys), list(values)))

    tensorflow_io = types.ModuleType("tensorflow_io")
    tensorflow_io.__spec__ = importlib.machinery.ModuleSpec("tensorflow_io", None)
    tensorflow_io.IODataset = IODataset
    monkeypatch.setitem(sys.modules, "tensorflow_io", tensorflow_io)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["celeba64", "cifar10", "mnist", "lsun_bedroom64"])
def test_a_set_of_tensorflow_datasets_gives_the_same_images_as_a_prepared_one(tmp_path, monkeypatch, name):
    """The set is made by tensorflow-datasets' own code, called as --download calls it."""
    config, write = {
        "celeba64": (CELEBA, official.write_celeba),
        "cifar10": (CIFAR10, official.write_cifar10),
        "mnist": (MNIST, official.write_mnist),
        "lsun_bedroom64": (DataConfig("lsun_bedroom64", 64, 3), official.write_lsun),
    }[name]
    raw = write(tmp_path / "raw")
    _patched_downloads(monkeypatch, tmp_path / "raw")
    spec = DATASETS[name]
    location = DataLocation(str(tmp_path / "theirs"), download=True)
    found = {split: load_labelled_images(config, location, split) for split in ("training", "evaluation")}
    theirs = {split: labelled.images for split, labelled in found.items()}
    offline = DataLocation(str(tmp_path / "theirs"))  # it is there now
    np.testing.assert_array_equal(load_images(config, offline), theirs["training"])
    prepare(spec, config, str(tmp_path / "raw"), str(tmp_path / "ours"))
    prepared = {split: load_labelled_images(config, DataLocation(str(tmp_path / "ours")), split) for split in theirs}
    ours = {split: labelled.images for split, labelled in prepared.items()}
    for split, files in zip(("training", "evaluation"), raw):
        assert theirs[split].shape == (len(files), config.image_size, config.image_size, config.num_channels)
        assert theirs[split].dtype == np.uint8
        # tensorflow-datasets shuffles what it writes.
        assert _sorted(ours[split]) == _sorted(map(spec.preprocessing(config), files))
        assert _sorted(theirs[split]) == _sorted(ours[split])
        assert _labels_by_image(found[split]) == _labels_by_image(prepared[split])
        assert (found[split].labels is not None) == (name in ("cifar10", "mnist"))


def test_other_sizes_and_colours_of_a_set(tmp_path, monkeypatch):
    _, evaluation = official.write_cifar10(tmp_path / "raw")
    _patched_downloads(monkeypatch, tmp_path / "raw")
    grey = DataConfig("cifar10", 16, 1)
    images = load_images(grey, DataLocation(str(tmp_path), download=True), "evaluation")
    assert _sorted(images) == _sorted(map(DATASETS["cifar10"].preprocessing(grey), evaluation))


def test_the_data_dir_of_tensorflow_datasets_is_honoured(tmp_path, monkeypatch):
    training, _ = official.write_mnist(tmp_path / "raw")
    prepare(DATASETS["mnist"], MNIST, str(tmp_path / "raw"), str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    images = load_images(MNIST)
    np.testing.assert_array_equal(images[:, 2:30, 2:30, 0], training)
    with pytest.raises(UserError, match="no images of mnist in '/nowhere'"):
        load_images(MNIST, DataLocation("/nowhere"))  # what is given counts more


def test_memory_or_disk_by_the_budget_with_the_same_images(tmp_path, messages):
    official.write_mnist(tmp_path / "raw")
    prepare(DATASETS["mnist"], MNIST, str(tmp_path / "raw"), str(tmp_path))
    num_bytes = 60 * 32 * 32
    cache = tmp_path / "cache"
    in_memory = load_images(MNIST, DataLocation(str(tmp_path), False, (num_bytes + 1) / 1e9, str(cache)))
    assert "vitgan_mnist_32x32x1/1.0.0, train: 60 images, 61.4 kB in memory" in messages and not cache.exists()
    on_disk = load_images(MNIST, DataLocation(str(tmp_path), False, (num_bytes - 1) / 1e9, str(cache)))
    assert isinstance(on_disk, np.memmap) and "on disk in" in messages[-1]
    assert [path.stat().st_size for path in cache.glob("*.uint8")] == [num_bytes]
    np.testing.assert_array_equal(on_disk, in_memory)
    assert fingerprint(on_disk) == fingerprint(in_memory)


def _write_folder(folder, count=12):
    folder.mkdir(parents=True, exist_ok=True)
    photos = official.photos(count, 24, 32)
    for index, photo in enumerate(photos):
        (folder / f"{index:02d}.png").write_bytes(official.encoded(photo, "png"))
    return photos


def _on_disk(folder, cache):
    return DataLocation(str(folder), False, 0.0, str(cache))


def test_what_is_on_disk_is_decoded_once_and_again_when_the_images_change(tmp_path, monkeypatch):
    _write_folder(tmp_path / "images")
    path = tmp_path / "images" / "03.png"
    path.write_bytes(path.read_bytes().ljust(20_000, b"\0"))
    cache = tmp_path / "cache"
    first = load_images(FOLDER, _on_disk(tmp_path / "images", cache))
    decodings = []
    decode_all = reading.decode_all
    monkeypatch.setattr(reading, "decode_all", lambda *args: decodings.append(1) or decode_all(*args))
    np.testing.assert_array_equal(load_images(FOLDER, _on_disk(tmp_path / "images", cache)), first)
    assert not decodings
    changed = official.encoded(official.photos(20, 24, 32)[-1], "png")
    path.write_bytes(changed.ljust(20_000, b"\0"))  # no longer than before
    second = load_images(FOLDER, _on_disk(tmp_path / "images", cache))
    assert len(decodings) == 1
    assert [index for index in range(12) if (first[index] != second[index]).any()] == [3]
    other_size = load_images(DataConfig("folder", 8, 3), _on_disk(tmp_path / "images", cache))
    assert other_size.shape == (12, 8, 8, 3) and len(decodings) == 2


def test_an_interrupted_cache_is_not_taken_for_whole(tmp_path, monkeypatch):
    photos = _write_folder(tmp_path / "images")
    cache = tmp_path / "cache"
    decode_all = reading.decode_all

    class Killed(BaseException):
        pass

    def until_the_fifth(*args):
        for index, item in enumerate(decode_all(*args)):
            if index == 5:
                raise Killed
            yield item

    monkeypatch.setattr(reading, "decode_all", until_the_fifth)
    with pytest.raises(Killed):
        load_images(FOLDER, _on_disk(tmp_path / "images", cache))
    assert not list(cache.glob("*.uint8")) and not list(cache.rglob("images.uint8"))
    monkeypatch.setattr(reading, "decode_all", decode_all)
    images = load_images(FOLDER, _on_disk(tmp_path / "images", cache))
    np.testing.assert_array_equal(images, [DATASETS["folder"].preprocessing(FOLDER)(photo) for photo in photos])
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".uint8"]


@pytest.mark.slow
def test_processes_that_start_together_decode_once(tmp_path):
    photos = _write_folder(tmp_path / "images", 40)
    code = (
        "import sys; from vitgan_tf.config import *; from vitgan_tf.data import loading, reading\n"
        "count = []; decode = reading.decode_all\n"
        "reading.decode_all = lambda *args: count.append(1) or decode(*args)\n"
        "location = DataLocation(sys.argv[1], False, 0.0, sys.argv[2])\n"
        "images = loading.load_images(DataConfig('folder', 16, 3), location)\n"
        "print(len(count), reading.fingerprint(images))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "images"), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = sorted(process.communicate(timeout=120)[0].split() for process in processes)
    expected = fingerprint(np.array([DATASETS["folder"].preprocessing(FOLDER)(photo) for photo in photos]))
    assert outputs == [["0", expected], ["0", expected], ["1", expected]]


def test_a_process_that_had_to_wait_takes_what_the_other_made(tmp_path, monkeypatch):
    _write_folder(tmp_path / "images")
    location = _on_disk(tmp_path / "images", tmp_path / "cache")
    expected = load_images(FOLDER, location)
    made = next((tmp_path / "cache").glob("*.uint8"))
    content = made.read_bytes()
    made.unlink()

    @contextlib.contextmanager
    def after_another(directory, wait):
        assert wait
        made.write_bytes(content)
        yield

    monkeypatch.setattr(cache_module, "only_one", after_another)
    monkeypatch.setattr(reading, "decode_all", lambda *args: pytest.fail("decoded again"))
    np.testing.assert_array_equal(load_images(FOLDER, location), expected)


def test_a_disk_that_is_too_small_for_the_cache(tmp_path, monkeypatch):
    _write_folder(tmp_path / "images")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(UserError, match=r"cannot keep the decoded images .*No space left.* 9.22 kB.*--cache_dir"):
        load_images(FOLDER, _on_disk(tmp_path / "images", tmp_path / "cache"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot keep the decoded images"):
        load_images(FOLDER, _on_disk(tmp_path / "images", tmp_path / "file"))


def test_a_folder_of_any_images(tmp_path, messages):
    random = np.random.RandomState(0)
    files = {
        "grey.png": official.encoded(random.randint(0, 256, (40, 20)).astype(np.uint8), "png"),
        "large.jpg": official.encoded(official.photos(1, 300, 200)[0], "jpeg"),
        "small.webp": official.encoded(official.photos(1, 9, 12)[0], "webp"),
        "deep/alpha.png": official.encoded(random.randint(0, 256, (16, 16, 4)).astype(np.uint8), "png"),
        "text.jpg": b"words",
        "notes.txt": b"words",
        "one.png": official.encoded(np.zeros((1, 1, 3), np.uint8), "png"),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    images = load_images(FOLDER, DataLocation(str(tmp_path)))
    good = ["deep/alpha.png", "grey.png", "large.jpg", "small.webp"]
    preprocess = DATASETS["folder"].preprocessing(FOLDER)
    np.testing.assert_array_equal(images, [preprocess(files[name]) for name in good])
    assert messages[-4:] == [
        "left out, as they are no images that can be read: 1 .txt",
        "skipped files: 2",
        "  one.png: only 1 x 1 pixels, less than 8 x 8",
        "  text.jpg: not an image that can be read",
    ]
    grey = load_images(DataConfig("folder", 16, 1), DataLocation(str(tmp_path)))
    assert grey.shape == (4, 16, 16, 1)


def test_what_was_left_out_is_said_at_every_start(tmp_path, messages):
    _write_folder(tmp_path / "images", 3)
    (tmp_path / "images" / "bad.png").write_bytes(b"")
    for _ in range(2):
        messages.clear()
        load_images(FOLDER, _on_disk(tmp_path / "images", tmp_path / "cache"))
        assert "skipped files: 1" in messages and "  bad.png: not an image that can be read" in messages


@pytest.mark.parametrize("size", [0, 2000, 4 * 768])
def test_a_cache_that_was_cut_is_made_again(tmp_path, size):
    _write_folder(tmp_path / "images")
    expected = np.array(load_images(FOLDER, _on_disk(tmp_path / "images", tmp_path / "cache")))
    os.truncate(next((tmp_path / "cache").glob("*.uint8")), size)
    images = load_images(FOLDER, _on_disk(tmp_path / "images", tmp_path / "cache"))
    np.testing.assert_array_equal(images, expected)


def test_more_memory_than_there_is(tmp_path, monkeypatch):
    _write_folder(tmp_path)

    def refuse(*_):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(loading.mmap, "mmap", refuse)
    with pytest.raises(UserError, match=r"not enough memory for 9.22 kB of images: lower --memory_gb"):
        load_images(FOLDER, DataLocation(str(tmp_path)))


def test_a_folder_with_the_metadata_of_another_program(tmp_path):
    photos = _write_folder(tmp_path)
    (tmp_path / "dataset_info.json").write_text('{"builder_name": "imagefolder"}')
    images = load_images(FOLDER, DataLocation(str(tmp_path)))
    np.testing.assert_array_equal(images, [DATASETS["folder"].preprocessing(FOLDER)(photo) for photo in photos])


@pytest.mark.parametrize("size, channels, options", [(64, 3, ""), (32, 1, " --resolution=32 --num_channels=1")])
def test_the_command_that_is_named_prepares_what_is_wanted(tmp_path, size, channels, options):
    with pytest.raises(UserError) as caught:
        load_images(DataConfig("celeba64", size, channels), DataLocation(str(tmp_path)))
    command = f"vitgan prepare-data --dataset=celeba64 --data_dir={tmp_path}{options}"
    assert str(caught.value).endswith(f"and run: {command}")


def test_a_long_list_is_cut(tmp_path, messages):
    _write_folder(tmp_path, 1)
    for index in range(25):
        (tmp_path / f"bad{index:02d}.png").write_bytes(b"")
    assert len(load_images(FOLDER, DataLocation(str(tmp_path)))) == 1
    assert messages[-1] == "  and 15 more" and "skipped files: 25" in messages


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="the data set 'folder' needs the folder of its images: set --data_dir=DIR"):
        load_images(FOLDER)
    with pytest.raises(UserError, match="no images in"):
        load_images(FOLDER, DataLocation(str(tmp_path)))
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 1 images of .* can be used"):
        load_images(FOLDER, DataLocation(str(tmp_path)))
    with pytest.raises(UserError, match=r"no images of .* are held out: --holdout_dir=DIR .*--holdout=0.1"):
        load_images(FOLDER, DataLocation(str(tmp_path)), "evaluation")


def test_a_prepared_folder(tmp_path):
    photos = _write_folder(tmp_path / "images")
    prepared = prepare(DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), "faces")
    expected = [DATASETS["folder"].preprocessing(FOLDER)(photo) for photo in photos]
    for place in (prepared.directory, os.path.dirname(prepared.directory)):
        np.testing.assert_array_equal(load_images(FOLDER, DataLocation(place)), expected)
    with pytest.raises(
        UserError, match=r"16 x 16 x 3, not 32 x 32 x 3: prepare another set, or train with --resolution=16"
    ):
        load_images(DataConfig("folder", 32, 3), DataLocation(prepared.directory))
    with pytest.raises(UserError, match="has no evaluation images"):
        load_images(FOLDER, DataLocation(prepared.directory), "evaluation")


@pytest.mark.parametrize("name", ["cifar10", "celeba64", "celeba128", "lsun_bedroom64", "lsun_bedroom128", "mnist"])
@pytest.mark.parametrize("download", [False, True])
def test_what_is_not_there_is_said_within_seconds(tmp_path, monkeypatch, name, download):
    """With every file to fetch, where to put it, and what to run then; and nothing is left behind."""
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nobody answers there
    size = 128 if "128" in name else 64 if "64" in name else 32
    spec, data_dir = DATASETS[name], str(tmp_path / "data")
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        load_images(DataConfig(name, size, 1 if name == "mnist" else 3), DataLocation(data_dir, download))
    assert time.monotonic() - started < 15
    message = str(caught.value)
    for part in (*spec.files, spec.url, f"'{data_dir}/raw/{spec.family}'"):
        assert part in message
    assert message.endswith(f"vitgan prepare-data --dataset={name} --data_dir={data_dir}")
    if not download:
        assert "with --download" in message
    elif "lsun" in name:
        assert "tensorflow-io" in message
    else:
        assert "cannot be reached" in message and "refused" in message
    assert not os.path.exists(data_dir)


def test_a_server_that_does_not_answer(monkeypatch):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(connectivity, "NETWORK_SECONDS", 0.5)
        monkeypatch.setenv("no_proxy", "*")
        assert connectivity.unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}") is not None


def test_a_download_that_breaks_leaves_nothing_that_counts(tmp_path, monkeypatch):
    official.write_cifar10(tmp_path / "raw")
    _patched_downloads(monkeypatch, tmp_path / "raw")
    # The last batch is cut: tensorflow-datasets fails in the middle of its work.
    whole = tfds.download.DownloadManager.download_and_extract

    def cut(self, url):
        folder = whole(self, url)
        path = pathlib.Path(folder) / "cifar-10-batches-bin" / "data_batch_5.bin"
        path.write_bytes(path.read_bytes()[:-1000])
        return folder

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", cut)
    location = DataLocation(str(tmp_path / "data"), download=True)
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"tensorflow-datasets could not prepare cifar10: .*fetch cifar-10-binary"
        ):
            load_images(CIFAR10, location)
    # What a kill in the middle leaves.
    (tmp_path / "data" / "cifar10" / "incomplete.ABCDEF_3.0.2").mkdir(parents=True)
    (tmp_path / "data" / "vitgan_cifar10_32x32x3" / "1.0.0.partial").mkdir(parents=True)
    with pytest.raises(UserError, match="no images of cifar10"):
        load_images(CIFAR10, DataLocation(str(tmp_path / "data")))
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", whole)
    assert len(load_images(CIFAR10, location)) == 50


def test_a_damaged_set(tmp_path):
    official.write_mnist(tmp_path / "raw")
    prepared = prepare(DATASETS["mnist"], MNIST, str(tmp_path / "raw"), str(tmp_path))
    shard = next(pathlib.Path(prepared.directory).glob("*-train*"))
    whole = shard.read_bytes()
    for content in (whole[:-50], whole[:5000] + b"x" * 50 + whole[5050:], None):
        if content is None:
            shard.unlink()
        else:
            shard.write_bytes(content)
        with pytest.raises(UserError, match=r"the data set in .*vitgan_mnist_32x32x1/1.0.0' is damaged"):
            load_images(MNIST, DataLocation(str(tmp_path)))
    (pathlib.Path(prepared.directory) / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="cannot read vitgan_mnist_32x32x1 in"):
        load_images(MNIST, DataLocation(str(tmp_path)))
    with pytest.raises(UserError, match=r"cannot read the data set in .*1.0.0'"):
        load_images(DataConfig("folder", 32, 1), DataLocation(prepared.directory))


def test_the_digits_need_no_file():
    images = load_images(DataConfig("digits", 16, 1), DataLocation("/nowhere"))
    assert images.shape == (1797, 16, 16, 1)
    np.testing.assert_array_equal(load_images(DataConfig("digits", 16, 1), split="evaluation"), images)


def test_wrong_names():
    with pytest.raises(UserError, match="no data set 'imagenet': choose one of digits, cifar10"):
        load_images(DataConfig("imagenet", 64, 3))
    with pytest.raises(ValueError, match="split must be one of training, evaluation, got 'test'"):
        load_images(MNIST, split="test")


def test_fingerprints_tell_images_apart():
    images = np.random.RandomState(0).randint(0, 256, (50, 8, 8, 1)).astype(np.uint8)
    changed = images.copy()
    changed[17, 3, 3] += 1
    assert (
        len({fingerprint(x) for x in (images, changed, images[:-1], images[::-1], images.reshape(50, 4, 16, 1))}) == 5
    )


def test_memory_is_that_of_the_decoded_images(tmp_path):
    """48 MB of pixels from JPEG files of 3 MB: no second copy, nor one in floating point, on the way."""
    photo = official.encoded(official.photos(1, 128, 128)[0], "jpeg", quality=70)
    for index in range(1000):
        (tmp_path / f"{index}.jpg").write_bytes(photo)
    process = psutil.Process()
    config = DataConfig("folder", 128, 3)
    load_images(config, DataLocation(str(tmp_path)))  # whatever is loaded at the first use
    before = process.memory_info().rss
    images = load_images(config, DataLocation(str(tmp_path)))
    assert images.nbytes == 1000 * 128 * 128 * 3
    assert process.memory_info().rss - before < 1.3 * images.nbytes
