"""CelebA from its zip archive or folder, and its lists."""

from __future__ import annotations

import os
import re
import zipfile
import zlib

from vitgan_tf.data.decoding import BadImageError
from vitgan_tf.data.sources.base import IMAGE_SUFFIXES, ImageSource, MissingFilesError, check_size, first_file
from vitgan_tf.data.sources.folder import image_folder
from vitgan_tf.errors import UserError

_CELEBA_PARTITIONS = {"training": "0", "evaluation": "2"}  # 1 is the validation partition


def celeba(path: str, split: str) -> ImageSource:
    """Aligned CelebA: img_align_celeba.zip or the folder img_align_celeba, and list_eval_partition.txt.

    Landmark and attribute files are not needed, since the faces are already aligned. If
    list_landmarks_align_celeba.txt is present, every image that it lists must be present too.

    Args:
      path: folder that holds them.
      split: "training", 162,770 images of 178 x 218, or "evaluation", 19,962: the official partitions 0 and 2.

    Raises:
      MissingFilesError, UserError: files are missing or damaged.
    """
    partition_path = first_file(path, "list_eval_partition.txt", "list_eval_partition.csv")
    if partition_path is None:
        raise MissingFilesError(f"list_eval_partition.txt is not in {path!r}")
    zip_path, folder = os.path.join(path, "img_align_celeba.zip"), os.path.join(path, "img_align_celeba")
    if os.path.isfile(zip_path):
        source = _image_zip(zip_path)
    elif os.path.isdir(folder):
        source = image_folder(folder)
    else:
        raise MissingFilesError(f"neither img_align_celeba.zip nor img_align_celeba/ is in {path!r}")
    # The lists may differ from the file names in case.
    available = {os.path.basename(name).lower(): index for index, name in enumerate(source.names)}
    partition = _table(partition_path)
    named = partition
    landmarks_path = first_file(path, "list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv")
    if landmarks_path is not None:
        named = partition | _table(landmarks_path)
    missing = sorted(name for name in named if name not in available)
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(named)} images listed in {path!r} are missing, "
            f"the first is {missing[0]}: the archive is incomplete, fetch it again"
        )
    names = sorted(name for name, columns in partition.items() if columns == [_CELEBA_PARTITIONS[split]])
    if not names:
        raise MissingFilesError(f"{partition_path!r} lists no image of the {split} split")
    return ImageSource(
        names,
        lambda index: source.read(available[names[index]]),
        lambda index: source.stamp(available[names[index]]),
    )


def _table(path: str) -> dict[str, list[str]]:
    """Reads the rows of a CelebA list, separated by spaces or commas, by lower-case file name; skips headers."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # a byte order mark is not part of the first name
            rows = [line.replace(",", " ").split() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path!r}: {error}") from error
    return {row[0].lower(): row[1:] for row in rows if row and re.fullmatch(r"(?i)\w+\.(jpe?g|png)", row[0])}


def _image_zip(path: str) -> ImageSource:
    """Images of a zip archive, without the files that macOS adds."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {path!r}: {error}") from error
    members = [
        member
        for member in archive.infolist()
        if member.filename.lower().endswith(IMAGE_SUFFIXES) and not member.filename.startswith("__MACOSX/")
    ]

    def read(index: int) -> bytes:
        check_size(members[index].file_size)
        try:
            return archive.read(members[index])
        # RuntimeError: encrypted, or compressed by an unknown method.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise BadImageError(f"damaged in the archive: {error}") from error

    names = [member.filename for member in members]
    return ImageSource(names, read, lambda index: [members[index].file_size, members[index].CRC])
