"""Images that were found, and their decoding."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from typing import Callable

import numpy as np
from absl import logging

from vitgan_tf.data.decoding import BadImageError, Preprocessing, decode_all
from vitgan_tf.errors import UserError
from vitgan_tf.progress import progress

_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Reading:
    """Images that were found and are not yet decoded.

    Attributes:
      description: names the images in messages.
      num_images: number of images, readable or not.
      items: () -> name and reader of each image, as `decode_all` takes them.
      preprocessing: brings an image to the size of the training.
      identity: () -> text that changes with the images.
      not_images: names of other files beside the images.
    """

    description: str
    num_images: int
    items: Callable[[], Iterator]
    preprocessing: Preprocessing
    identity: Callable[[], str]
    not_images: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Size of all decoded images."""
        return self.num_images * math.prod(self.preprocessing.shape)


def fingerprint(images: np.ndarray) -> str:
    """Returns a short hash of the number and shape of the images, and of up to 1,000 evenly spread ones."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), 1000)).astype(int)
    content = repr(images.shape).encode() + np.ascontiguousarray(images[chosen]).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def decoded_images(reading: Reading, bad: list[tuple[str, str]]) -> Iterator[np.ndarray]:
    """Yields the readable images, and appends the name of each other file to `bad`, with the reason.

    Raises:
      UserError: no image can be read.
    """
    bad += [(name, "not an image by its name") for name in reading.not_images]
    items = decode_all(reading.items(), reading.preprocessing)
    good = 0
    for name, image in progress(items, "decoding", reading.num_images, "image"):
        if isinstance(image, BadImageError):
            bad.append((name, str(image)))
        else:
            good += 1
            yield image
    if not good:
        warn_of_skipped(bad)
        raise UserError(f"none of the {reading.num_images} images of {reading.description} can be used")


def skipped_lines(bad: list[tuple[str, str]]) -> list[str]:
    """Returns log lines about skipped files: their number, the names of the first ones, and the reasons."""
    lines = [f"skipped files: {len(bad)}"] if bad else []
    lines += [f"  {name}: {reason}" for name, reason in bad[:_LISTED]]
    return lines + ([f"  and {len(bad) - _LISTED} more"] if len(bad) > _LISTED else [])


def warn_of_skipped(bad: list[tuple[str, str]]) -> None:
    """Logs `skipped_lines` as warnings."""
    for line in skipped_lines(bad):
        logging.warning("%s", line)
