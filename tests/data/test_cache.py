"""The file of decoded images: how much of it is read at a start, and what is noticed."""

import json
import os

import numpy as np
import pytest
from support import official

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.data import cache, reading
from vitgan_tf.data.loading import load_images
from vitgan_tf.files import crc32_of_file

FOLDER = DataConfig("folder", 8, 3)
NUM_IMAGES = 1005  # of which a sample leaves out five


@pytest.fixture(scope="module")
def images_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("images")
    for number, photo in enumerate(official.photos(NUM_IMAGES, 8, 8)):
        (directory / f"{number:04d}.png").write_bytes(official.encoded(photo, "png"))
    return directory


@pytest.fixture
def cached(images_dir, tmp_path, monkeypatch):
    """Loads the images, optionally with a full check; the events "decoded" and "whole file read"."""
    events = []
    decode_all = reading.decode_all
    monkeypatch.setattr(reading, "decode_all", lambda *args: events.append("decoded") or decode_all(*args))
    monkeypatch.setattr(cache, "crc32_of_file", lambda path: events.append("whole file") or crc32_of_file(path))

    def load(verify=False):
        events.clear()
        location = DataLocation(str(images_dir), memory_gb=0.0, cache_dir=str(tmp_path), verify=verify)
        return np.array(load_images(FOLDER, location)), list(events)

    return load


def _file(tmp_path, suffix="uint8"):
    (path,) = tmp_path.glob(f"*.{suffix}")
    return path


def _change_image(path, number):
    """Another byte in an image, as a disk would change it: without a new date."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(number * 8 * 8 * 3)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 255]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_start_reads_a_sample_alone(cached):
    first, events = cached()
    assert events == ["decoded"]
    second, events = cached()
    assert events == []
    np.testing.assert_array_equal(first, second)
    assert cached(verify=True)[1] == ["whole file"]


def test_a_changed_image_of_the_sample_is_noticed_and_any_other_by_verify(cached, tmp_path):
    expected, _ = cached()
    sample = set(np.linspace(0, NUM_IMAGES - 1, 1000).astype(int))
    outside = min(set(range(NUM_IMAGES)) - sample)
    _change_image(_file(tmp_path), max(sample))
    images, events = cached()
    assert events == ["decoded"]
    np.testing.assert_array_equal(images, expected)
    _change_image(_file(tmp_path), outside)
    images, events = cached()
    assert events == [] and (images != expected).any(axis=(1, 2, 3)).nonzero()[0].tolist() == [outside]
    images, events = cached(verify=True)
    assert events[0] == "whole file" and events[-1] == "decoded"
    np.testing.assert_array_equal(images, expected)


def test_a_copy_is_read_once_and_a_cut_file_not_at_all(cached, tmp_path):
    expected, _ = cached()
    os.utime(_file(tmp_path))
    assert cached()[1] == ["whole file"]
    assert cached()[1] == []
    path = _file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    images, events = cached()
    assert events == ["decoded"]
    np.testing.assert_array_equal(images, expected)


def test_a_record_of_an_earlier_version_is_completed(cached, tmp_path):
    """Without date and sample, the checksum decides, once."""
    cached()
    path = _file(tmp_path, "json")
    content = {
        name: value
        for name, value in json.loads(path.read_text())["content"].items()
        if name not in ("mtime_ns", "sample", "noted", "extremes")
    }
    assert set(content) == {"count", "crc32", "skipped"}
    checksum = cache.zlib.crc32(json.dumps(content).encode())
    path.write_text(json.dumps({"content": content, "checksum": checksum}))
    assert cached()[1] == ["whole file"]
    assert cached()[1] == []
