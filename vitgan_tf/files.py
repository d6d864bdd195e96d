"""Atomic writes of files and folders, parts of files, JSON lines, checksums and folder locks."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from absl import logging

from vitgan_tf.errors import UserError, first_line


@contextlib.contextmanager
def atomic_file(path: str) -> Iterator[BinaryIO]:
    """Opens a file for an atomic write: whatever interrupts it, path holds its old or its complete new content."""
    partial_path = path + ".partial"
    try:
        with open(partial_path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial_path, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial_path)
        raise


def write_atomically(path: str, content: bytes) -> None:
    """Writes a file atomically: whatever interrupts it, path holds its old or its complete new content."""
    with atomic_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def new_folder(path: str, content: str) -> Iterator[str]:
    """Folder that appears complete at the end of the context or not at all.

    Args:
      path: the folder; created with its parents.
      content: what it holds, for messages.

    Yields:
      The folder to write to in the meantime.

    Raises:
      UserError: the path exists and is not an empty folder, or it cannot be written.
    """
    partial_path = f"{path.rstrip(os.sep)}.{os.getpid()}.partial"
    try:
        is_empty = os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)
        if not path or (os.path.lexists(path) and not is_empty):
            raise UserError(f"{path!r} is not an empty folder: choose a new one for {content}")
        os.makedirs(partial_path)
    except OSError as error:
        raise cannot_write(path, content, error) from error
    try:
        yield partial_path
        try:
            os.replace(partial_path, path)
        except OSError as error:
            raise cannot_write(path, content, error) from error
    finally:
        shutil.rmtree(partial_path, ignore_errors=True)


def cannot_write(path: str, content: str, error: Exception) -> UserError:
    """Returns the error of a folder that cannot be written."""
    return UserError(f"cannot write {content} to {path!r}: {getattr(error, 'strerror', None) or first_line(error)}")


@dataclasses.dataclass(frozen=True)
class FilePart:
    """Consecutive bytes of a file, which take no memory until they are read.

    Attributes:
      path: the file.
      offset: place of the first byte.
      num_bytes: number of bytes.
    """

    path: str
    offset: int
    num_bytes: int

    def read(self) -> bytes:
        """Returns the bytes; fewer if the file has become shorter.

        Raises:
          OSError: the file cannot be read.
        """
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.num_bytes)


def append_json_line(path: str, values: dict[str, Any]) -> None:
    """Appends a line to a JSON lines file, first ending a last line that was truncated while being written."""
    line = json.dumps(values, allow_nan=False).encode() + b"\n"
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else b"\n" + line
        file.write(line)


def format_bytes(num_bytes: float) -> str:
    """Returns a size in words, with three digits and decimal units: 20.7 kB, 1.99 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def printable(name: str) -> str:
    """Returns a file's name on one line: line breaks and other characters that cannot be printed are escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode()
        for letter in name
    )


def parsed_json(text: str | bytes) -> Any:
    """Returns the value of JSON text.

    Raises:
      ValueError: the text is not JSON, or is nested deeper than Python's parser can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json_lines(path: str) -> list[dict[str, Any]]:
    """Reads the objects of a JSON lines file.

    Other lines, for example ones truncated while being written, are skipped with a warning.
    """
    lines = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                value = parsed_json(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                lines.append(value)
            else:
                logging.warning("%s: line %d is damaged and skipped", path, number)
    return lines


def sha256_of_files(paths: Iterable[str]) -> str:
    """Hash of the contents of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()


def crc32_of_file(path: str) -> int:
    """Checksum of the content of a file, as fast as the disk."""
    checksum = 0
    for block in _blocks(path):
        checksum = zlib.crc32(block, checksum)
    return checksum


def _blocks(path: str) -> Iterator[bytes]:
    """Yields the content of a file in blocks of 1 MiB."""
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(2**20), b"")


# Errors of NumPy for files that are no archives of it, or damaged ones.
ARCHIVE_ERRORS = (OSError, AttributeError, EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)

# assets.extra is SavedModel's folder for files that TensorFlow itself does not use.
_CHECKSUMS = os.path.join("assets.extra", "sha256.json")


def write_checksums(folder: str) -> None:
    """Writes the SHA-256 of every file of a SavedModel to its assets.extra/sha256.json."""
    os.makedirs(os.path.dirname(os.path.join(folder, _CHECKSUMS)), exist_ok=True)
    write_atomically(os.path.join(folder, _CHECKSUMS), json.dumps(_checksums(folder), indent=2).encode())


def check_undamaged(folder: str) -> None:
    """Raises UserError if a file of a folder does not match its checksum: see `damaged_file`."""
    try:
        damaged = damaged_file(folder)
    except OSError as error:
        raise UserError(f"cannot read {folder!r}: {error.strerror or error}") from error
    if damaged:
        raise UserError(f"{folder!r} is damaged: {damaged} does not match its checksum")


def damaged_file(folder: str) -> str | None:
    """Returns the relative path of a file of a SavedModel that does not match its checksum, or None.

    Also None without checksums: other programs do not write them.

    Raises:
      OSError: a file cannot be read.
    """
    path = os.path.join(folder, _CHECKSUMS)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            expected = dict(parsed_json(file.read()))
    except (ValueError, TypeError):
        return _CHECKSUMS
    found = _checksums(folder)
    return next((name for name in sorted(expected) if found.get(name) != expected[name]), None)


def _checksums(folder: str) -> dict[str, str]:
    result = {}
    for directory, _, names in os.walk(folder):
        for name in names:
            relative = os.path.relpath(os.path.join(directory, name), folder)
            if relative != _CHECKSUMS:
                result[relative] = sha256_of_files([os.path.join(folder, relative)])
    return result


def is_locked(directory: str) -> bool:
    """Returns whether a process holds the lock of `only_one` on a folder; False where that cannot be told."""
    import fcntl

    try:
        with open(os.path.join(directory, ".lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@contextlib.contextmanager
def only_one(directory: str, wait: bool = False) -> Iterator[None]:
    """Holds an exclusive lock on a folder, created if missing, during the context; it also ends with the process.

    Args:
      directory: folder of the lock file, .lock.
      wait: whether to wait until another process releases the lock.

    Raises:
      BlockingIOError: another process holds the lock, and wait is False.
    """
    import fcntl  # missing on Windows, where TensorFlow 2.15 trains on CPUs only

    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
