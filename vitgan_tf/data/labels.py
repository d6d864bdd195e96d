"""Labels: the index of each image's class among the names of the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vitgan_tf.errors import UserError


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

    def of_classes(self, classes: Sequence[int]) -> LabelledImages:
        """Returns the images of these classes, with the numbers and names that classes have in the whole set.

        Raises:
          UserError: there are no labels, no such class, or no image of these classes.
        """
        if self.labels is None or self.class_names is None:
            raise UserError("--classes needs labels, and this set has none")
        if max(classes) >= len(self.class_names):
            raise UserError(f"--classes: there is no class {max(classes)}, only 0 to {len(self.class_names) - 1}")
        chosen = np.isin(self.labels, classes)
        if not chosen.any():
            raise UserError("--classes: there is no image of these classes")
        return LabelledImages(self.images[chosen], self.labels[chosen], self.class_names)

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
