"""LSUN from its LMDB environments, packed or not, or from images exported from them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import zipfile
import zlib

from absl import logging

from vitgan_tf.data.opening import BadImageError
from vitgan_tf.data.sources.archive import member_of, open_zip
from vitgan_tf.data.sources.base import ImageSource, MissingFilesError, contents, entries, file_stamp, find_below
from vitgan_tf.data.sources.folder import images_below
from vitgan_tf.errors import UserError
from vitgan_tf.files import format_bytes, only_one
from vitgan_tf.progress import progress

_PARTS = {"training": "train", "evaluation": "val"}
_CHUNK_BYTES = 2**24


def lsun(path: str, split: str, category: str = "bedroom") -> ImageSource:
    """A category of LSUN, from its LMDB environment or images exported from it.

    A scene is in <category>_train_lmdb/ and <category>_val_lmdb/, or in the folders <category>_train/ and
    <category>_val/ of images; an object, such as a cat, is in <category>/ and has no validation images. The official
    zip archives are unpacked beside themselves, because an environment needs random access.

    Args:
      path: folder that holds them, also in subfolders; or one of them; or any folder of images.
      split: "training", or "evaluation" for the official validation images.
      category: scene or object.

    Raises:
      MissingFilesError, UserError: files are missing or damaged, or an archive cannot be unpacked.
    """
    name = f"{category}_{_PARTS[split]}"
    is_training = split == "training"
    if os.path.isfile(path):
        path = os.path.dirname(path)
    own_name = os.path.basename(os.path.abspath(path))
    environments = [f"{name}_lmdb", *([f"{category}_lmdb", category] if is_training else [])]
    if own_name in environments and os.path.isfile(os.path.join(path, "data.mdb")):
        return _lmdb(path)
    data_path = find_below(path, *(os.path.join(folder, "data.mdb") for folder in environments))
    if data_path is not None:
        return _lmdb(os.path.dirname(data_path))
    folder = path if own_name == name else find_below(path, name, exists=os.path.isdir)
    if folder is not None:
        return images_below(folder)
    archive = find_below(path, *(f"{folder}.zip" for folder in environments))
    if archive is not None:
        return _lmdb(_unpacked(archive))
    if is_training and not any(re.match(rf"{category}(_|\.|$)", part) for part in [own_name, *_parts(path)]):
        with contextlib.suppress(MissingFilesError):
            return images_below(path)
    others = [match[1] for part in _parts(path) if (match := re.fullmatch(r"(\w+)_train_lmdb(\.zip)?", part))]
    advice = f" (--category={others[0]} takes {others[0]})" if others and category not in others else ""
    raise MissingFilesError(
        f"neither {name}_lmdb/data.mdb, {name}_lmdb.zip nor a folder {name}/ of images is there: "
        f"{contents(path)}{advice}"
    )


def _parts(path: str) -> list[str]:
    return sorted(entries(path)) if os.path.isdir(path) else []


def _unpacked(path: str) -> str:
    """Unpacks data.mdb of an archive into a folder beside it, and returns the folder."""
    archive, folder = open_zip(path), path[: -len(".zip")]
    member = member_of(archive, "data.mdb")
    if member is None:
        raise UserError(f"{path!r} is not an archive of LSUN: it has no data.mdb")
    size = format_bytes(member.file_size)
    try:
        with only_one(f"{folder}.partial", wait=True):
            if not os.path.isfile(os.path.join(folder, "data.mdb")):
                if shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free < member.file_size:
                    raise UserError(
                        f"no room to unpack {path!r}, which takes {size}: unzip it on another disk, and give that "
                        "folder as --source"
                    )
                logging.info("unpacking %s (%s) into %s", path, size, folder)
                _extract(archive, member, os.path.join(f"{folder}.partial", "data.mdb"))
                os.makedirs(folder, exist_ok=True)
                os.replace(os.path.join(f"{folder}.partial", "data.mdb"), os.path.join(folder, "data.mdb"))
        shutil.rmtree(f"{folder}.partial", ignore_errors=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UserError(f"{path!r} is damaged: {error}") from error
    except OSError as error:
        raise UserError(
            f"cannot unpack {path!r} beside itself ({error.strerror or error}): unzip it elsewhere, and give that "
            "folder as --source"
        ) from error
    return folder


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str) -> None:
    with archive.open(member) as source, open(path, "wb") as target:
        chunks = iter(lambda: source.read(_CHUNK_BYTES), b"")
        for chunk in progress(chunks, "unpacking", -(-member.file_size // _CHUNK_BYTES), "part"):
            target.write(chunk)


def _lmdb(folder: str) -> ImageSource:
    import lmdb  # only this format needs it

    data_path = os.path.join(folder, "data.mdb")
    try:
        environment = lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
        num_bytes = environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)
        if os.path.getsize(data_path) < num_bytes:  # reading past the end would kill the process
            raise UserError(
                f"{data_path!r} is truncated: it has {os.path.getsize(data_path)} of {num_bytes} bytes. If it was "
                "unzipped, unzip it again"
            )
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
