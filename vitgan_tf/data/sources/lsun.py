"""LSUN from its LMDB environments, or from images exported from them."""

from __future__ import annotations

import contextlib
import os

from vitgan_tf.data.decoding import BadImageError
from vitgan_tf.data.sources.base import ImageSource, MissingFilesError, file_stamp
from vitgan_tf.data.sources.folder import image_folder
from vitgan_tf.errors import UserError

_LSUN_PARTS = {"training": "train", "evaluation": "val"}


def lsun(path: str, split: str, category: str = "bedroom") -> ImageSource:
    """A scene category of LSUN, from the LMDB environment <category>_train_lmdb or images exported from it.

    Args:
      path: folder that holds <category>_train_lmdb/ and <category>_val_lmdb/, or <category>_train/ and
        <category>_val/ with images; or one of these itself; or any folder of images.
      split: "training", or "evaluation" for the official validation images.
      category: scene category.

    Raises:
      MissingFilesError, UserError: files are missing or damaged.
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
        raise MissingFilesError(f"{name}_lmdb.zip in {path!r} is packed: unzip it there, reading needs random access")
    try:
        parts = [own_name, *(os.listdir(path) if os.path.isdir(path) else [])]
    except OSError as error:
        raise UserError(f"cannot read the folder {path!r}: {error.strerror}") from error
    if split == "training" and not any(part.startswith(f"{category}_") for part in parts):
        with contextlib.suppress(MissingFilesError):
            return image_folder(path)
    raise MissingFilesError(f"neither {name}_lmdb/data.mdb nor a folder {name}/ of images is in {path!r}")


def _lmdb(folder: str) -> ImageSource:
    import lmdb  # only this format needs it

    data_path = os.path.join(folder, "data.mdb")
    try:
        environment = lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
        num_bytes = environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)
        if os.path.getsize(data_path) < num_bytes:  # reading past the end would kill the process
            raise UserError(f"{data_path!r} is truncated, {num_bytes} bytes expected: fetch or unzip it again")
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

    stamp = file_stamp(data_path)
    return ImageSource([key.decode("ascii", "replace") for key in keys], read, lambda index: stamp)
