"""All images of a data set as one array of uint8 at the size of the training, in memory or on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import mmap
import os
import shlex
import shutil
import zlib
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
from absl import logging

from vitgan_tf.config import SPLITS, DataConfig, DataLocation
from vitgan_tf.config.choices import DATASETS
from vitgan_tf.data import tfds_sets
from vitgan_tf.data.decoding import BadImageError, Preprocessing, decode_all
from vitgan_tf.data.registry import ArrayDataset, DatasetSpec
from vitgan_tf.errors import UserError
from vitgan_tf.files import crc32_of_file, only_one, write_atomically
from vitgan_tf.presets import PRESETS
from vitgan_tf.progress import progress

_LISTED = 10
_DEFAULT_LOCATION = DataLocation()


@dataclasses.dataclass(frozen=True)
class _Reading:
    """Images that are there, not yet decoded."""

    description: str
    num_images: int
    items: Callable[[], Iterator]
    preprocessing: Preprocessing
    identity: Callable[[], str]
    not_images: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Of all of them, decoded."""
        return self.num_images * math.prod(self.preprocessing.shape)


def load_images(
    config: DataConfig, location: DataLocation = _DEFAULT_LOCATION, split: str = "training"
) -> np.ndarray:
    """Every image of a split, decoded once, in the order of the files.

    Looks in location.data_dir for the set that tools/prepare_data.py made, then for that of tensorflow-datasets,
    downloaded if that is allowed. Images that cannot be read are listed in the log and left out.

    Args:
      config: data set, size and number of channels.
      location: of the files.
      split: "training" or "evaluation". The digits have one set of images for both, "folder" none for evaluation.

    Returns:
      (num_images, size, size, channels) uint8; above location.memory_gb, a np.memmap of a file in location.cache_dir.

    Raises:
      UserError: the images are not there or cannot be read; the message says what to do.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if config.dataset not in DATASETS:
        raise UserError(f"there is no data set {config.dataset!r}, only {', '.join(DATASETS)}")
    spec = DATASETS[config.dataset]
    if isinstance(spec, ArrayDataset):
        return spec.load(config, split)
    find = _folder if config.dataset == "folder" else _set
    reading = find(spec, config, location, split)
    if reading.num_bytes <= location.memory_gb * 1e9:
        return _in_memory(reading)
    return _on_disk(reading, location.cache_dir)


def fingerprint(images: np.ndarray) -> str:
    """A short hash of the number and shape of the images, and of up to 1,000 of them, evenly spread."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), 1000)).astype(int)
    content = repr(images.shape).encode() + np.ascontiguousarray(images[chosen]).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _folder(spec: DatasetSpec, config: DataConfig, location: DataLocation, split: str) -> _Reading:
    if location.data_dir is None:
        raise UserError("say where the images are: --dataset=folder --data_dir=DIR")
    builder = tfds_sets.find_in(location.data_dir)
    if builder is not None:
        return _prepared(builder, config, split)
    source = spec.source(location.data_dir, split)
    return _Reading(
        location.data_dir,
        len(source),
        source.items,
        spec.preprocessing(config),
        source.identity,
        tuple(source.not_images),
    )


def _set(spec: DatasetSpec, config: DataConfig, location: DataLocation, split: str) -> _Reading:
    data_dir = location.data_dir or tfds_sets.default_data_dir()
    builder = tfds_sets.find(spec.prepared_name(config), data_dir)
    if builder is not None:
        return _prepared(builder, config, split)
    builder = tfds_sets.find(spec.tfds_name, data_dir)
    if builder is None:
        reason = "with --download, tensorflow-datasets would try to fetch it"
        if location.download:
            logging.info("%s is not in %s: tensorflow-datasets fetches it", spec.tfds_name, data_dir)
            try:
                builder = tfds_sets.download(spec, data_dir)
            except tfds_sets.DownloadError as error:
                reason = str(error)
        if builder is None:
            raise UserError(_instructions(spec, config, data_dir, reason))
    return _reading(builder, dict(spec.tfds_splits)[split], spec.preprocessing(config))


def _instructions(spec: DatasetSpec, config: DataConfig, data_dir: str, reason: str) -> str:
    options = shlex.join(command_options(config, data_dir))
    them = ("it" if len(spec.files) == 1 else "them") + (", unzipped," if spec.unpack else "")
    return (
        f"no images of {config.dataset} in {data_dir!r}, neither {spec.prepared_name(config)} nor {spec.tfds_name} "
        f"({reason}): fetch {' and '.join(spec.files)} from {spec.url}, put {them} into {spec.raw_dir(data_dir)!r} "
        f"and run: python tools/prepare_data.py {options}"
    )


def command_options(config: DataConfig, data_dir: str) -> list[str]:
    """The options that name these images to tools/prepare_data.py and experiments/run.py."""
    options = [f"--dataset={config.dataset}", f"--data_dir={data_dir}"]
    usual = PRESETS[config.dataset]().data
    if config.image_size != usual.image_size:
        options.append(f"--resolution={config.image_size}")
    if config.num_channels != usual.num_channels:
        options.append(f"--num_channels={config.num_channels}")
    return options


