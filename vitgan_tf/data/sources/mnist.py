"""MNIST from its idx files."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib

import numpy as np

from vitgan_tf.data.sources.base import MAX_PART_BYTES, ImageSource, MissingFilesError, contents, folders_below
from vitgan_tf.errors import UserError

_PREFIXES = {"training": "train", "evaluation": "t10k"}
_CLASS_NAMES = tuple(map(str, range(10)))
# Sets whose files have the same names.
_OTHER_SETS = re.compile(r"fashion[-_ ]?mnist|[keq]mnist|not[-_ ]?mnist|fashion", re.IGNORECASE)


def mnist(path: str, split: str) -> ImageSource:
    """MNIST from the idx file train-images-idx3-ubyte or t10k-images-idx3-ubyte, plain or .gz.

    Labels are in train-labels-idx1-ubyte or t10k-labels-idx1-ubyte beside it, which may be missing.

    Args:
      path: folder that holds them, or one above it, such as torchvision's, which has them in MNIST/raw.
      split: "training", 60,000 images of 28 x 28, or "evaluation", 10,000.

    Raises:
      MissingFilesError, UserError: files are missing or damaged, or they are those of another set.
    """
    file_path = _find(path, _PREFIXES[split])
    images = _idx(file_path, 3, "images")
    labels = _labels(os.path.dirname(file_path), _PREFIXES[split], len(images))
    names = [f"{split} image {index}" for index in range(len(images))]
    return ImageSource(
        names,
        lambda index: images[index],
        lambda index: zlib.crc32(images[index]),
        labels=labels,
        class_names=None if labels is None else _CLASS_NAMES,
    )


def _idx(file_path: str, num_dims: int, kind: str) -> np.ndarray:
    """Returns the unsigned bytes of an idx file."""
    try:
        with open(file_path, "rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with (gzip.open if is_packed else open)(file_path, "rb") as file:
            content = file.read(MAX_PART_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {file_path!r}: {error}") from error
    start = 4 + 4 * num_dims
    header = np.frombuffer(content[:start].ljust(start, b"\0"), ">i4")
    shape = tuple(int(size) for size in header[1:])
    # Magic number: two zeros, 8 for unsigned bytes, the number of dimensions.
    if header[0] != 0x0800 + num_dims or min(shape) < 1 or len(content) != start + math.prod(shape):
        raise UserError(f"{file_path!r} is damaged: it is not a complete idx file of {kind}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _labels(folder: str, prefix: str, num_images: int) -> np.ndarray | None:
    """Returns the labels in the idx file beside the images; None if there is no such file."""
    names = [f"{prefix}-labels{joint}idx1-ubyte{suffix}" for joint in "-." for suffix in ("", ".gz")]
    found = [file_path for name in names if os.path.isfile(file_path := os.path.join(folder, name))]
    if not found:
        return None
    file_path = next((file_path for file_path in found if os.path.getsize(file_path)), found[0])
    advice = "fetch it again, or delete it if labels are not needed"
    try:
        labels = _idx(file_path, 1, "labels")
    except UserError as error:
        raise UserError(f"{error}; {advice}") from error
    if len(labels) != num_images or labels.max() >= len(_CLASS_NAMES):
        raise UserError(
            f"{file_path!r} has {len(labels)} labels up to {labels.max()} for {num_images} images of digits: {advice}"
        )
    return labels.astype(np.int64)


def _find(path: str, prefix: str) -> str:
    if os.path.isfile(path):
        path = os.path.dirname(path) or "."
    names = [f"{prefix}-images{joint}idx3-ubyte{suffix}" for joint in "-." for suffix in ("", ".gz")]
    paths = [os.path.join(folder, name) for folder in folders_below(path) for name in names]
    found = [file_path for file_path in paths if os.path.isfile(file_path)]
    ours = [file_path for file_path in found if not _is_of_another_set(file_path)]
    if ours:
        return next((file_path for file_path in ours if os.path.getsize(file_path)), ours[0])
    if found:
        raise UserError(f"{os.path.dirname(found[0])!r} is not MNIST by its name: its files only have the same names")
    raise MissingFilesError(f"neither {names[0]} nor {names[1]} is there: {contents(path)}")


def _is_of_another_set(file_path: str) -> bool:
    return any(_OTHER_SETS.fullmatch(folder) for folder in os.path.abspath(file_path).split(os.sep)[-3:-1])
