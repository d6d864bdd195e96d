"""CelebA from its zip archive or folder, and its partition."""

from __future__ import annotations

import dataclasses
import os
import re
import zipfile

from vitgan_tf.data.sources.archive import image_zip, member_of, open_zip
from vitgan_tf.data.sources.base import (
    ImageSource,
    MissingFilesError,
    contents,
    entries,
    find_below,
    paths_below,
    read_file,
)
from vitgan_tf.data.sources.folder import images_below
from vitgan_tf.errors import UserError

_PARTITIONS = {"training": "0", "evaluation": "2"}  # 1 is the validation partition
_PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
_IMAGE_FOLDERS = ("img_align_celeba", "img_align_celeba_png")


def celeba(path: str, split: str) -> ImageSource:
    """Aligned CelebA, with the images that are there: a part of the set is a set too.

    The files may lie in subfolders, as in the authors' folder (Eval, Img), torchvision's (celeba) and Kaggle's. The
    lists of landmarks and attributes are not needed: the faces are aligned.

    Args:
      path: folder of img_align_celeba.zip, img_align_celeba/ or img_align_celeba_png/, and of list_eval_partition.txt
        or .csv; or a zip archive of all of them, such as Kaggle's, or its folder.
      split: "training", 162,770 images of 178 x 218, or "evaluation", 19,962: the official partitions 0 and 2.

    Raises:
      MissingFilesError, UserError: files are missing or damaged.
    """
    source, partition = _images_and_partition(path)
    # The lists may differ from the file names in case and, for the PNG version, in suffix.
    available = {_stem(name): index for index, name in enumerate(source.names)}
    listed = sorted(name for name, part in partition.items() if part == _PARTITIONS[split])
    found = [name for name in listed if name in available]
    if not found:
        raise MissingFilesError(f"none of the {len(listed)} images of CelebA's {split} split is in {path!r}")
    missing = sorted(set(listed) - set(found))
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} of the {len(listed)} images of CelebA's {split} split are not in {path!r}, the first is "
            f"{missing[0]}: the others are used"
        )
    indices = [available[name] for name in found]
    names = [os.path.basename(source.names[index]) for index in indices]
    return dataclasses.replace(source.subset(indices), names=names, others=(), notes=notes)


def _images_and_partition(path: str) -> tuple[ImageSource, dict[str, str]]:
    if os.path.isfile(path):
        if zipfile.is_zipfile(path) and member_of(open_zip(path), *_PARTITION_FILES):
            return _from_zip(path)
        path = os.path.dirname(path)
    elif os.path.basename(os.path.abspath(path)) in _IMAGE_FOLDERS and not find_below(path, *_PARTITION_FILES):
        path = os.path.dirname(os.path.abspath(path))
    partition_path = find_below(path, *_PARTITION_FILES)
    zip_path = find_below(path, "img_align_celeba.zip", exists=zipfile.is_zipfile)
    folder = find_below(path, *_IMAGE_FOLDERS, exists=_holds_anything)
    if partition_path is not None and zip_path is not None:
        return image_zip(open_zip(zip_path)), _partition_of(partition_path)
    if partition_path is not None and folder is not None:
        return images_below(folder), _partition_of(partition_path)
    if partition_path is not None and (damaged := find_below(path, "img_align_celeba.zip")):
        open_zip(damaged)  # says what is wrong
    for archive in _zips(path):
        if member_of(open_zip(archive), *_PARTITION_FILES):
            return _from_zip(archive)
    raise MissingFilesError(_missing(path, partition_path, zip_path or folder))


def _holds_anything(folder: str) -> bool:
    return os.path.isdir(folder) and bool(entries(folder))


def _from_zip(path: str) -> tuple[ImageSource, dict[str, str]]:
    archive = open_zip(path)
    member = member_of(archive, *_PARTITION_FILES)
    assert member is not None
    source = image_zip(archive)
    if not source.names:
        raise MissingFilesError(f"{path!r} holds CelebA's lists but no images: unpack it, and the archive in it")
    return source, _partition(archive.read(member), f"{path}/{member.filename}")


def _zips(path: str) -> list[str]:
    return [name for name in paths_below(path) if name.lower().endswith(".zip") and zipfile.is_zipfile(name)]


def _missing(path: str, partition_path: str | None, images: str | None) -> str:
    if find_below(path, "img_celeba", exists=os.path.isdir) and images is None:
        return f"{path!r} holds CelebA's images in the wild, and not the aligned ones: img_align_celeba.zip is needed"
    missing = [] if partition_path else ["list_eval_partition.txt"]
    missing += [] if images else ["img_align_celeba.zip or img_align_celeba/"]
    return f"CelebA lacks {' and '.join(missing)}: {contents(path)}"


def _partition_of(path: str) -> dict[str, str]:
    try:
        return _partition(read_file(path), path)
    except OSError as error:
        raise UserError(f"cannot read {path!r}: {error.strerror}") from error


def _partition(content: bytes, path: str) -> dict[str, str]:
    """Reads the partition of each image, by its `_stem`: in each row a file's name, and a number at the end.

    Raises:
      UserError: there is no such row.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()  # a byte order mark is not part of the first name
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {path!r}: {error}") from error
    partition = {}
    for line in lines:
        cells = line.replace(",", " ").replace('"', "").split()
        name = next((cell for cell in cells if re.fullmatch(r"\w+\.[A-Za-z]+", cell)), None)
        if name is not None:
            partition[_stem(name)] = cells[-1].removesuffix(".0")
    if not set(partition.values()) & set(_PARTITIONS.values()):
        raise UserError(f"{path!r} is no list of partitions: its rows are not like '000001.jpg 0'")
    return partition


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0].lower()
