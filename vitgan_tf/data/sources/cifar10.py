"""CIFAR-10 from its binary version."""

from __future__ import annotations

import os
import tarfile
import zlib

import numpy as np

from vitgan_tf.data.sources.base import MAX_FILE_BYTES, ImageSource, MissingFilesError, read_file
from vitgan_tf.errors import UserError

_CIFAR10_RECORD = 1 + 3 * 32 * 32  # label, then the three colour planes
_CIFAR10_MEMBERS = {
    "training": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "evaluation": ["test_batch.bin"],
}
_CIFAR10_FOLDER = "cifar-10-batches-bin"


def cifar10(path: str, split: str) -> ImageSource:
    """CIFAR-10 from cifar-10-binary.tar.gz or its extracted folder cifar-10-batches-bin.

    Args:
      path: folder that holds the archive or the extracted folder, or one of these itself.
      split: "training", 50,000 images, or "evaluation", 10,000.

    Raises:
      MissingFilesError, UserError: files are missing or damaged.
    """
    archive = path if os.path.isfile(path) else os.path.join(path, "cifar-10-binary.tar.gz")
    folder = next((p for p in (os.path.join(path, _CIFAR10_FOLDER), path) if _has_cifar10(p)), None)
    try:
        if folder:
            contents = [read_file(os.path.join(folder, name)) for name in _CIFAR10_MEMBERS[split]]
        elif os.path.isfile(archive):
            contents = _cifar10_members(archive, split)
        else:
            raise MissingFilesError(f"neither cifar-10-binary.tar.gz nor {_CIFAR10_FOLDER}/ is in {path!r}")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"cannot read CIFAR-10 from {folder or archive!r}: {error}") from error
    for name, content in zip(_CIFAR10_MEMBERS[split], contents):
        if not content or len(content) % _CIFAR10_RECORD:
            raise UserError(
                f"CIFAR-10's {name} holds {len(content)} bytes, not images of {_CIFAR10_RECORD} bytes: fetch it again"
            )
    records = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, _CIFAR10_RECORD)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    names = [f"{split} image {index}" for index in range(len(planes))]
    return ImageSource(
        names, lambda index: planes[index].transpose(1, 2, 0).copy(), lambda index: zlib.crc32(planes[index])
    )


def _has_cifar10(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "data_batch_1.bin"))


def _cifar10_members(archive: str, split: str) -> list[bytes]:
    contents = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = os.path.basename(member.name)
            if name == "data_batch_1":
                raise UserError(
                    f"{archive!r} is CIFAR-10's Python version, which is pickled: take cifar-10-binary.tar.gz"
                )
            if name in _CIFAR10_MEMBERS[split] and member.isfile() and (file := tar.extractfile(member)) is not None:
                if member.size > MAX_FILE_BYTES:
                    raise UserError(f"{archive!r} is not CIFAR-10: {name} in it has {member.size} bytes")
                contents[name] = file.read()
        # The checksum of the gzip stream is verified at its end.
        while tar.fileobj.read(2**20):
            pass
    missing = [name for name in _CIFAR10_MEMBERS[split] if name not in contents]
    if missing:
        raise UserError(f"{archive!r} lacks {', '.join(missing)}")
    return [contents[name] for name in _CIFAR10_MEMBERS[split]]
