"""Finds, reads and, if allowed, downloads data sets in TFDS format."""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
from collections.abc import Iterator
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.connectivity import unreachable
from vitgan_tf.data.labels import ImageKey
from vitgan_tf.data.registry import DatasetSpec
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.progress import shows_bars

PREPARED_VERSION = "1.0.0"
PREPARED_SPLITS = {"training": "train", "evaluation": "test"}


def default_data_dir() -> str:
    """Returns the folder of tensorflow-datasets: TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    return os.path.expanduser(os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets"))


def find(name: str, data_dir: str) -> Any | None:
    """Returns the builder of a complete set in data_dir, or None.

    Args:
      name: name of the set, with its configuration if it has several: "celeb_a", "lsun/bedroom".
      data_dir: local or gs:// folder.

    Raises:
      UserError: the set exists but cannot be read.
    """
    # Imported lazily: the embedded digits do not need it.
    from tensorflow_datasets.core import read_only_builder, registered

    try:
        return read_only_builder.builder_from_files(name, data_dir=data_dir)
    except registered.DatasetNotFoundError:
        return None
    except Exception as error:  # errors of many types: permissions, damaged metadata
        raise UserError(f"cannot read {name} in {data_dir!r}: {first_line(error)}") from error


def find_in(directory: str) -> Any | None:
    """Returns the builder of the set in a folder or in its subfolder for the version, or None.

    Raises:
      UserError: the set exists but cannot be read.
    """
    import tensorflow_datasets as tfds

    for path in (directory, os.path.join(directory, PREPARED_VERSION)):
        # Both files: other programs write a dataset_info.json too.
        if all(tf.io.gfile.exists(os.path.join(path, name)) for name in ("dataset_info.json", "features.json")):
            try:
                return tfds.builder_from_directory(path)
            except Exception as error:  # errors of many types: permissions, damaged metadata
                raise UserError(f"cannot read the data set in {path!r}: {first_line(error)}") from error
    return None


def prepared_below(directory: str) -> str | None:
    """Returns the path of a set that tools/prepare_data.py has made in a local folder, or None."""
    pattern = os.path.join(glob.escape(directory), "*", PREPARED_VERSION, "dataset_info.json")
    return next((os.path.dirname(path) for path in sorted(glob.glob(pattern))), None)


def class_names(builder: Any) -> tuple[str, ...] | None:
    """Returns the names of the classes that a set's feature "label" has; None if there is none."""
    import tensorflow_datasets as tfds

    if "label" not in builder.info.features:
        return None
    label = builder.info.features["label"]
    return tuple(label.names) if isinstance(label, tfds.features.ClassLabel) and label.num_classes else None


def encoded_images(builder: Any, split: str) -> Iterator[tuple[ImageKey, Callable[[], bytes]]]:
    """Yields key and reader of every image of a split, in file order; the images stay encoded.

    Args:
      builder: builder of a set with a feature "image", and labels if it has `class_names`.
      split: name of the split in the set, for example "train".

    Raises:
      UserError: files of the set are missing or damaged.
    """
    import tensorflow_datasets as tfds

    wanted = {"image": True} if class_names(builder) is None else {"image": True, "label": True}
    decoders = tfds.decode.PartialDecoding(wanted, decoders={"image": tfds.decode.SkipDecoding()})
    in_order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    try:
        examples = builder.as_dataset(split=split, decoders=decoders, read_config=in_order, shuffle_files=False)
        for index, example in enumerate(examples.as_numpy_iterator()):
            label = int(example["label"]) if "label" in example else None
            key = ImageKey(f"{builder.info.name}, {split} image {index}", label)
            yield key, functools.partial(_itself, example["image"])
    except (tf.errors.OpError, OSError) as error:
        raise UserError(
            f"the data set in {os.fspath(builder.data_path)!r} is damaged ({first_line(error)})"
        ) from error


def _itself(value: bytes) -> bytes:
    return value


def download(spec: DatasetSpec, data_dir: str) -> Any:
    """Downloads and prepares a set with tensorflow-datasets, which shows its own progress bars.

    Raises:
      DownloadError: the download or the preparation failed. The files left on disk do not count as a data set later.
    """
    import tensorflow_datasets as tfds

    if spec.tfds_name.startswith("lsun") and importlib.util.find_spec("tensorflow_io") is None:
        raise DownloadError("tensorflow-datasets needs tensorflow-io to read LSUN, and it is not installed")
    reason = unreachable(spec.url)
    if reason:
        # tensorflow-datasets would retry for minutes.
        raise DownloadError(f"{spec.url} cannot be reached: {reason}")
    if not shows_bars():
        tfds.disable_progress_bar()
    try:
        builder = tfds.builder(spec.tfds_name, data_dir=data_dir, try_gcs=False)
        builder.download_and_prepare()
    except Exception as error:  # errors of many types: network, quota, checksum, disk, missing packages
        raise DownloadError(f"tensorflow-datasets could not prepare {spec.tfds_name}: {first_line(error)}") from error
    return builder


class DownloadError(Exception):
    """Failed download of a data set; the message gives the reason."""
