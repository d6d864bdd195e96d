"""Base class of the callbacks of `GAN.fit`.

`step` counts finished training steps over the whole run, including those before a resumption. Keras counts the
batches of one call of `fit` from 0.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class StepCallback(tf.keras.callbacks.Callback):
    """Calls `at_step` after every period-th step of the run and after its last one.

    With steps_per_execution > 1, `at_step` is called at the end of that execution. With the class attribute
    acts_before_training, it is also called before the first step, as step 0 and without metrics. A run that was
    stopped between a step and its `at_step` catches up when it is resumed: see `is_missing`.

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
        self.step = first_step

    def on_train_begin(self, logs: Any = None) -> None:
        if self.first_step == 0:
            is_due = self.acts_before_training
        else:
            is_due = self.first_step % self.period == 0 and self.is_missing(self.first_step)
        if is_due:
            self.at_step(self.first_step, {})

    def is_missing(self, step: int) -> bool:
        """True if the output of `at_step`, which does not depend on metrics, is missing for a step."""
        return False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        before, self.step = self.step, self.first_step + batch + 1
        if self.step // self.period > before // self.period or self.step == self.total_steps:
            self.at_step(self.step, logs)

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        """Acts after a step; logs are the metrics of `GAN.train_step`."""
        raise NotImplementedError
