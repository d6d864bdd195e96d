"""A folder or zip archive of images."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator

from vitgan_tf.data import kinds
from vitgan_tf.data.opening import BadImageError, check_size
from vitgan_tf.data.sources.archive import image_zip, open_zip
from vitgan_tf.data.sources.base import (
    IMAGE_SUFFIXES,
    ImageSource,
    MissingFilesError,
    contents,
    file_stamp,
    read_file,
)
from vitgan_tf.errors import UserError

_TRAINING_FOLDERS = ("train", "training")
_EVALUATION_FOLDERS = ("test", "testing", "val", "valid", "validation", "eval", "evaluation")


def image_folder(
    path: str, split: str = "training", holdout: float = 0.0, holdout_dir: str | None = None
) -> ImageSource:
    """Images of a folder or zip archive, sorted by path. Follows links and ignores hidden files.

    The evaluation split is holdout_dir, else the fraction holdout, else a folder such as test beside one such as
    train. Its images are not among the training images.

    Args:
      path: folder or zip archive.
      split: "training" or "evaluation".
      holdout: fraction of the images to hold out. The hashes of their names decide which: images that are added later
        move few others.
      holdout_dir: folder or zip archive of the held-out images.

    Raises:
      MissingFilesError: there are no such images.
      UserError: the files cannot be read, or images are held out in two ways.
    """
    if holdout_dir is not None and not os.path.exists(holdout_dir):
        raise UserError(f"there is no folder {holdout_dir!r} (--holdout_dir)")
    if holdout and holdout_dir is not None:
        raise UserError("--holdout and --holdout_dir exclude each other: leave out one of them")
    if holdout_dir is not None and split == "evaluation":
        return images_below(holdout_dir)
    source = images_below(path, except_folder=holdout_dir)
    own_splits = None if holdout_dir is not None else _own_splits(source)
    if own_splits and holdout:
        raise UserError(f"{path!r} has held-out images ({', '.join(own_splits)}): leave out --holdout")
    if own_splits:
        return _own_split(source, own_splits, split)
    if holdout:
        return _fraction(source, split, holdout)
    if split != "training":
        raise MissingFilesError(
            f"no images of {path!r} are held out: --holdout_dir=DIR names some, and training or preparation with "
            "--holdout=0.1 holds out a tenth"
        )
    return source


def images_below(path: str, except_folder: str | None = None) -> ImageSource:
    """All images of a folder or zip archive; see `image_folder`.

    Args:
      path: folder or zip archive.
      except_folder: folder below it that is left out.

    Raises:
      MissingFilesError: there are none.
      UserError: the files cannot be read.
    """
    if os.path.isfile(path) and zipfile.is_zipfile(path):
        source = image_zip(open_zip(path))
    elif os.path.isdir(path):
        source = _folder(path, except_folder)
    else:
        raise MissingFilesError(f"there is no folder {path!r}" + (": unpack it" if os.path.exists(path) else ""))
    if source.names:
        return source
    archives = [name for name, kind in source.others if kind == "archive" and name.lower().endswith(".zip")]
    if len(archives) == 1 and os.path.isdir(path):
        return images_below(os.path.join(path, archives[0]))
    left_out = kinds.left_out_line(source.others)
    raise MissingFilesError(f"no images in {path!r} or its subfolders: " + (left_out or contents(path)))


def _folder(path: str, except_folder: str | None) -> ImageSource:
    images: list[str] = []
    others: list[tuple[str, str | None]] = []
    targets: set[str] = set()
    excluded = None if except_folder is None else os.path.realpath(except_folder)
    for folder, entry in _files(path, excluded, ()):
        name = os.path.relpath(entry.path, path)
        has_image_suffix = name.lower().endswith(IMAGE_SUFFIXES)
        kind = None if has_image_suffix else _kind(entry)
        if has_image_suffix or kind in kinds.formats():
            images.append(name)
            targets.add(os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(folder, entry.name))
        else:
            others.append((name, kind))
    images.sort()
    paths = [os.path.join(path, name) for name in images]
    repeated = len(images) - len(targets)
    notes = [f"{repeated} of the {len(images)} images are links to others of them: these count more than once"]
    return ImageSource(
        images,
        lambda index: _read_image(paths[index]),
        lambda index: file_stamp(paths[index]),
        sorted(others, key=lambda other: other[0]),
        notes if repeated else [],
    )


def _files(path: str, excluded: str | None, parents: tuple[str, ...]) -> Iterator[tuple[str, os.DirEntry]]:
    """Yields each visible file with the real path of its folder; enters no folder from within itself."""
    real = os.path.realpath(path)
    if real in parents or real == excluded:
        return
    try:
        with os.scandir(path) as entries:
            visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {path!r}: {error.strerror}") from error
    for entry in visible:
        if entry.is_dir():
            yield from _files(entry.path, excluded, (*parents, real))
        else:
            yield real, entry


def _kind(entry: os.DirEntry) -> str | None:
    try:
        if not entry.is_file():
            return None
        with open(entry.path, "rb") as file:
            return kinds.kind(file.read(kinds.HEAD_BYTES), entry.name)
    except OSError:
        return None


def _own_splits(source: ImageSource) -> dict[str, list[int]] | None:
    """Returns the indices of the images in each folder at the top, if one is for training and one for evaluation."""
    common = len(os.path.commonpath(os.path.dirname(name) for name in source.names))
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(source.names):
        indices.setdefault(name[common:].lstrip("/").split("/")[0], []).append(index)
    names = {name.lower() for name in indices}
    return indices if names.intersection(_TRAINING_FOLDERS) and names.intersection(_EVALUATION_FOLDERS) else None


def _own_split(source: ImageSource, indices: dict[str, list[int]], split: str) -> ImageSource:
    chosen = [
        next(name for wanted in names for name in indices if name.lower() == wanted)
        for names in (_TRAINING_FOLDERS, _EVALUATION_FOLDERS)
    ]
    training, evaluation = chosen
    rest = sum(len(found) for name, found in indices.items() if name not in chosen)
    note = (
        f"{training}/ has {len(indices[training])} training images, {evaluation}/ {len(indices[evaluation])} held out"
    )
    if rest:
        note += f"; {rest} images elsewhere are left out"
    return source.subset(indices[training if split == "training" else evaluation], [note])


def _fraction(source: ImageSource, split: str, holdout: float) -> ImageSource:
    def rank(index: int) -> bytes:
        return hashlib.sha256(source.names[index].encode("utf-8", "surrogateescape")).digest()

    count = round(holdout * len(source))
    if not 0 < count < len(source):
        raise UserError(
            f"--holdout={holdout:g} of {len(source)} images is {count} images: nothing is left of a split"
        )
    ranked = sorted(range(len(source)), key=rank)
    return source.subset(sorted(ranked[count:] if split == "training" else ranked[:count]))


def _read_image(path: str) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BadImageError("not a regular file")
    check_size(status.st_size)
    return read_file(path)
