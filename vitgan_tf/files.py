"""Files that are whole or not there, and folders that one process holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from absl import logging


@contextlib.contextmanager
def atomic_file(path: str) -> Iterator[BinaryIO]:
    """A file to write so that, whatever interrupts it, path holds its old or, in the end, its new content."""
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
    """Writes a file so that, whatever interrupts it, path holds its old or its new content."""
    with atomic_file(path) as file:
        file.write(content)


def append_json_line(path: str, values: dict[str, Any]) -> None:
    """Adds one line to a file of JSON lines, after a piece of a line that was cut off while it was written."""
    line = json.dumps(values, allow_nan=False).encode() + b"\n"
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else b"\n" + line
        file.write(line)


def read_json_lines(path: str) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines.

    A line that is none, for example as it was cut off while it was written, is left out with a warning.
    """
    lines = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                lines.append(value)
            else:
                logging.warning("%s: line %d is damaged and left out", path, number)
    return lines


def sha256_of_files(paths: Iterable[str]) -> str:
    """Hash of the content of files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()


def crc32_of_file(path: str) -> int:
    """Checksum of the content of a file: as quick as a disk is."""
    checksum = 0
    for block in _blocks(path):
        checksum = zlib.crc32(block, checksum)
    return checksum


def _blocks(path: str) -> Iterator[bytes]:
    """The content of a file, in pieces that fit in memory."""
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(2**20), b"")


# In a SavedModel, this folder is for what others than TensorFlow want to add.
_CHECKSUMS = os.path.join("assets.extra", "sha256.json")


def write_checksums(folder: str) -> None:
    """Adds the SHA-256 of every file of a SavedModel to its folder, in assets.extra/sha256.json."""
    os.makedirs(os.path.dirname(os.path.join(folder, _CHECKSUMS)), exist_ok=True)
    write_atomically(os.path.join(folder, _CHECKSUMS), json.dumps(_checksums(folder), indent=2).encode())


def damaged_file(folder: str) -> str | None:
    """A file of a SavedModel that is not as `write_checksums` found it, by its path in the folder; None if all are.

    None as well where the checksums are not there: other programs do not write any.

    Raises:
      OSError: a file cannot be read.
    """
    path = os.path.join(folder, _CHECKSUMS)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            expected = dict(json.load(file))
    except (ValueError, TypeError, RecursionError):
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


@contextlib.contextmanager
def only_one(directory: str, wait: bool = False) -> Iterator[None]:
    """Holds a lock on a folder, made if missing, for as long as the context lasts; it ends with the process too.

    Args:
      directory: holds the lock's file, .lock.
      wait: until another process gives it back.

    Raises:
      BlockingIOError: another process holds it, and it is not waited for.
    """
    import fcntl  # not on Windows, where TensorFlow 2.15 trains on CPUs only

    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
