"""Decoded images in a file on disk, for sets that do not fit in memory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import zlib

import numpy as np
from absl import logging

from vitgan_tf.config import DataLocation
from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.data.reading import Findings, Reading, decoded_images, fingerprint, warn
from vitgan_tf.errors import UserError
from vitgan_tf.files import crc32_of_file, format_bytes, only_one, parsed_json, write_atomically


def cached_images(reading: Reading, location: DataLocation) -> LabelledImages:
    """Returns the images as a np.memmap of a file in location.cache_dir, decoded unless an intact file is there.

    Labels are in a file beside it.

    Raises:
      UserError: the file cannot be written, or no image can be read.
    """
    shape, cache_dir = reading.preprocessing.shape, location.cache_dir
    try:
        identity = repr((reading.description, reading.preprocessing, reading.identity(), location.max_megapixels))
        path = os.path.join(cache_dir, f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.uint8")
        record = _cache_record(path, reading, location.verify)
        if record is None:
            record = _write_cache(reading, path, location.verify)
        images = _mapped(path, record, shape)
        labels = None if reading.class_names is None else _labels(path, record)
    except OSError as error:
        raise UserError(
            f"cannot keep the decoded images in {cache_dir!r} ({error.strerror or error}): they take "
            f"{format_bytes(reading.num_bytes)}; choose another folder with --cache_dir, or raise --memory_gb"
        ) from error
    warn(reading, Findings.from_dict(record))
    size = format_bytes(images.nbytes)
    logging.info("%s: %d images, %s on disk in %s", reading.description, len(images), size, path)
    return LabelledImages.paired(images, labels, reading.class_names)


def _labels(path: str, record: dict) -> np.ndarray:
    """Returns the labels beside a cached file.

    Raises:
      KeyError: the record is from a version that wrote no labels.
      OSError, ValueError: the file of the labels is missing or damaged.
    """
    with open(path + ".labels", "rb") as file:
        content = file.read()
    if zlib.crc32(content) != record["labels_crc32"]:
        raise ValueError("damaged labels")
    return np.frombuffer(content, "<i8")


def _mapped(path: str, record: dict, shape: tuple[int, int, int]) -> np.ndarray:
    return np.memmap(path, np.uint8, mode="r", shape=(record["count"], *shape))


def _cache_record(path: str, reading: Reading, verify: bool = False) -> dict | None:
    """Returns the record of a cached file, with the count of images and the findings; None if it is not intact.

    Size and date of the file and a sample of the images must be those of the record. With verify, or where the date
    differs as in a copy, the checksum of the whole file takes the place of date and sample. Labels must match their
    checksum.
    """
    shape = reading.preprocessing.shape
    try:
        with open(path + ".json", encoding="utf-8") as file:
            record = parsed_json(file.read())
        content, status = record["content"], os.stat(path)
        if zlib.crc32(json.dumps(content).encode()) != record["checksum"]:
            return None
        if status.st_size != content["count"] * math.prod(shape):
            return None
        if reading.class_names is not None:
            _labels(path, content)
        if not verify and status.st_mtime_ns == content.get("mtime_ns"):
            return content if fingerprint(_mapped(path, content, shape)) == content["sample"] else None
        if crc32_of_file(path) != content["crc32"]:
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):  # a read-only cache is read in full at every start
        _write_record(path, shape, content)
    return content


def _write_record(path: str, shape: tuple[int, int, int], record: dict, images_path: str | None = None) -> dict:
    """Writes and returns the record of a cached file, with date and sample; images_path: where the images are now."""
    images_path = images_path or path
    sample = fingerprint(_mapped(images_path, record, shape))
    record = {**record, "mtime_ns": os.stat(images_path).st_mtime_ns, "sample": sample}
    checked = {"content": record, "checksum": zlib.crc32(json.dumps(record).encode())}
    write_atomically(path + ".json", json.dumps(checked).encode())
    return record


def _write_labels(path: str, labels: list[int]) -> int:
    """Writes the labels of a cached file, and returns their checksum."""
    content = np.array(labels, "<i8").tobytes()
    write_atomically(path + ".labels", content)
    return zlib.crc32(content)


def _write_cache(reading: Reading, path: str, verify: bool) -> dict:
    with only_one(path + ".partial", wait=True):
        record = _cache_record(path, reading, verify)
        if record is not None:  # another process was quicker
            return record
        logging.info("%s: decoding %d images to %s", reading.description, reading.num_images, path)
        partial_path = os.path.join(path + ".partial", "images.uint8")
        findings = Findings()
        count, crc32 = 0, 0
        labels: list[int] = []
        try:
            with open(partial_path, "wb") as file:
                if shutil.disk_usage(os.path.dirname(path)).free < reading.num_bytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                for image, label in decoded_images(reading, findings):
                    content = image.tobytes()
                    file.write(content)
                    crc32 = zlib.crc32(content, crc32)
                    count += 1
                    labels += [] if label is None else [label]
                file.flush()
                os.fsync(file.fileno())
            record = {"count": count, "crc32": crc32, **findings.as_dict()}
            if reading.class_names is not None:
                record["labels_crc32"] = _write_labels(path, labels)
            record = _write_record(path, reading.preprocessing.shape, record, partial_path)
            os.replace(partial_path, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(partial_path)
            raise
    shutil.rmtree(path + ".partial", ignore_errors=True)
    return record
