"""Repeats a diverged training from its newest checkpoint, with new random numbers."""

from __future__ import annotations

from typing import Callable

from absl import logging

from vitgan_tf.errors import DivergedError
from vitgan_tf.training.gan import GAN

_MAX_ROLLBACKS = 3  # to the same checkpoint


def with_rollbacks(gan: GAN, restore: Callable[[], int | None], fit: Callable[[int], None], first_step: int) -> None:
    """Calls fit(first_step). With on_nan=rollback, a diverged training is repeated from the newest checkpoint.

    Args:
      gan: the model.
      restore: () -> step of the restored newest checkpoint, the same in all processes; None if there is none.
      fit: first step -> None.
      first_step: of the first call.
    """
    rollbacks: list[int] = []
    while True:
        try:
            fit(first_step)
            return
        except DivergedError as error:
            attempt = int(gan.attempt.numpy())
            if gan.config.train.on_nan != "rollback":
                raise
            step = restore()
            if step is None or rollbacks.count(step) == _MAX_ROLLBACKS:
                raise
            logging.warning("%s. Resuming from step %d with new random numbers", error, step)
            rollbacks.append(step)
            gan.attempt.assign(attempt + 1)
            first_step = step
