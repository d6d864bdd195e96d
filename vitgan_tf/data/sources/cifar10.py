"""CIFAR-10 from its binary version or its Python version."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zlib
from typing import Any

import numpy as np

from vitgan_tf.data.sources.archive import read_tar
from vitgan_tf.data.sources.base import (
    ImageSource,
    MissingFilesError,
    contents,
    find_below,
    folders_below,
    read_file,
)
from vitgan_tf.errors import UserError

_RECORD = 1 + 3 * 32 * 32  # label, then the three colour planes
_CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PARTS = {"training": [f"data_batch_{number}" for number in range(1, 6)], "evaluation": ["test_batch"]}
_ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")
# Files of other versions, and what they are.
_OTHER_VERSIONS = {
    "data_batch_1.mat": "CIFAR-10's Matlab version",
    "train.bin": "CIFAR-100",
    "train": "CIFAR-100",
}
_OTHER_ARCHIVES = (
    "cifar-10-matlab.tar.gz",
    "cifar-100-python.tar.gz",
    "cifar-100-binary.tar.gz",
    "cifar-100-matlab.tar.gz",
)
_NEEDED = "cifar-10-binary.tar.gz or cifar-10-python.tar.gz is needed"
# All that a pickled array needs. Its modules have other names in other versions of NumPy.
_UNPICKLED = {"_reconstruct": np.empty(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}


def cifar10(path: str, split: str) -> ImageSource:
    """CIFAR-10 from cifar-10-binary.tar.gz, cifar-10-python.tar.gz, or what is unpacked from one of them.

    Args:
      path: archive, or folder of the archive or of the unpacked files, which may lie in subfolders.
      split: "training", 50,000 images, or "evaluation", 10,000.

    Raises:
      MissingFilesError, UserError: files are missing or damaged.
    """
    archive = path if os.path.isfile(path) and tarfile.is_tarfile(path) else None
    if os.path.isfile(path) and archive is None:
        path = os.path.dirname(path)
    if archive is None:
        archive = find_below(path, *_ARCHIVES, *_OTHER_ARCHIVES)
    first = None if os.path.isfile(path) else _unpacked(path, split, is_only=archive is None)
    try:
        if first is not None:
            parts = _unpacked_parts(os.path.dirname(first), os.path.splitext(first)[1], split)
        elif archive is not None:
            parts = _archived_parts(archive, split)
        else:
            raise MissingFilesError(f"no CIFAR-10, {_NEEDED}: {_found(path)}")
    except OSError as error:
        raise UserError(f"cannot read CIFAR-10 from {first!r}: {error}") from error
    read = [_part(name, content) for name, content in parts.items()]
    planes = np.concatenate([part for part, _ in read])
    found = [labels for _, labels in read if labels is not None]
    is_labelled = len(found) == len(read)
    return ImageSource(
        [f"{split} image {index}" for index in range(len(planes))],
        lambda index: planes[index].transpose(1, 2, 0).copy(),
        lambda index: zlib.crc32(planes[index]),
        labels=np.concatenate(found).astype(np.int64) if is_labelled else None,
        class_names=_CLASS_NAMES if is_labelled else None,
    )


def _unpacked(path: str, split: str, is_only: bool) -> str | None:
    """Returns the path of the first unpacked part of a split, or None if there is none.

    Raises:
      MissingFilesError: other parts are missing, and these are the only files.
    """
    for suffix in (".bin", ""):
        names = [name + suffix for name in _PARTS[split]]
        first = next((found for name in names if (found := find_below(path, name))), None)
        if first is None:
            continue
        missing = [name for name in names if not os.path.isfile(os.path.join(os.path.dirname(first), name))]
        if not missing:
            return os.path.join(os.path.dirname(first), names[0])
        if is_only:
            raise MissingFilesError(f"CIFAR-10 in {os.path.dirname(first)!r} lacks {', '.join(missing)}")
    return None


def _found(path: str) -> str:
    for folder in folders_below(path):
        for name, version in _OTHER_VERSIONS.items():
            if os.path.isfile(os.path.join(folder, name)):
                return f"{folder!r} is {version}"
    return contents(path)


def _unpacked_parts(folder: str, suffix: str, split: str) -> dict[str, bytes]:
    return {name + suffix: read_file(os.path.join(folder, name + suffix)) for name in _PARTS[split]}


def _archived_parts(archive: str, split: str) -> dict[str, bytes]:
    def wanted(path: str) -> bool:
        name = os.path.basename(path)
        if name in _OTHER_VERSIONS:
            raise UserError(f"{archive!r} is {_OTHER_VERSIONS[name]}: {_NEEDED}")
        stem, suffix = os.path.splitext(name)
        return stem in _PARTS[split] and suffix in ("", ".bin")

    parts = read_tar(archive, wanted)
    missing = [name for name in _PARTS[split] if not {name, f"{name}.bin"} & set(parts)]
    if missing:
        raise UserError(f"{archive!r} lacks {', '.join(missing)}: {_NEEDED}")
    return dict(sorted(parts.items()))


def _part(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns images (num_images, 3, 32, 32) uint8, and labels (num_images,) or None."""
    planes, labels = (_records if name.endswith(".bin") else _unpickled)(name, content)
    if labels is not None and not 0 <= labels.min() <= labels.max() < len(_CLASS_NAMES):
        raise UserError(f"CIFAR-10's {name} is damaged: its labels are {labels.min()} to {labels.max()}, not 0 to 9")
    return planes, labels


def _records(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    if not content or len(content) % _RECORD:
        raise UserError(
            f"CIFAR-10's {name} is damaged: it has {len(content)} bytes, which is no number of images of {_RECORD}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in _UNPICKLED:
            return _UNPICKLED[name]
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not data of CIFAR-10")


def _unpickled(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        values = batch[b"data"]
        labels = np.asarray(batch[b"labels"]) if b"labels" in batch else None
        if not (values.dtype == np.uint8 and len(values) and values.shape[1:] == (3 * 32 * 32,)):
            reason = f"its data are {values.dtype} of shape {values.shape}"
        elif labels is not None and not (labels.dtype.kind in "iu" and labels.shape == (len(values),)):
            reason = f"its {len(values)} images have labels {labels.dtype} of shape {labels.shape}"
        else:
            return values.reshape(-1, 3, 32, 32), labels
    except Exception as error:  # a damaged pickle raises errors of many types
        reason = str(error)
    raise UserError(f"CIFAR-10's {name} is damaged: {reason}")
