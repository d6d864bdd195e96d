"""From the official files to a resized set in the format of tensorflow-datasets."""

import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow_datasets as tfds
from support import official

from vitgan_tf.config import DataConfig
from vitgan_tf.data import preparation
from vitgan_tf.data.preparation import prepare
from vitgan_tf.errors import UserError
from vitgan_tf.files import only_one
from vitgan_tf.registries import DATASETS

CONFIGS = {
    "cifar10": DataConfig("cifar10", 32, 3),
    "mnist": DataConfig("mnist", 32, 1),
    "celeba64": DataConfig("celeba64", 64, 3),
    "celeba128": DataConfig("celeba128", 128, 3),
    "lsun_bedroom64": DataConfig("lsun_bedroom64", 64, 3),
    "lsun_bedroom128": DataConfig("lsun_bedroom128", 128, 3),
}
WRITE = {
    "cifar10": official.write_cifar10,
    "mnist": official.write_mnist,
    "celeba64": official.write_celeba,
    "celeba128": official.write_celeba,
    "lsun_bedroom64": official.write_lsun,
    "lsun_bedroom128": official.write_lsun,
}


def _prepare(name, source, data_dir, **options):
    return prepare(DATASETS[name], CONFIGS[name], str(source), str(data_dir), **options)


def _read(directory, split):
    """The images of a set as tensorflow-datasets itself decodes them, in the order of the files."""
    builder = tfds.builder_from_directory(directory)
    config = tfds.ReadConfig(interleave_cycle_length=1)
    images = [example["image"] for example in tfds.as_numpy(builder.as_dataset(split=split, read_config=config))]
    assert builder.info.splits[split].num_examples == len(images)
    return np.array(images)


def _files(directory):
    return {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    # What tensorflow-datasets says of its own deprecated calls.
    monkeypatch.setattr("absl.logging.warning", lambda *args: None)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_official_file_becomes_the_preprocessed_image(tmp_path, name):
    raw = WRITE[name](tmp_path / "raw")
    prepared = _prepare(name, tmp_path / "raw", tmp_path / "data", shard_images=16)
    preprocess = DATASETS[name].preprocessing(CONFIGS[name])
    for split, tfds_split, files in zip(("training", "evaluation"), ("train", "test"), raw):
        expected = np.array([preprocess(file) for file in files])
        np.testing.assert_array_equal(_read(prepared.directory, tfds_split), expected)
        assert prepared.num_images[split] == len(files)
    assert not prepared.skipped
    shards = sorted(path.name for path in pathlib.Path(prepared.directory).glob("*-train.tfrecord-*"))
    count = -(-len(raw[0]) // 16)
    family = os.path.basename(os.path.dirname(prepared.directory))
    assert shards == [f"{family}-train.tfrecord-{i:05d}-of-{count:05d}" for i in range(count)]
    rest = sorted(n for n in _files(prepared.directory) if "tfrecord" not in n)
    labels = ["label.labels.txt"] if name in ("cifar10", "mnist") else []
    assert rest == ["dataset_info.json", "features.json", *labels]
    assert os.listdir(os.path.dirname(prepared.directory)) == ["1.0.0"]


def test_the_number_of_threads_does_not_matter(tmp_path):
    official.write_celeba(tmp_path / "raw")
    one = _prepare("celeba64", tmp_path / "raw", tmp_path / "one", num_threads=1, shard_images=16)
    four = _prepare("celeba64", tmp_path / "raw", tmp_path / "four", num_threads=4, shard_images=16)
    assert _files(one.directory) == _files(four.directory)


def _folder_with_faults(folder):
    """20 good images and 6 files that are none."""
    folder.mkdir()
    files = [official.encoded(photo, "jpeg") for photo in official.photos(20, 30, 40)]
    for index, content in enumerate(files):
        (folder / f"{index:02d}.jpg").write_bytes(content)
    (folder / "03a.jpg").write_text("not an image at all")
    (folder / "07a.jpg").write_bytes(files[7][:500])
    (folder / "11a.png").write_bytes(official.encoded(np.zeros((1, 1, 3), np.uint8), "png"))
    (folder / "15a.png").write_bytes(b"")
    (folder / "README.md").write_text("# faces")
    # A name that is not in UTF-8, as old archives have them.
    with open(os.fsencode(folder) + b"/\xe9t\xe9.jpg", "wb") as file:
        file.write(b"no image")
    return files


FOLDER = DataConfig("folder", 16, 3)


def test_files_that_cannot_be_used_are_listed_and_left_out(tmp_path):
    files = _folder_with_faults(tmp_path / "images")
    prepared = prepare(
        DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), name="faces", shard_images=4
    )
    assert prepared.directory == str(tmp_path / "vitgan_faces_16x16x3" / "1.0.0")
    preprocess = DATASETS["folder"].preprocessing(FOLDER)
    np.testing.assert_array_equal(_read(prepared.directory, "train"), [preprocess(file) for file in files])
    assert prepared.num_images == {"training": 20}
    names = ["README.md", "03a.jpg", "07a.jpg", "11a.png", "15a.png", "\udce9t\udce9.jpg"]
    assert [name for name, _ in prepared.skipped] == names
    lines = (pathlib.Path(prepared.directory) / "skipped.txt").read_text().splitlines()
    assert lines[:-1] == [f"{name}: {reason}" for name, reason in prepared.skipped[:-1]]
    assert lines[-1] == r"\udce9t\udce9.jpg: not an image that can be read"
    assert (
        "03a.jpg: not an image that can be read" in lines and "11a.png: only 1 x 1 pixels, less than 8 x 8" in lines
    )


@pytest.mark.parametrize("readme", [True, False])
def test_strict_ends_at_the_first_of_them(tmp_path, readme):
    _folder_with_faults(tmp_path / "images")
    if not readme:
        (tmp_path / "images" / "README.md").unlink()
    with pytest.raises(UserError, match=r"README.md: .*--strict" if readme else r"03a.jpg: not an image.*--strict"):
        prepare(DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), name="faces", strict=True)
    assert not (tmp_path / "vitgan_faces_16x16x3" / "1.0.0").exists()


