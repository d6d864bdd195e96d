"""Loads a data set as one uint8 array at the training resolution, in memory or memory-mapped from a cache file."""

from __future__ import annotations

import dataclasses
import mmap
import os
from typing import Any

import numpy as np
from absl import logging

from vitgan_tf.config import SPLITS, DataConfig, DataLocation
from vitgan_tf.data import tfds_sets
from vitgan_tf.data.cache import cached_images
from vitgan_tf.data.decoding import Preprocessing
from vitgan_tf.data.instructions import instructions
from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.data.opening import limited_pixels
from vitgan_tf.data.reading import Findings, Reading, decoded_images, warn
from vitgan_tf.data.registry import ArrayDataset, DatasetSpec, dataset_spec
from vitgan_tf.data.sources.base import MissingFilesError
from vitgan_tf.errors import UserError
from vitgan_tf.files import format_bytes

_DEFAULT_LOCATION = DataLocation()


def load_images(
    config: DataConfig, location: DataLocation = _DEFAULT_LOCATION, split: str = "training"
) -> np.ndarray:
    """Returns the images of `load_labelled_images`; arguments and errors as there."""
    return load_labelled_images(config, location, split).images


def load_labelled_images(
    config: DataConfig, location: DataLocation = _DEFAULT_LOCATION, split: str = "training"
) -> LabelledImages:
    """Returns the images of a split, decoded once, in the order of the files, with labels if the set has them.

    Searches location.data_dir for the set that tools/prepare_data.py made, then for that of tensorflow-datasets, and
    downloads the latter if allowed. Images that cannot be read are listed in the log and left out.

    Args:
      config: data set, image size, number of channels, and the classes if not all of them are used.
      location: location of the files.
      split: "training" or "evaluation". The digits have the same images in both; "folder" has none for evaluation.

    Returns:
      Images (num_images, size, size, channels) uint8; above location.memory_gb, memory-mapped from
      location.cache_dir. Labels are those of MNIST and CIFAR-10, of a feature "label" of tensorflow-datasets, and of
      the digits; of a folder or zip archive, its subfolders are the classes, sorted by name, if every image of the
      split lies in one and there are two or more.

    Raises:
      UserError: the images are missing or cannot be read; the message says what to do.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    loaded = _all_classes(config, location, split)
    return loaded.of_classes(config.classes) if config.classes else loaded


def _all_classes(config: DataConfig, location: DataLocation, split: str) -> LabelledImages:
    spec = dataset_spec(config, location)
    if isinstance(spec, ArrayDataset):
        loaded = spec.load(config, split)
        return loaded if isinstance(loaded, LabelledImages) else LabelledImages(loaded)
    find = _folder if config.dataset == "folder" else _set
    with limited_pixels(location.max_megapixels):
        reading = find(spec, config, location, split)
        if reading.num_bytes <= location.memory_gb * 1e9:
            return _in_memory(reading)
        return cached_images(reading, location)


def _folder(spec: DatasetSpec, config: DataConfig, location: DataLocation, split: str) -> Reading:
    if location.data_dir is None:
        raise UserError("the data set 'folder' needs the folder of its images: set --data_dir=DIR")
    builder = tfds_sets.find_in(location.data_dir)
    if builder is not None:
        return _prepared(builder, config, location, split)
    try:
        source = spec.source(location.data_dir, split)
    except MissingFilesError:
        if prepared := tfds_sets.prepared_below(location.data_dir):
            raise UserError(f"the prepared set is one level down: set --data_dir={prepared}") from None
        raise
    return Reading(
        location.data_dir,
        len(source),
        source.items,
        spec.preprocessing(config),
        source.identity,
        tuple(source.remarks()),
        class_names=source.class_names,
    )


def _set(spec: DatasetSpec, config: DataConfig, location: DataLocation, split: str) -> Reading:
    data_dir = location.data_dir or tfds_sets.default_data_dir()
    builder = tfds_sets.find(spec.prepared_name(config), data_dir)
    if builder is not None:
        return _prepared(builder, config, location, split)
    if not spec.tfds_name:
        raise UserError(instructions(spec, config, data_dir, "tensorflow-datasets does not have it"))
    builder = tfds_sets.find(spec.tfds_name, data_dir)
    if builder is None:
        reason = "with --download, tensorflow-datasets tries to fetch it"
        if location.download:
            logging.info("%s is not in %s: downloading it with tensorflow-datasets", spec.tfds_name, data_dir)
            try:
                builder = tfds_sets.download(spec, data_dir)
            except tfds_sets.DownloadError as error:
                reason = str(error)
        if builder is None:
            raise UserError(instructions(spec, config, data_dir, reason))
    return _reading(builder, dict(spec.tfds_splits)[split], spec.preprocessing(config))


def _prepared(builder: Any, config: DataConfig, location: DataLocation, split: str) -> Reading:
    name = tfds_sets.PREPARED_SPLITS[split]
    if name not in builder.info.splits:
        raise UserError(f"the prepared set in {os.fspath(builder.data_path)!r} has no {split} images")
    if config.value_range or config.holdout or location.holdout_dir is not None:
        raise UserError(
            f"the prepared set in {os.fspath(builder.data_path)!r} has its values and splits: give --value_range, "
            "--holdout or --holdout_dir where it is prepared"
        )
    if "image" not in builder.info.features:
        raise UserError(f"the data set in {os.fspath(builder.data_path)!r} has no images")
    shape = builder.info.features["image"].shape
    unchanged = Preprocessing(config.image_size, config.num_channels)
    if shape != unchanged.shape:
        raise UserError(
            f"the prepared set in {os.fspath(builder.data_path)!r} has images of {' x '.join(map(str, shape))}, "
            f"not {' x '.join(map(str, unchanged.shape))}: prepare another set, or train with "
            f"--resolution={shape[0]} --num_channels={shape[2]}"
        )
    return dataclasses.replace(_reading(builder, name, unchanged), is_prepared=True)


def _reading(builder: Any, split: str, preprocessing: Preprocessing) -> Reading:
    def identity() -> str:
        info = builder.data_path / "dataset_info.json"
        return repr((split, info.read_text(), info.stat().mtime))

    return Reading(
        f"{builder.info.full_name}, {split}",
        builder.info.splits[split].num_examples,
        lambda: tfds_sets.encoded_images(builder, split),
        preprocessing,
        identity,
        class_names=tfds_sets.class_names(builder),
    )


def _in_memory(reading: Reading) -> LabelledImages:
    size = format_bytes(reading.num_bytes)
    logging.info("%s: %d images, %s in memory", reading.description, reading.num_images, size)
    # Page-aligned: TensorFlow would copy an unaligned array. Pages that are not filled take no memory.
    try:
        memory = mmap.mmap(-1, reading.num_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise UserError(f"not enough memory for {size} of images: lower --memory_gb") from error
    images = np.frombuffer(memory, np.uint8).reshape(-1, *reading.preprocessing.shape)
    findings, count = Findings(), 0
    labels: list[int] = []
    for image, label in decoded_images(reading, findings):
        images[count] = image
        count += 1
        labels += [] if label is None else [label]
    warn(reading, findings)
    return LabelledImages.paired(images[:count], labels, reading.class_names)
