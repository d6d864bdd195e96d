"""What happens beside the steps of `GAN.fit`: each callback decides for itself when to act.

`step` counts finished training steps over the whole run, whether or not it was interrupted. Keras counts the
batches of one call of `fit` from 0.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class StepCallback(tf.keras.callbacks.Callback):
    """Calls `at_step` after every period-th step of the run and after its last one.

    Where the device runs several steps before the host is asked, at the first chance after such a step. With
    acts_before_training, a class attribute, also before its first one, as step 0 and without metrics. A run that was
    stopped after a step, before what is due at it, makes up for it when it goes on: see `is_missing`.

    Args:
      first_step: finished steps when this call of `fit` starts.
      total_steps: length of the run.
      period: steps between two calls.
    """

    acts_before_training = False

    def __init__(self, first_step: int, total_steps: int, period: int = 1):
        super().__init__()
        self.first_step = first_step
        self.total_steps = total_steps
        self.period = period
        self.step = first_step  # finished ones

    def on_train_begin(self, logs: Any = None) -> None:
        if self.first_step == 0:
            is_due = self.acts_before_training
        else:
            is_due = self.first_step % self.period == 0 and self.is_missing(self.first_step)
        if is_due:
            self.at_step(self.first_step, {})

    def is_missing(self, step: int) -> bool:
        """Whether what `at_step` leaves behind of a step, which needs no metrics, is not there."""
        return False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        before, self.step = self.step, self.first_step + batch + 1
        if self.step // self.period > before // self.period or self.step == self.total_steps:
            self.at_step(self.step, logs)

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        """Acts; logs holds the metrics of `GAN.train_step`."""
        raise NotImplementedError