def test_a_shard_of_which_nothing_is_left(tmp_path):
    (tmp_path / "images").mkdir()
    good = official.encoded(official.photos(1, 20, 20)[0], "png")
    for index in range(9):
        (tmp_path / "images" / f"{index}.png").write_bytes(b"bad" if 3 <= index < 6 else good)
    prepared = prepare(DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), "x", shard_images=3)
    assert len(_read(prepared.directory, "train")) == 6
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"bad")
    with pytest.raises(UserError, match=r"no image can be used; the first: 0.png: not an image"):
        prepare(DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), "y", shard_images=3)


def test_an_evaluation_split_is_not_needed(tmp_path):
    official.write_lsun(tmp_path / "raw")
    os.rename(tmp_path / "raw" / "bedroom_val_lmdb", tmp_path / "away")
    prepared = _prepare("lsun_bedroom64", tmp_path / "raw", tmp_path)
    assert prepared.num_images == {"training": 40}


def test_what_is_there_is_not_touched(tmp_path):
    official.write_mnist(tmp_path / "raw")
    before = _files(_prepare("mnist", tmp_path / "raw", tmp_path).directory)
    with pytest.raises(UserError, match=r"1.0.0' already exists: delete it"):
        _prepare("mnist", tmp_path / "raw", tmp_path)
    assert _files(tmp_path / "vitgan_mnist_32x32x1" / "1.0.0") == before
    with pytest.raises(UserError, match="prepare into a local folder"):
        _prepare("mnist", tmp_path / "raw", "gs://bucket/data")


class _InterruptedError(BaseException):
    """Stands for Ctrl-C, a kill or a power cut: nothing catches it."""


def test_interrupted_anywhere_it_goes_on_and_ends_with_the_same_files(tmp_path, monkeypatch):
    official.write_celeba(tmp_path / "raw", training=40)
    whole = _prepare("celeba64", tmp_path / "raw", tmp_path / "whole", shard_images=8)  # 5 + 2 shards
    expected = _files(whole.directory)
    directory = tmp_path / "parts" / "vitgan_celeba_64x64x3" / "1.0.0"
    decoded = []
    decode_all = preparation.decode_all

    def counting(items, *arguments):
        for name, result in decode_all(items, *arguments):
            decoded.append(name)
            if len(decoded) == limit:
                raise _InterruptedError
            yield name, result

    monkeypatch.setattr(preparation, "decode_all", counting)
    for cut in (3, 8, 9, 17, 12):  # within and between shards
        limit = cut
        decoded.clear()
        with pytest.raises(_InterruptedError):
            _prepare("celeba64", tmp_path / "raw", tmp_path / "parts", shard_images=8)
        assert not directory.exists()
        assert tfds.core.utils.version.list_all_versions(directory.parent) == []
    decoded.clear()
    limit = None
    prepared = _prepare("celeba64", tmp_path / "raw", tmp_path / "parts", shard_images=8)
    assert _files(prepared.directory) == expected
    assert 0 < len(decoded) < 50  # of what was finished before, nothing is decoded again


