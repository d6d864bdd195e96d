"""Unpacks archives of generators."""

from __future__ import annotations

import contextlib
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator

from vitgan_tf.errors import UserError, first_line

# RuntimeError: encrypted, or compressed by an unknown method.
_ERRORS = (
    *(OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError),
    *(zipfile.BadZipFile, tarfile.TarError),
)
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: str) -> bool:
    """True for a file whose name has one of `SUFFIXES`."""
    return path.lower().endswith(SUFFIXES) and os.path.isfile(path)


@contextlib.contextmanager
def unpacked(path: str) -> Iterator[str]:
    """Unpacks an archive into a temporary folder, which is removed at the end.

    Yields:
      The folder that holds its files: where the archive holds a single folder, that one.

    Raises:
      UserError: the archive is damaged, or one of its files would lie outside of the folder.
    """
    with tempfile.TemporaryDirectory(prefix="vitgan_") as folder:
        try:
            _unpack(path, folder)
        except _ERRORS as error:
            raise UserError(f"cannot unpack {path!r}: {first_line(error)}") from error
        entries = os.listdir(folder)
        inner = os.path.join(folder, entries[0]) if len(entries) == 1 else folder
        yield inner if os.path.isdir(inner) else folder


def _unpack(path: str, folder: str) -> None:
    if path.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)  # drops .. and leading slashes from names
        return
    with tarfile.open(path) as archive:
        root = os.path.realpath(folder)
        for member in archive.getmembers():
            target = os.path.realpath(os.path.join(root, member.name))
            if os.path.commonpath([root, target]) != root or not (member.isfile() or member.isdir()):
                raise UserError(f"{path!r} holds {member.name!r}, which is no file or folder within it")
        archive.extractall(folder)
