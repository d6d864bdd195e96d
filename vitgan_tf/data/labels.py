"""Labels: the index of each image's class among the names of the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ImageKey(NamedTuple):
    """Identifies an image on its way through `decoding.decode_all`.

    Attributes:
      name: its name, for messages.
      label: index of its class, -1 if its class is not known; None in a set without labels.
    """

    name: str
    label: int | None = None


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images of a split, with labels if the set has them.

    Attributes:
      images: (num_images, size, size, channels) uint8.
      labels: (num_images,) int64, indices into class_names; None if the class of an image is not known.
      class_names: names of the classes; None without labels.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None

    @classmethod
    def paired(
        cls,
        images: np.ndarray,
        labels: Sequence[int] | np.ndarray | None,
        class_names: tuple[str, ...] | None,
    ) -> LabelledImages:
        """Returns images with their labels; without labels if there are no classes or a label is -1."""
        if class_names is None or labels is None:
            return cls(images)
        values = np.asarray(labels, np.int64)
        return cls(images) if (values < 0).any() else cls(images, values, class_names)
