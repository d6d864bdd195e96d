"""Files that are whole or not there, and folders that one process holds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO


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
