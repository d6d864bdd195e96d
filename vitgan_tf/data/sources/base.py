"""Images on disk in a fixed order, read without unpacking."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from vitgan_tf.data.decoding import BadImageError, RawImage
from vitgan_tf.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_FILE_BYTES = 2**28  # larger files are not read into memory


class MissingFilesError(UserError):
    """Missing files of a data set or of one of its splits."""


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Images on disk, in a fixed order.

    Attributes:
      names: names of the images, for messages and `identity`.
      read: index -> encoded file or pixels. Thread-safe. Raises OSError or BadImageError.
      stamp: index -> a value that changes with the image, obtained without reading the image if that is slow.
      not_images: names of other files, whose suffix is not that of an image.
    """

    names: Sequence[str]
    read: Callable[[int], RawImage]
    stamp: Callable[[int], Any]
    not_images: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def items(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[str, Callable[[], RawImage]]]:
        """Yields name and reader of the images from start to stop, for `decoding.decode_all`."""
        for index in range(len(self))[start:stop]:
            yield self.names[index], functools.partial(self.read, index)

    def identity(self, start: int = 0, stop: int | None = None) -> str:
        """Returns a hash of the names and stamps of the images from start to stop."""
        digest = hashlib.sha256()
        for index in range(len(self))[start:stop]:
            digest.update(json.dumps([self.names[index], self.stamp(index)]).encode())
        return digest.hexdigest()


def file_stamp(path: str) -> list[int] | None:
    """Returns size and ctime, which also changes with permissions: an unreadable file may become readable."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_ctime_ns]


def check_size(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise BadImageError(f"a file of {num_bytes / 2**20:.0f} MiB, more than {MAX_FILE_BYTES // 2**20} MiB")


def first_file(folder: str, *names: str) -> str | None:
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