def test_another_plan_begins_anew(tmp_path, monkeypatch):
    official.write_celeba(tmp_path / "raw")
    finish = preparation._finish

    def interrupted(*_):
        raise _InterruptedError

    monkeypatch.setattr(preparation, "_finish", interrupted)
    with pytest.raises(_InterruptedError):
        _prepare("celeba64", tmp_path / "raw", tmp_path, shard_images=8)
    monkeypatch.setattr(preparation, "_finish", finish)
    prepared = _prepare("celeba64", tmp_path / "raw", tmp_path, shard_images=16)
    expected = _prepare("celeba64", tmp_path / "raw", tmp_path / "other", shard_images=16)
    assert _files(prepared.directory) == _files(expected.directory)


def test_a_file_mended_between_two_calls_is_taken(tmp_path, monkeypatch):
    files = _folder_with_faults(tmp_path / "images")
    finish = preparation._finish

    def interrupted(*_):
        raise _InterruptedError

    options = {"name": "faces", "shard_images": 4}
    monkeypatch.setattr(preparation, "_finish", interrupted)
    with pytest.raises(_InterruptedError):
        prepare(DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), **options)
    (tmp_path / "images" / "07a.jpg").write_bytes(files[7])
    # Stopped at the worst place: what is known of the new shard is written, and the old shard is still there.
    replace = os.replace

    def until_the_shard(source, target):
        if str(target).endswith("train-00002"):
            raise _InterruptedError
        replace(source, target)

    monkeypatch.setattr(os, "replace", until_the_shard)
    with pytest.raises(_InterruptedError):
        prepare(DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), **options)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(preparation, "_finish", finish)
    prepared = prepare(DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), **options)
    assert prepared.num_images == {"training": 21} and len(prepared.skipped) == 5
    images = _read(prepared.directory, "train")
    np.testing.assert_array_equal(images[8], images[7])


def _stopped_at_the_end(monkeypatch, *arguments, **options):
    """A preparation that makes all its shards and is stopped before they are a set."""

    def interrupted(*_):
        raise _InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_finish", interrupted)
        with pytest.raises(_InterruptedError):
            prepare(*arguments, **options)


def test_other_images_of_the_same_names_are_not_mixed_in(tmp_path, monkeypatch):
    photos = official.photos(20, 20, 20)
    for folder, offset in (("a", 0), ("b", 10)):
        (tmp_path / folder).mkdir()
        for index in range(10):
            photo = photos[index + offset]
            (tmp_path / folder / f"{index}.png").write_bytes(official.encoded(photo, "png").ljust(5000, b"\0"))
    arguments = [DATASETS["folder"], FOLDER, str(tmp_path / "a"), str(tmp_path)]
    _stopped_at_the_end(monkeypatch, *arguments, name="x", shard_images=4)
    arguments[2] = str(tmp_path / "b")
    prepared = prepare(*arguments, name="x", shard_images=4)
    preprocess = DATASETS["folder"].preprocessing(FOLDER)
    np.testing.assert_array_equal(_read(prepared.directory, "train"), [preprocess(photo) for photo in photos[10:]])


