"""Data sets in the format of tensorflow-datasets: found on disk, read, and downloaded where that is allowed."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.connectivity import unreachable
from vitgan_tf.data.registry import DatasetSpec
from vitgan_tf.errors import UserError, first_line

PREPARED_VERSION = "1.0.0"
PREPARED_SPLITS = {"training": "train", "evaluation": "test"}


def default_data_dir() -> str:
    """Where tensorflow-datasets keeps its sets: TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    return os.path.expanduser(os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets"))


def find(name: str, data_dir: str) -> Any | None:
    """The builder of a set that is complete in data_dir, or None.

    Args:
      name: with the configuration, if there are several: "celeb_a", "lsun/bedroom".
      data_dir: local or gs://.

    Raises:
      UserError: it is there and cannot be read.
    """
    # Imported here: the embedded digits do without.
    from tensorflow_datasets.core import read_only_builder, registered

    try:
        return read_only_builder.builder_from_files(name, data_dir=data_dir)
    except registered.DatasetNotFoundError:
        return None
    except Exception as error:  # of many types: permissions, damaged metadata
        raise UserError(f"cannot read {name} in {data_dir!r}: {first_line(error)}") from error


def find_in(directory: str) -> Any | None:
    """The builder of the set whose files lie in a folder or in the folder of its version there, or None.

    Raises:
      UserError: it is there and cannot be read.
    """
    import tensorflow_datasets as tfds

    for path in (directory, os.path.join(directory, PREPARED_VERSION)):
        # Both: other programs write a dataset_info.json too.
        if all(tf.io.gfile.exists(os.path.join(path, name)) for name in ("dataset_info.json", "features.json")):
            try:
                return tfds.builder_from_directory(path)
            except Exception as error:  # of many types: permissions, damaged metadata
                raise UserError(f"cannot read the data set in {path!r}: {first_line(error)}") from error
    return None


def encoded_images(builder: Any, split: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name and reader of every image of a split, in the order of the files; the images stay encoded.

    Args:
      builder: of a set with a feature "image".
      split: name there, for example "train".

    Raises:
      UserError: files of the set are missing or damaged.
    """
    import tensorflow_datasets as tfds

    decoders = tfds.decode.PartialDecoding({"image": True}, decoders={"image": tfds.decode.SkipDecoding()})
    in_order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    try:
        examples = builder.as_dataset(split=split, decoders=decoders, read_config=in_order, shuffle_files=False)
        for index, example in enumerate(examples.as_numpy_iterator()):
            yield f"{builder.info.name}, {split} image {index}", functools.partial(_itself, example["image"])
    except (tf.errors.OpError, OSError) as error:
        raise UserError(
            f"the data set in {os.fspath(builder.data_path)!r} is damaged ({first_line(error)})"
        ) from error


def _itself(value: bytes) -> bytes:
    return value


def download(spec: DatasetSpec, data_dir: str) -> Any:
    """Lets tensorflow-datasets fetch and prepare a set, with its own progress bars.

    Raises:
      DownloadError: it cannot, and why. What is on disk then is not taken for a data set later.
    """
    import tensorflow_datasets as tfds

    if spec.tfds_name.startswith("lsun") and importlib.util.find_spec("tensorflow_io") is None:
        raise DownloadError("tensorflow-datasets reads LSUN with the package tensorflow-io, which is not installed")
    reason = unreachable(spec.url)
    if reason:
        # tensorflow-datasets would try again for minutes.
        raise DownloadError(f"{spec.url} cannot be reached: {reason}")
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        builder = tfds.builder(spec.tfds_name, data_dir=data_dir, try_gcs=False)
        builder.download_and_prepare()
    except Exception as error:  # of many types: network, quota, checksum, disk, missing packages
        raise DownloadError(f"tensorflow-datasets could not make {spec.tfds_name}: {first_line(error)}") from error
    return builder


class DownloadError(Exception):
    """A data set could not be downloaded; the message says why."""
