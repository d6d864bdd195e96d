"""A folder or zip archive of images."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import os
import re
import stat
import zipfile
from collections.abc import Iterator

import numpy as np

from vitgan_tf.data import kinds
from vitgan_tf.data.opening import BadImageError, check_size
from vitgan_tf.data.sources.archive import image_zip, open_zip
from vitgan_tf.data.sources.base import (
    ImageSource,
    MissingFilesError,
    contents,
    file_stamp,
    is_image,
    read_file,
)
from vitgan_tf.errors import UserError
from vitgan_tf.files import printable

# Folders of a split, also as train2017, trainA or test_images. The first kind that is there is held out.
_SPLIT_FOLDER = r"(%s)[-_ ]?(set|images|imgs|data|split)?[-_ ]?\d*[AB]?"
_TRAINING = re.compile(_SPLIT_FOLDER % "train|training", re.IGNORECASE)
_EVALUATIONS = [
    re.compile(_SPLIT_FOLDER % names, re.IGNORECASE)
    for names in ("test|testing", "val|valid|validation", "eval|evaluation|dev|holdout")
]


def image_folder(
    path: str, split: str = "training", holdout: float = 0.0, holdout_dir: str | None = None
) -> ImageSource:
    """Images of a folder or zip archive, sorted by path. Follows links and ignores hidden files.

    The evaluation split is holdout_dir, else the fraction holdout, else a folder such as test beside one such as
    train. Its images are not among the training images. Subfolders are classes, see `_labelled`.

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
    if holdout and holdout_dir is not None:
        raise UserError("--holdout and --holdout_dir exclude each other: leave out one of them")
    if holdout_dir is not None:
        held_out = _held_out(path, holdout_dir)
        if split == "evaluation":
            return _labelled(held_out)
    source = images_below(path, except_folder=holdout_dir)
    splits = _own_splits(source)
    if splits is not None and holdout:
        raise UserError(f"{path!r} has held-out images, in {splits.evaluation_folder}/: leave out --holdout")
    if splits is not None:
        indices = splits.training if split == "training" else splits.evaluation
        return _labelled(source.subset(indices, [splits.note()]), is_own_split=True)
    if holdout:
        return _labelled(_fraction(source, path, split, holdout))
    if split != "training":
        raise MissingFilesError(
            f"no images of {path!r} are held out: --holdout_dir=DIR names some, and training or preparation with "
            "--holdout=0.1 holds out a tenth"
        )
    return _labelled(source)


def _labelled(source: ImageSource, is_own_split: bool = False) -> ImageSource:
    """Returns the images with a label each, if every one lies in a folder that can be its class.

    Below the folders that all images share, and without the folder of the split, the outermost folder is the class:
    cat for train/cat/1.png. There are labels if there are two classes or more.

    Args:
      source: images with paths for names.
      is_own_split: whether the paths contain a folder that is named after the split.
    """
    parts: dict[str, list[str]] = {}
    for folder in {os.path.dirname(name) for name in source.names}:
        parts[folder] = folder.split("/")
        if is_own_split:
            parts[folder].remove(_split_folder(folder))
    ends = zip(min(parts.values()), max(parts.values()))  # all other paths start with what these two share
    num_shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], ends))
    classes = {folder: printable("".join(path[num_shared : num_shared + 1])) for folder, path in parts.items()}
    class_names = tuple(sorted(set(classes.values())))
    if "" in class_names or len(class_names) < 2:
        return source
    places = {name: place for place, name in enumerate(class_names)}
    labels = np.array([places[classes[os.path.dirname(name)]] for name in source.names], np.int64)
    return dataclasses.replace(source, labels=labels, class_names=class_names)


