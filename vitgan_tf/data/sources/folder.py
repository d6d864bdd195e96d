"""A folder of images."""

from __future__ import annotations

import os
import stat

from vitgan_tf.data.decoding import BadImageError
from vitgan_tf.data.sources.base import (
    IMAGE_SUFFIXES,
    ImageSource,
    MissingFilesError,
    check_size,
    file_stamp,
    read_file,
)
from vitgan_tf.errors import UserError


def image_folder(path: str, split: str = "training") -> ImageSource:
    """Images below a folder, sorted by path; follows links and ignores hidden files.

    Raises:
      MissingFilesError: the folder does not exist or holds no image, or the split is not "training".
      UserError: the folder cannot be read.
    """
    if split != "training":
        raise MissingFilesError(f"a folder of images has no {split} split")
    if not os.path.isdir(path):
        raise MissingFilesError(f"there is no folder {path!r}")
    images: list[str] = []
    others: list[str] = []
    seen = set()

    def fail(error: OSError) -> None:
        raise UserError(f"cannot read the folder {error.filename!r}: {error.strerror}") from error

    for folder, subfolders, files in os.walk(path, onerror=fail, followlinks=True):
        # A link to a parent folder would loop forever.
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else sorted(name for name in subfolders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        for name in files:
            if not name.startswith("."):
                relative = os.path.relpath(os.path.join(folder, name), path)
                (images if name.lower().endswith(IMAGE_SUFFIXES) else others).append(relative)
    if not images:
        raise MissingFilesError(
            f"no images in {path!r} or its subfolders: expected {', '.join('*' + s for s in IMAGE_SUFFIXES)}, "
            f"found {len(others)} other files"
        )
    images.sort()
    paths = [os.path.join(path, name) for name in images]
    return ImageSource(
        images, lambda index: _read_image(paths[index]), lambda index: file_stamp(paths[index]), sorted(others)
    )


def _read_image(path: str) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BadImageError("not a regular file")
    check_size(status.st_size)
    return read_file(path)
