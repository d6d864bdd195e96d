"""Progress bar of a training."""

from __future__ import annotations

from typing import Any

from vitgan_tf.progress import Progress
from vitgan_tf.training.callbacks.base import StepCallback


class ProgressBar(StepCallback):
    """Shows steps, elapsed and remaining time, steps per second and losses; first, what the first step waits for."""

    def __init__(self, first_step: int, total_steps: int):
        super().__init__(first_step, total_steps)
        self._progress: Progress | None = None
        self._has_begun = False

    def on_train_begin(self, logs: Any = None) -> None:
        self._progress = Progress("steps", self.total_steps, "step", self.first_step, is_kept=True)
        self._progress.show(self.first_step, "tracing and compiling the training step", is_due=True)

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        assert self._progress is not None
        is_first, self._has_begun = not self._has_begun, True
        if is_first:
            # The first steps of a process are mostly tracing: the remaining time is estimated without them.
            self._progress.restart(step)
        losses = ", ".join(f"{name} {logs[name]:.3f}" for name in ("d_loss", "g_loss"))
        self._progress.show(step, losses, is_due=is_first or step == self.total_steps)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the bar, if it has begun."""
        if self._progress is not None:
            self._progress.close()
