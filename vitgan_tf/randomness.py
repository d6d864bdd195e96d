"""Random numbers of a batch that do not depend on how the batch is divided."""

from __future__ import annotations

import typing
from typing import Callable

import tensorflow as tf


class Places(typing.NamedTuple):
    """Which images of a larger batch are worked on.

    Attributes:
      indices: of these images in the whole batch, (batch,) int32.
      total: images of the whole batch.
    """

    indices: tf.Tensor
    total: int


def draw_rows(
    draw: Callable[[list[int]], tf.Tensor], shape: list[int | tf.Tensor], places: Places | None = None
) -> tf.Tensor:
    """Random numbers of images, one row for each.

    With places, those of the whole batch are drawn and the rows of these images taken out: whoever works on an
    image, on one replica or another, in one pass or in several, draws the same numbers for it.

    Args:
      draw: shape -> random numbers, always the same for the same shape.
      shape: (batch, ...).
      places: of the batch in the whole one; None if it is the whole one.
    """
    if places is None:
        return draw(shape)
    return tf.gather(draw([places.total, *shape[1:]]), places.indices)