def test_of_a_changed_folder_the_other_shards_are_kept(tmp_path, monkeypatch):
    _folder_with_faults(tmp_path / "images")
    for name in ("03a.jpg", "07a.jpg", "11a.png", "15a.png", "README.md"):
        (tmp_path / "images" / name).unlink()
    (tmp_path / "images" / os.fsdecode(b"\xe9t\xe9.jpg")).unlink()
    arguments = [DATASETS["folder"], FOLDER, str(tmp_path / "images"), str(tmp_path), "faces"]
    _stopped_at_the_end(monkeypatch, *arguments, shard_images=4)
    (tmp_path / "images" / "17.jpg").unlink()
    decoded = []
    decode_all = preparation.decode_all

    def counting(items, *rest):
        for key, result in decode_all(items, *rest):
            decoded.append(key.name)
            yield key, result

    monkeypatch.setattr(preparation, "decode_all", counting)
    prepared = prepare(*arguments, shard_images=4)
    assert prepared.num_images == {"training": 19} and decoded == ["16.jpg", "18.jpg", "19.jpg"]
    assert len(_read(prepared.directory, "train")) == 19


def test_a_split_of_which_nothing_is_left_is_left_out(tmp_path):
    for split, content in (("train", official.encoded(official.photos(1, 20, 20)[0], "png")), ("val", b"bad")):
        (tmp_path / "raw" / f"bedroom_{split}").mkdir(parents=True)
        for index in range(3):
            (tmp_path / "raw" / f"bedroom_{split}" / f"{index}.png").write_bytes(content)
    prepared = _prepare("lsun_bedroom64", tmp_path / "raw", tmp_path)
    assert prepared.num_images == {"training": 3} and len(prepared.skipped) == 3
    assert list(tfds.builder_from_directory(prepared.directory).info.splits) == ["train"]


def test_a_late_starter_does_not_work_in_vain(tmp_path, monkeypatch):
    """Another call ends between the first look and the lock."""
    official.write_mnist(tmp_path / "raw")
    first = _prepare("mnist", tmp_path / "raw", tmp_path)
    before = _files(first.directory)
    looks = []
    check = preparation._check_not_there
    monkeypatch.setattr(
        preparation, "_check_not_there", lambda path: looks.append(path) or (len(looks) > 1 and check(path))
    )
    monkeypatch.setattr(preparation, "decode_all", lambda *_: pytest.fail("decoded again"))
    with pytest.raises(UserError, match="already exists"):
        _prepare("mnist", tmp_path / "raw", tmp_path)
    assert _files(first.directory) == before
    assert os.listdir(os.path.dirname(first.directory)) == ["1.0.0"]


def test_one_process_at_a_time(tmp_path):
    official.write_mnist(tmp_path / "raw")
    partial = tmp_path / "vitgan_mnist_32x32x1" / "1.0.0.partial"
    with only_one(str(partial)), pytest.raises(UserError, match="another process is preparing"):
        _prepare("mnist", tmp_path / "raw", tmp_path)
    _prepare("mnist", tmp_path / "raw", tmp_path)


@pytest.mark.slow
def test_a_full_disk_costs_nothing_that_was_finished(tmp_path):
    """Files of the process may not grow beyond some kilobytes: to a program, the same as a disk that is full."""
    official.write_celeba(tmp_path / "raw")
    code = textwrap.dedent(
        f"""
        import resource, signal
        from vitgan_tf.config import DataConfig
        from vitgan_tf.data import preparation
        from vitgan_tf.registries import DATASETS
        from vitgan_tf.errors import UserError
        write, written = preparation._write_shard, []

        def write_shard(*arguments):
            if len(written) == 2:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
            written.append(write(*arguments))

        preparation._write_shard = write_shard
        try:
            config, folders = DataConfig("celeba64", 64, 3), ({str(tmp_path / "raw")!r}, {str(tmp_path)!r})
            preparation.prepare(DATASETS["celeba64"], config, *folders, shard_images=8)
        except UserError as error:
            print(len(written), error)
        """
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.startswith("2 cannot write") and "run the same command again" in result.stdout, result
    partial = tmp_path / "vitgan_celeba_64x64x3" / "1.0.0.partial"
    finished = {name: (partial / name).stat().st_mtime_ns for name in ("train-00000", "train-00001")}
    assert not (partial / "train-00002").exists()
    prepared = _prepare("celeba64", tmp_path / "raw", tmp_path, shard_images=8)
    for name, changed in finished.items():
        number = name.split("-")[1]
        path = pathlib.Path(prepared.directory) / f"vitgan_celeba_64x64x3-train.tfrecord-{number}-of-00005"
        assert path.stat().st_mtime_ns == changed
    assert len(_read(prepared.directory, "train")) == 40
