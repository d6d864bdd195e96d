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
MAX_FILE_BYTES = 2**28  # of one image: larger files are not read into memory


class MissingFilesError(UserError):
    """The files of a data set, or of one of its splits, are not where they should be."""


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Images on disk, in a fixed order.

    Attributes:
      names: of the images, for messages.
      read: index -> the encoded file or its pixels. Safe in several threads. Raises OSError or BadImageError.
      stamp: index -> something that changes with the image, found without reading it where that takes long.
      not_images: names of files beside the images that are none by their name.
    """

    names: Sequence[str]
    read: Callable[[int], RawImage]
    stamp: Callable[[int], Any]
    not_images: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def items(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[str, Callable[[], RawImage]]]:
        """Name and reader of the images from start to stop, as `decoding.decode_all` takes them."""
        for index in range(len(self))[start:stop]:
            yield self.names[index], functools.partial(self.read, index)

    def identity(self, start: int = 0, stop: int | None = None) -> str:
        """A hash that changes with the images from start to stop, or their names."""
        digest = hashlib.sha256()
        for index in range(len(self))[start:stop]:
            digest.update(json.dumps([self.names[index], self.stamp(index)]).encode())
        return digest.hexdigest()


def file_stamp(path: str) -> list[int] | None:
    """Size, and the time of the last change of content or permissions: what could not be read may be readable now."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_ctime_ns]


def check_size(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise BadImageError(f"a file of {num_bytes / 2**20:.0f} MiB, more than {MAX_FILE_BYTES // 2**20}")


def first_file(folder: str, *names: str) -> str | None:
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