def _held_out(path: str, holdout_dir: str) -> ImageSource:
    real, real_held_out = os.path.realpath(path), os.path.realpath(holdout_dir)
    if real == real_held_out or real.startswith(real_held_out + os.sep):
        raise UserError(f"--holdout_dir={holdout_dir} holds all training images: name another folder")
    try:
        return images_below(holdout_dir)
    except MissingFilesError as error:
        raise UserError(f"{error} (--holdout_dir)") from error


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
        raise MissingFilesError(
            f"{path!r} is a file and no whole zip archive" if os.path.exists(path) else f"there is no folder {path!r}"
        )
    if source.names:
        return source
    archives = [name for name, kind in source.others if kind == "archive" and name.lower().endswith(".zip")]
    if len(archives) == 1 and os.path.isdir(path):
        return images_below(os.path.join(path, archives[0]))
    left_out = kinds.left_out_line(source.others)
    if os.path.isfile(path) and not left_out:
        raise MissingFilesError(f"the zip archive {path!r} is empty")
    raise MissingFilesError(f"no images in {path!r} or its subfolders: " + (left_out or contents(path)))


def _folder(path: str, except_folder: str | None) -> ImageSource:
    images: list[str] = []
    others: list[tuple[str, str | None]] = []
    targets: set[str] = set()
    excluded = None if except_folder is None else os.path.realpath(except_folder)
    for folder, entry in _files(path, excluded, ()):
        if excluded and entry.is_symlink() and os.path.realpath(entry.path).startswith(excluded + os.sep):
            continue
        name = os.path.relpath(entry.path, path)
        counts, kind = is_image(name, functools.partial(_kind, entry))
        if counts:
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


@dataclasses.dataclass(frozen=True)
class _Splits:
    """Indices of the images of the splits, and the folders that hold them."""

    training: list[int]
    evaluation: list[int]
    training_folder: str
    evaluation_folder: str
    num_others: int

    def note(self) -> str:
        others = f"; left out elsewhere: {self.num_others}" if self.num_others else ""
        return (
            f"images in {self.training_folder}/, for training: {len(self.training)}; in {self.evaluation_folder}/, "
            f"held out: {len(self.evaluation)}{others}"
        )


def _own_splits(source: ImageSource) -> _Splits | None:
    """Returns the splits of images some of which are in a folder such as train, others in one such as test."""
    folders = [os.path.dirname(name) for name in source.names]
    split_folders = {folder: _split_folder(folder) for folder in set(folders)}
    of_images = [split_folders[folder] for folder in folders]
    training = _matching(of_images, _TRAINING)
    for pattern in _EVALUATIONS:
        evaluation = _matching(of_images, pattern)
        if training and evaluation:
            names = of_images[training[0]], of_images[evaluation[0]]
            return _Splits(training, evaluation, *names, len(source) - len(training) - len(evaluation))
    return None


def _split_folder(folder: str) -> str:
    """Returns the outermost folder on this path that is named after a split, or ""."""
    patterns = (_TRAINING, *_EVALUATIONS)
    return next((part for part in folder.split("/") if any(pattern.fullmatch(part) for pattern in patterns)), "")


def _matching(names: list[str], pattern: re.Pattern) -> list[int]:
    return [index for index, name in enumerate(names) if pattern.fullmatch(name)]


def _fraction(source: ImageSource, path: str, split: str, holdout: float) -> ImageSource:
    top = os.path.realpath(path)

    def rank(index: int) -> bytes:
        # All links to a file are in one split.
        name = os.path.relpath(os.path.realpath(os.path.join(path, source.names[index])), top)
        return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()

    count = round(holdout * len(source))
    if not 0 < count < len(source):
        raise UserError(
            f"--holdout={holdout:g} of {len(source)} images is {count} images: nothing is left of a split"
        )
    ranks = [rank(index) for index in range(len(source))]
    limit = sorted(ranks)[count - 1]
    is_training = split == "training"
    indices = [index for index, digest in enumerate(ranks) if (digest > limit) == is_training]
    if not indices:
        raise UserError(
            f"--holdout={holdout:g}: all images are links to the same files, and nothing is left to train on"
        )
    return source.subset(indices)


def _read_image(path: str) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BadImageError("not a regular file")
    check_size(status.st_size)
    return read_file(path)
