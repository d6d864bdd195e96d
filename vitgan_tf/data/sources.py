"""Images as their authors publish them, read without unpacking: archives, idx files, LMDB, and plain folders."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import json
import math
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np

from vitgan_tf.data.decoding import BadImageError, RawImage
from vitgan_tf.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_FILE_BYTES = 2**28  # of one image: larger files are not read into memory

_CIFAR10_RECORD = 1 + 3 * 32 * 32  # label, then the three colour planes
_CIFAR10_MEMBERS = {
    "training": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "evaluation": ["test_batch.bin"],
}
_CIFAR10_FOLDER = "cifar-10-batches-bin"
_MNIST_PREFIXES = {"training": "train", "evaluation": "t10k"}
_CELEBA_PARTITIONS = {"training": "0", "evaluation": "2"}  # 1 is for validation
_LSUN_PARTS = {"training": "train", "evaluation": "val"}


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


def image_folder(path: str, split: str = "training") -> ImageSource:
    """The images below a folder, sorted by path; links are followed, hidden files left out.

    Raises:
      MissingFilesError: no such folder, no image in it, or a split other than training is asked for.
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
        # A link to a folder further up would never end.
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
            f"no images in {path!r}, nor in its folders: files named {', '.join('*' + s for s in IMAGE_SUFFIXES)} "
            f"are looked for, and there are {len(others)} others"
        )
    images.sort()
    paths = [os.path.join(path, name) for name in images]
    return ImageSource(
        images, lambda index: _read_image(paths[index]), lambda index: _file_stamp(paths[index]), sorted(others)
    )


def _file_stamp(path: str) -> list[int] | None:
    """Size, and the time of the last change of content or permissions: what could not be read may be readable now."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_ctime_ns]


def _read_image(path: str) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise BadImageError("not a regular file")
    _check_size(status.st_size)
    return _read_file(path)


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        raise BadImageError(f"a file of {num_bytes / 2**20:.0f} MiB, more than {MAX_FILE_BYTES // 2**20}")


def cifar10(path: str, split: str) -> ImageSource:
    """CIFAR-10 in its binary version: cifar-10-binary.tar.gz, or the folder cifar-10-batches-bin out of it.

    Args:
      path: the folder that holds one of them, or one of them.
      split: "training", 50,000 images, or "evaluation", 10,000.

    Raises:
      MissingFilesError, UserError: not there, or damaged.
    """
    archive = path if os.path.isfile(path) else os.path.join(path, "cifar-10-binary.tar.gz")
    folder = next((p for p in (os.path.join(path, _CIFAR10_FOLDER), path) if _has_cifar10(p)), None)
    try:
        if folder:
            contents = [_read_file(os.path.join(folder, name)) for name in _CIFAR10_MEMBERS[split]]
        elif os.path.isfile(archive):
            contents = _cifar10_members(archive, split)
        else:
            raise MissingFilesError(f"neither cifar-10-binary.tar.gz nor {_CIFAR10_FOLDER}/ is in {path!r}")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"cannot read CIFAR-10 from {folder or archive!r}: {error}") from error
    for name, content in zip(_CIFAR10_MEMBERS[split], contents):
        if not content or len(content) % _CIFAR10_RECORD:
            raise UserError(
                f"CIFAR-10's {name} holds {len(content)} bytes, not images of {_CIFAR10_RECORD}: fetch it again"
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
        # A checksum of all that was unpacked comes at the end.
        while tar.fileobj.read(2**20):
            pass
    missing = [name for name in _CIFAR10_MEMBERS[split] if name not in contents]
    if missing:
        raise UserError(f"{archive!r} does not hold {', '.join(missing)}")
    return [contents[name] for name in _CIFAR10_MEMBERS[split]]


def mnist(path: str, split: str) -> ImageSource:
    """MNIST's idx file of images, train-images-idx3-ubyte or t10k-images-idx3-ubyte, plain or .gz.

    Args:
      path: the folder that holds them.
      split: "training", 60,000 images of 28 x 28, or "evaluation", 10,000.

    Raises:
      MissingFilesError, UserError: not there, or damaged.
    """
    prefix = _MNIST_PREFIXES[split]
    names = [f"{prefix}-images{joint}idx3-ubyte{suffix}" for joint in "-." for suffix in ("", ".gz")]
    file_path = next((p for p in (os.path.join(path, name) for name in names) if os.path.isfile(p)), None)
    if file_path is None:
        raise MissingFilesError(f"neither {names[0]} nor {names[1]} is in {path!r}")
    try:
        with (gzip.open if file_path.endswith(".gz") else open)(file_path, "rb") as file:
            content = file.read(MAX_FILE_BYTES)  # a small .gz may hold what fills the memory
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {file_path!r}: {error}") from error
    header = np.frombuffer(content[:16].ljust(16, b"\0"), ">i4")
    shape = tuple(int(size) for size in header[1:])
    # Magic number: two zeros, 8 for unsigned bytes, three dimensions.
    if header[0] != 0x0803 or min(shape) < 1 or len(content) != 16 + math.prod(shape):
        raise UserError(f"{file_path!r} is not an idx file of images, or not all of it: fetch it again")
    images = np.frombuffer(content, np.uint8, offset=16).reshape(shape)
    names = [f"{split} image {index}" for index in range(len(images))]
    return ImageSource(names, lambda index: images[index], lambda index: zlib.crc32(images[index]))


def celeba(path: str, split: str) -> ImageSource:
    """CelebA, aligned: img_align_celeba.zip, or the folder img_align_celeba, and list_eval_partition.txt.

    The landmark and attribute files are not needed: in this version the faces are aligned already. Where
    list_landmarks_align_celeba.txt lies beside, every image of it has to be there.

    Args:
      path: the folder that holds them.
      split: "training", 162,770 images of 178 x 218, or "evaluation", 19,962: the official partitions 0 and 2.

    Raises:
      MissingFilesError, UserError: not there, or damaged.
    """
    partition_path = _first_file(path, "list_eval_partition.txt", "list_eval_partition.csv")
    if partition_path is None:
        raise MissingFilesError(f"list_eval_partition.txt is not in {path!r}")
    zip_path, folder = os.path.join(path, "img_align_celeba.zip"), os.path.join(path, "img_align_celeba")
    if os.path.isfile(zip_path):
        source = _image_zip(zip_path)
    elif os.path.isdir(folder):
        source = image_folder(folder)
    else:
        raise MissingFilesError(f"neither img_align_celeba.zip nor img_align_celeba/ is in {path!r}")
    # The lists may differ from the files in upper and lower case.
    available = {os.path.basename(name).lower(): index for index, name in enumerate(source.names)}
    partition = _table(partition_path)
    named = partition
    landmarks_path = _first_file(path, "list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv")
    if landmarks_path is not None:
        named = partition | _table(landmarks_path)
    missing = sorted(name for name in named if name not in available)
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(named)} images that the lists in {path!r} name are not there, "
            f"the first is {missing[0]}: the archive is not whole, fetch it again"
        )
    names = sorted(name for name, columns in partition.items() if columns == [_CELEBA_PARTITIONS[split]])
    if not names:
        raise MissingFilesError(f"{partition_path!r} names no image of the {split} split")
    return ImageSource(
        names,
        lambda index: source.read(available[names[index]]),
        lambda index: source.stamp(available[names[index]]),
    )


def _table(path: str) -> dict[str, list[str]]:
    """Rows of a CelebA list, by lower-case file name: separated by spaces or commas, headers left out."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # a mark at the beginning is not part of the first name
            rows = [line.replace(",", " ").split() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path!r}: {error}") from error
    return {row[0].lower(): row[1:] for row in rows if row and re.fullmatch(r"(?i)\w+\.(jpe?g|png)", row[0])}


