"""Images that were found, and their decoding."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np
from absl import logging

from vitgan_tf.data.decoding import DecodedImage, Preprocessing, decode_all
from vitgan_tf.data.opening import BadImageError
from vitgan_tf.errors import UserError
from vitgan_tf.files import printable
from vitgan_tf.progress import progress

_LISTED = 10
# Sets whose values lie closer together look like one colour.
_NARROW = 0.1
_BITS = {255.0: 8, 65_535.0: 16}


@dataclasses.dataclass(frozen=True)
class Reading:
    """Images that were found and are not yet decoded.

    Attributes:
      description: names the images in messages.
      num_images: number of images, readable or not.
      items: () -> `ImageKey` and reader of each image, as `decode_all` takes them.
      preprocessing: brings an image to the size of the training.
      identity: () -> text that changes with the images.
      remarks: what the user should know about the choice of the images, a line each.
      is_prepared: whether tools/prepare_data.py has made the images.
      class_names: names of the classes that the labels index; None without labels.
    """

    description: str
    num_images: int
    items: Callable[[], Iterator]
    preprocessing: Preprocessing
    identity: Callable[[], str]
    remarks: tuple[str, ...] = ()
    is_prepared: bool = False
    class_names: tuple[str, ...] | None = None

    @property
    def num_bytes(self) -> int:
        """Size of all decoded images."""
        return self.num_images * math.prod(self.preprocessing.shape)


@dataclasses.dataclass
class Findings:
    """Facts about the files of a set that the user should know after their decoding.

    Attributes:
      skipped: name of each file that is left out, and the reason.
      noted: name of each file that is used, and a note about it.
      extremes: lowest and highest pixel value by the largest value of the type, see `DecodedImage`.
    """

    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    noted: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    extremes: dict[float, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def add(self, name: str, result: DecodedImage | BadImageError) -> None:
        """Takes up the result of a file."""
        if isinstance(result, BadImageError):
            self.skipped.append((name, str(result)))
            return
        self.noted += [(name, note) for note in result.notes]
        self._widen(result.limit, result.extremes)

    def _widen(self, limit: float, extremes: Sequence[float]) -> None:
        low, high = self.extremes.get(limit, extremes)
        self.extremes[limit] = min(low, extremes[0]), max(high, extremes[1])

    def merge(self, other: Findings) -> None:
        """Takes up the findings of other files."""
        self.skipped += other.skipped
        self.noted += other.noted
        for limit, extremes in other.extremes.items():
            self._widen(limit, extremes)

    def as_dict(self) -> dict[str, Any]:
        """Returns the findings as JSON values; see `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Findings:
        """Returns the findings of a record of `as_dict`; other entries do not count, and missing ones are empty."""
        return cls(
            [(name, reason) for name, reason in record.get("skipped", ())],
            [(name, note) for name, note in record.get("noted", ())],
            {float(limit): (low, high) for limit, (low, high) in record.get("extremes", {}).items()},
        )

    def lines(self, value_range: Sequence[float] | None = None, is_prepared: bool = False) -> list[str]:
        """Returns log lines: numbers of files, the first names, and ranges of values that are too narrow.

        Args:
          value_range: range that the user gave, see `Preprocessing`.
          is_prepared: whether tools/prepare_data.py has made the images.
        """
        if value_range is not None:
            ranges = self._lines_of_given_range()
        else:
            ranges = [line for limit in self.extremes if (line := self._narrow_range(limit, is_prepared))]
        return [*_listed("skipped files", self.skipped), *_listed("files with a remark", self.noted), *ranges]

    def _narrow_range(self, limit: float, is_prepared: bool) -> str | None:
        low, high = self.extremes[limit]
        if (high - low) / limit >= _NARROW:
            return None
        advice = f"training or preparation with --value_range={low:g},{high:g} makes these black and white"
        if low == high or len(self.extremes) > 1:
            advice = "training or preparation with --value_range=LOW,HIGH names those that become black and white"
        if is_prepared:
            advice = "preparation with --value_range=LOW,HIGH names those that become black and white"
        return (
            f"pixel values are close together ({low:g} to {high:g} of 0 to {limit:g}), and the images look like one "
            f"colour: {advice}"
        )

    def _lines_of_given_range(self) -> list[str]:
        lines = []
        if len(self.extremes) > 1:
            bits = " and ".join(str(_BITS.get(limit, 32)) for limit in sorted(self.extremes))
            lines.append(f"images of {bits} bits share one --value_range: it fits one kind of them at most")
        for low, high in self.extremes.values():
            if (high - low) / 255.0 < _NARROW:
                lines.append(f"with this --value_range, pixel values become {low:g} to {high:g} of 0 to 255")
        return lines


def fingerprint(images: np.ndarray) -> str:
    """Returns a short hash of the number and shape of the images, and of up to 1,000 evenly spread ones."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), 1000)).astype(int)
    content = repr(images.shape).encode() + np.ascontiguousarray(images[chosen]).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def decoded_images(reading: Reading, findings: Findings) -> Iterator[tuple[np.ndarray, int | None]]:
    """Yields the readable images with their labels, and adds what is found to the findings.

    Raises:
      UserError: no image can be read.
    """
    items = decode_all(reading.items(), reading.preprocessing.decode)
    good = 0
    for (name, label), result in progress(items, "decoding", reading.num_images, "image"):
        findings.add(name, result)
        if isinstance(result, DecodedImage):
            good += 1
            yield result.pixels, label
    if not good:
        warn(reading, findings)
        raise UserError(f"none of the {reading.num_images} images of {reading.description} can be used")


def warn(reading: Reading, findings: Findings) -> None:
    """Logs the remarks and findings as warnings."""
    for line in (*reading.remarks, *findings.lines(reading.preprocessing.value_range, reading.is_prepared)):
        logging.warning("%s", line)


def _listed(title: str, items: Sequence[tuple[str, str]]) -> list[str]:
    """Returns the number of the items, and the first ones."""
    lines = [f"{title}: {len(items)}"] if items else []
    lines += [f"  {printable(name)}: {printable(reason)}" for name, reason in items[:_LISTED]]
    return lines + ([f"  and {len(items) - _LISTED} more"] if len(items) > _LISTED else [])
