"""Images on disk in a fixed order, read without unpacking."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np

from vitgan_tf.data import kinds
from vitgan_tf.data.decoding import RawImage
from vitgan_tf.data.labels import ImageKey
from vitgan_tf.errors import UserError

# Ends of the names of archives.
PACKED_SUFFIXES = (".zip", ".7z", ".7z.001", ".rar", ".tar", ".tgz", ".tar.gz")
# Files of these names are taken for images without a look inside.
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# Larger parts of a data set are not read into memory: a small archive may expand to fill it.
MAX_PART_BYTES = 2**28
_LISTED = 8


class MissingFilesError(UserError):
    """Missing files of a data set or of one of its splits."""


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Images on disk, in a fixed order.

    Attributes:
      names: names of the images, for messages and `identity`.
      read: index -> encoded file or pixels. Thread-safe. Raises OSError or BadImageError.
      stamp: index -> a value that changes with the image, obtained without reading the image if that is slow.
      others: name and kind (see `kinds.kind`) of each file beside the images.
      notes: what the user should know about the choice of the images, a line each.
      labels: (num_images,) int64, indices into class_names, -1 for an unknown class; None for a set without labels.
      class_names: names of the classes; None without labels.
    """

    names: Sequence[str]
    read: Callable[[int], RawImage]
    stamp: Callable[[int], Any]
    others: Sequence[tuple[str, str | None]] = ()
    notes: Sequence[str] = ()
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def items(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[ImageKey, Callable[[], RawImage]]]:
        """Yields key and reader of the images from start to stop, for `decoding.decode_all`."""
        for index in range(len(self))[start:stop]:
            label = None if self.labels is None else int(self.labels[index])
            yield ImageKey(self.names[index], label), functools.partial(self.read, index)

    def identity(self, start: int = 0, stop: int | None = None) -> str:
        """Returns a hash of the names and stamps of the images from start to stop."""
        digest = hashlib.sha256()
        for index in range(len(self))[start:stop]:
            digest.update(json.dumps([self.names[index], self.stamp(index)]).encode())
        return digest.hexdigest()

    def subset(self, indices: Sequence[int], notes: Sequence[str] = ()) -> ImageSource:
        """Returns some of the images, in the order of their indices, with further notes."""
        return dataclasses.replace(
            self,
            names=[self.names[index] for index in indices],
            read=lambda position: self.read(indices[position]),
            stamp=lambda position: self.stamp(indices[position]),
            notes=[*self.notes, *notes],
            labels=None if self.labels is None else self.labels[np.asarray(indices, np.int64)],
        )

    def relabelled(self, class_names: tuple[str, ...] | None) -> ImageSource:
        """Returns the images with labels that index other names of the same classes; -1 where there is none."""
        if class_names is None:
            return dataclasses.replace(self, labels=None, class_names=None)
        labels = np.full(len(self), -1)
        if self.labels is not None and self.class_names is not None:
            places = {name: place for place, name in enumerate(class_names)}
            labels = np.array([places.get(name, -1) for name in self.class_names])[self.labels]
        return dataclasses.replace(self, labels=labels, class_names=class_names)

    def remarks(self) -> list[str]:
        """Returns the notes and a line that counts the files beside the images."""
        left_out = kinds.left_out_line(self.others)
        return [*self.notes, *([left_out] if left_out else [])]


def is_image(name: str, look: Callable[[], str | None]) -> tuple[bool, str | None]:
    """Returns whether a file counts as an image, and its kind where its name does not tell.

    Args:
      name: name of the file.
      look: () -> its kind by its first bytes, see `kinds.kind`.
    """
    if name.lower().endswith(_IMAGE_SUFFIXES):
        return True, None
    kind = look()
    return kind in kinds.formats(), kind


def file_stamp(path: str) -> list[int] | None:
    """Returns size and ctime, which also changes with permissions: an unreadable file may become readable."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_ctime_ns]


def folders_below(path: str) -> Iterator[str]:
    """Yields a folder, its subfolders and their subfolders, without hidden ones; nothing if it does not exist.

    Raises:
      UserError: a folder cannot be read.
    """
    level = [path] if os.path.isdir(path) else []
    for depth in range(3):
        yield from level
        if depth < 2:
            level = [os.path.join(folder, name) for folder in level for name in sorted(entries(folder, True))]


def paths_below(path: str) -> Iterator[str]:
    """Yields the paths of what is in `folders_below`, by name in each folder."""
    for folder in folders_below(path):
        yield from (os.path.join(folder, name) for name in sorted(entries(folder)))


def find_below(path: str, *names: str, exists: Callable[[str], bool] = os.path.isfile) -> str | None:
    """Returns the path of the first of the names in a folder, or up to two levels below it; None if there is none."""
    paths = (os.path.join(folder, name) for folder in folders_below(path) for name in names)
    return next((path for path in paths if exists(path)), None)


def contents(path: str) -> str:
    """Returns what a folder holds, in words that end a message."""
    if not os.path.isdir(path):
        return f"{path!r} is {'a file' if os.path.exists(path) else 'not there'}"
    names = sorted(entries(path))
    if not names:
        return f"{path!r} is empty"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    packed = [name for name in names if name.lower().endswith(PACKED_SUFFIXES)]
    advice = f"; unpack {packed[0]}, if it holds them" if packed else ""
    return f"{path!r} holds {', '.join(names[:_LISTED])}{more}{advice}"


def entries(folder: str, only_folders: bool = False) -> list[str]:
    """Returns the names in a folder, without hidden ones.

    Raises:
      UserError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            visible = (entry for entry in found if not entry.name.startswith("."))
            return [entry.name for entry in visible if not only_folders or entry.is_dir()]
    except OSError as error:
        raise UserError(f"cannot read the folder {folder!r}: {error.strerror}") from error


def read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