def _prepared(builder: Any, config: DataConfig, split: str) -> _Reading:
    name = tfds_sets.PREPARED_SPLITS[split]
    if name not in builder.info.splits:
        raise UserError(f"the prepared set in {os.fspath(builder.data_path)!r} has no {split} images")
    if "image" not in builder.info.features:
        raise UserError(f"the data set in {os.fspath(builder.data_path)!r} has no images")
    shape = builder.info.features["image"].shape
    unchanged = Preprocessing(config.image_size, config.num_channels)
    if shape != unchanged.shape:
        raise UserError(
            f"the prepared set in {os.fspath(builder.data_path)!r} has images of {' x '.join(map(str, shape))}, "
            f"not {' x '.join(map(str, unchanged.shape))}: set --resolution={shape[0]} "
            f"--num_channels={shape[2]}, or make another"
        )
    return _reading(builder, name, unchanged)


def _reading(builder: Any, split: str, preprocessing: Preprocessing) -> _Reading:
    def identity() -> str:
        info = builder.data_path / "dataset_info.json"
        return repr((split, info.read_text(), info.stat().mtime))

    return _Reading(
        f"{builder.info.full_name}, {split}",
        builder.info.splits[split].num_examples,
        lambda: tfds_sets.encoded_images(builder, split),
        preprocessing,
        identity,
    )


def _decoded(reading: _Reading, bad: list[tuple[str, str]]) -> Iterator[np.ndarray]:
    """The images that can be read; the names of the others, with the reason, are added to bad.

    Raises UserError if none can be read.
    """
    bad += [(name, "not an image by its name") for name in reading.not_images]
    items = decode_all(reading.items(), reading.preprocessing)
    good = 0
    for name, image in progress(items, "decoding", reading.num_images, "image"):
        if isinstance(image, BadImageError):
            bad.append((name, str(image)))
        else:
            good += 1
            yield image
    if not good:
        _warn(bad)
        raise UserError(f"none of the {reading.num_images} images of {reading.description} can be used")


def skipped_lines(bad: list[tuple[str, str]]) -> list[str]:
    """Lines of a log about files that were left out: how many, the first of them, and why."""
    lines = [f"{len(bad)} files were left out:"] if bad else []
    lines += [f"  {name}: {reason}" for name, reason in bad[:_LISTED]]
    return lines + ([f"  and {len(bad) - _LISTED} more"] if len(bad) > _LISTED else [])


def _warn(bad: list[tuple[str, str]]) -> None:
    for line in skipped_lines(bad):
        logging.warning("%s", line)


def _in_memory(reading: _Reading) -> np.ndarray:
    size = f"{reading.num_bytes / 1e9:.3g} GB"
    logging.info("%s: %d images, %s in memory", reading.description, reading.num_images, size)
    # Begins at a page, as TensorFlow wants it that would otherwise copy it; what is not filled takes no memory.
    try:
        memory = mmap.mmap(-1, reading.num_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise UserError(f"there is no memory for {size} of images: lower --memory_gb") from error
    images = np.frombuffer(memory, np.uint8).reshape(-1, *reading.preprocessing.shape)
    bad: list[tuple[str, str]] = []
    count = 0
    for image in _decoded(reading, bad):
        images[count] = image
        count += 1
    _warn(bad)
    return images[:count]


def _on_disk(reading: _Reading, cache_dir: str) -> np.ndarray:
    shape = reading.preprocessing.shape
    try:
        identity = repr((reading.description, reading.preprocessing, reading.identity()))
        path = os.path.join(cache_dir, f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.uint8")
        record = _cache_record(path, shape)
        if record is None:
            record = _write_cache(reading, path)
        images = np.memmap(path, np.uint8, mode="r", shape=(record["count"], *shape))
    except OSError as error:
        raise UserError(
            f"cannot keep the decoded images in {cache_dir!r} ({error.strerror or error}): they take "
            f"{reading.num_bytes / 1e9:.3g} GB; choose another folder with --cache_dir, or raise --memory_gb"
        ) from error
    _warn(record["skipped"])
    logging.info("%s: %d images, %.3g GB on disk in %s", reading.description, len(images), images.nbytes / 1e9, path)
    return images


def _cache_record(path: str, shape: tuple[int, int, int]) -> dict | None:
    """What is known of a cached file: count of images, and what was left out; None if it is not there and whole."""
    try:
        with open(path + ".json", encoding="utf-8") as file:
            record = json.load(file)
        content, checksum = record["content"], record["checksum"]
        is_whole = (
            zlib.crc32(json.dumps(content).encode()) == checksum
            and os.path.getsize(path) == content["count"] * math.prod(shape)
            and crc32_of_file(path) == content["crc32"]
        )
        return content if is_whole else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _write_cache(reading: _Reading, path: str) -> dict:
    with only_one(path + ".partial", wait=True):
        record = _cache_record(path, reading.preprocessing.shape)
        if record is not None:  # another process was quicker
            return record
        logging.info("%s: decoding %d images to %s", reading.description, reading.num_images, path)
        partial_path = os.path.join(path + ".partial", "images.uint8")
        bad: list[tuple[str, str]] = []
        count, crc32 = 0, 0
        try:
            with open(partial_path, "wb") as file:
                if shutil.disk_usage(os.path.dirname(path)).free < reading.num_bytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                for image in _decoded(reading, bad):
                    content = image.tobytes()
                    file.write(content)
                    crc32 = zlib.crc32(content, crc32)
                    count += 1
                file.flush()
                os.fsync(file.fileno())
            record = {"count": count, "crc32": crc32, "skipped": bad}
            checked = {"content": record, "checksum": zlib.crc32(json.dumps(record).encode())}
            write_atomically(path + ".json", json.dumps(checked).encode())
            os.replace(partial_path, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(partial_path)
            raise
    shutil.rmtree(path + ".partial", ignore_errors=True)
    return record
