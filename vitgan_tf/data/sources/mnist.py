"""MNIST from its idx files."""

from __future__ import annotations

import gzip
import math
import os
import zlib

import numpy as np

from vitgan_tf.data.sources.base import MAX_FILE_BYTES, ImageSource, MissingFilesError
from vitgan_tf.errors import UserError

_MNIST_PREFIXES = {"training": "train", "evaluation": "t10k"}


def mnist(path: str, split: str) -> ImageSource:
    """MNIST from the idx file train-images-idx3-ubyte or t10k-images-idx3-ubyte, plain or .gz.

    Args:
      path: folder that holds them.
      split: "training", 60,000 images of 28 x 28, or "evaluation", 10,000.

    Raises:
      MissingFilesError, UserError: files are missing or damaged.
    """
    prefix = _MNIST_PREFIXES[split]
    names = [f"{prefix}-images{joint}idx3-ubyte{suffix}" for joint in "-." for suffix in ("", ".gz")]
    file_path = next((p for p in (os.path.join(path, name) for name in names) if os.path.isfile(p)), None)
    if file_path is None:
        raise MissingFilesError(f"neither {names[0]} nor {names[1]} is in {path!r}")
    try:
        with (gzip.open if file_path.endswith(".gz") else open)(file_path, "rb") as file:
            content = file.read(MAX_FILE_BYTES)  # limited: a small .gz may expand to fill the memory
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {file_path!r}: {error}") from error
    header = np.frombuffer(content[:16].ljust(16, b"\0"), ">i4")
    shape = tuple(int(size) for size in header[1:])
    # Magic number: two zeros, 8 for unsigned bytes, three dimensions.
    if header[0] != 0x0803 or min(shape) < 1 or len(content) != 16 + math.prod(shape):
        raise UserError(f"{file_path!r} is not a complete idx file of images: fetch it again")
    images = np.frombuffer(content, np.uint8, offset=16).reshape(shape)
    names = [f"{split} image {index}" for index in range(len(images))]
    return ImageSource(names, lambda index: images[index], lambda index: zlib.crc32(images[index]))