def _image_zip(path: str) -> ImageSource:
    """The images in a zip archive, without what macOS adds."""
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
        _check_size(members[index].file_size)
        try:
            return archive.read(members[index])
        # RuntimeError: encrypted, or packed by an unknown method.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise BadImageError(f"damaged in the archive: {error}") from error

    names = [member.filename for member in members]
    return ImageSource(names, read, lambda index: [members[index].file_size, members[index].CRC])


def lsun(path: str, split: str, category: str = "bedroom") -> ImageSource:
    """A category of LSUN: the LMDB environment <category>_train_lmdb, or images exported from it.

    Args:
      path: the folder that holds <category>_train_lmdb/ and <category>_val_lmdb/, or <category>_train/ and
        <category>_val/ with images, or one of these itself, or any folder of images.
      split: "training", or "evaluation": the official validation images.
      category: of scenes.

    Raises:
      MissingFilesError, UserError: not there, or damaged.
    """
    name = f"{category}_{_LSUN_PARTS[split]}"
    own_name = os.path.basename(os.path.abspath(path))
    for folder in (os.path.join(path, f"{name}_lmdb"), *([path] if own_name == f"{name}_lmdb" else [])):
        if os.path.isfile(os.path.join(folder, "data.mdb")):
            return _lmdb(folder)
    for folder in (os.path.join(path, name), *([path] if own_name == name else [])):
        if os.path.isdir(folder):
            return image_folder(folder)
    if os.path.isfile(os.path.join(path, f"{name}_lmdb.zip")):
        raise MissingFilesError(f"{name}_lmdb.zip in {path!r} is packed: unzip it there, it is read by position")
    try:
        parts = [own_name, *(os.listdir(path) if os.path.isdir(path) else [])]
    except OSError as error:
        raise UserError(f"cannot read the folder {path!r}: {error.strerror}") from error
    if split == "training" and not any(part.startswith(f"{category}_") for part in parts):
        with contextlib.suppress(MissingFilesError):
            return image_folder(path)
    raise MissingFilesError(f"neither {name}_lmdb/data.mdb nor a folder {name}/ of images is in {path!r}")


def _lmdb(folder: str) -> ImageSource:
    import lmdb  # needed for this format alone

    data_path = os.path.join(folder, "data.mdb")
    try:
        environment = lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
        num_bytes = environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)
        if os.path.getsize(data_path) < num_bytes:  # reading beyond the end would kill the process
            raise UserError(f"{data_path!r} is not all there, {num_bytes} bytes are wanted: fetch or unzip it again")
        with environment.begin() as transaction, transaction.cursor() as cursor:
            keys = list(cursor.iternext(keys=True, values=False))
    except lmdb.Error as error:
        raise UserError(f"cannot read the LMDB environment {folder!r}: {error}") from error
    if not keys:
        raise MissingFilesError(f"the LMDB environment {folder!r} is empty")

    def read(index: int) -> bytes:
        try:
            with environment.begin() as transaction:
                return transaction.get(keys[index], b"")
        except lmdb.Error as error:
            raise BadImageError(f"damaged in the LMDB environment: {error}") from error

    stamp = _file_stamp(data_path)
    return ImageSource([key.decode("ascii", "replace") for key in keys], read, lambda index: stamp)


def _first_file(folder: str, *names: str) -> str | None:
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
