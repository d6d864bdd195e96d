"""Images in a zip archive, read in place, and files in a tar archive, read in one pass."""

from __future__ import annotations

import functools
import os
import tarfile
import zipfile
import zlib
from typing import Callable

from vitgan_tf.data import kinds
from vitgan_tf.data.opening import BadImageError, check_size
from vitgan_tf.data.sources.base import MAX_PART_BYTES, ImageSource, is_image
from vitgan_tf.errors import UserError

# RuntimeError: encrypted, or compressed by an unknown method.
_READ_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


def open_zip(path: str) -> zipfile.ZipFile:
    """Opens a zip archive.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {path!r}: {error}") from error


def image_zip(archive: zipfile.ZipFile) -> ImageSource:
    """Images of a zip archive, sorted by name, without hidden files and those that macOS adds."""
    members: list[zipfile.ZipInfo] = []
    others: list[tuple[str, str | None]] = []
    for member in sorted(archive.infolist(), key=lambda member: member.filename):
        name = _name(member)
        if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in name.split("/")):
            continue
        counts, kind = is_image(name, functools.partial(_kind, archive, member))
        if counts:
            members.append(member)
        else:
            others.append((name, kind))

    def read(index: int) -> bytes:
        check_size(members[index].file_size)
        try:
            return archive.read(members[index])
        except RuntimeError as error:
            reason = "with a password" if members[index].flag_bits & 1 else "by a method that Python cannot read"
            raise BadImageError(f"packed {reason}: unpack the archive") from error
        except _READ_ERRORS as error:
            raise BadImageError(f"damaged in the archive: {error}") from error

    def stamp(index: int) -> list[int]:
        return [members[index].file_size, members[index].CRC]

    return ImageSource([_name(member) for member in members], read, stamp, others)


def member_of(archive: zipfile.ZipFile, *names: str) -> zipfile.ZipInfo | None:
    """Returns the first file of one of these names in any folder of the archive, or None."""
    return next((member for member in archive.infolist() if os.path.basename(_name(member)) in names), None)


def _name(member: zipfile.ZipInfo) -> str:
    """Returns the name of a file with the usual separators, and without those of the folders it was packed from."""
    parts = member.filename.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in (".", ".."))


def _kind(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str | None:
    try:
        with archive.open(member) as file:
            return kinds.kind(file.read(kinds.HEAD_BYTES), member.filename)
    except _READ_ERRORS:
        return None


def read_tar(path: str, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Returns the wanted files of a tar archive by base name, after its compression's checksum was verified.

    Args:
      path: archive, compressed or not.
      wanted: whether a file of this name in the archive is wanted; may raise UserError.

    Raises:
      UserError: it cannot be read, or the files are too large.
    """
    files, left = {}, MAX_PART_BYTES
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if not (member.isfile() and wanted(member.name)):
                    continue
                left -= member.size
                if left < 0:
                    raise UserError(f"{path!r} holds more than {MAX_PART_BYTES:,} bytes of images: {member.name}")
                file = tar.extractfile(member)
                assert file is not None
                files[os.path.basename(member.name)] = file.read()
            # The checksum of the gzip stream is verified at its end.
            while tar.fileobj.read(2**20):
                pass
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"cannot read {path!r}: {error}") from error
    return files
