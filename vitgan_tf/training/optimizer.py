"""Adam with a single pass over memory per variable."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from vitgan_tf.config import TrainConfig


class FusedAdam(tf.keras.optimizers.Adam):
    """`tf.keras.optimizers.Adam` with TensorFlow's fused update kernel.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,
    x <- x - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)      (Kingma, Ba 2015, section 2, last paragraph)

    Keras uses a dozen operations instead, each a pass over all weights. Variables, checkpoints and arguments are
    those of `tf.keras.optimizers.Adam`; sparse gradients and amsgrad are not supported.
    `tf.keras.optimizers.legacy.Adam` calls the same kernel, but cannot skip an update.

    Args:
      skips_non_finite: if any gradient is not finite, leaves all variables, m and v unchanged; the step still counts
        in t.
      **kwargs: passed to `tf.keras.optimizers.Adam`, except jit_compile: where there is a GPU, Keras would compile
        each variable's update as an XLA function of its own.
    """

    def __init__(self, *args: Any, skips_non_finite: bool = False, **kwargs: Any):
        super().__init__(*args, **{**kwargs, "jit_compile": False})
        self.skips_non_finite = skips_non_finite

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]], *args: Any, **kwargs: Any
    ) -> tf.Variable:
        is_finite = None
        if self.skips_non_finite:
            grads_and_vars = list(grads_and_vars)
            is_finite = tf.math.is_finite(tf.linalg.global_norm([gradient for gradient, _ in grads_and_vars]))
            # Gradients become zeros as well, because 0 * infinity is NaN.
            grads_and_vars = [
                (tf.where(is_finite, gradient, tf.zeros_like(gradient)), variable)
                for gradient, variable in grads_and_vars
            ]
        # Shared by all variables and computed once per step and graph. Computed per variable, they would be a tenth
        # of a training step's operations, and of its tracing time.
        self._coefficients = functools.cache(functools.partial(self._compute_coefficients, is_finite))
        return super().apply_gradients(grads_and_vars, *args, **kwargs)

    def _compute_coefficients(
        self, is_finite: tf.Tensor | None, graph: tf.Graph, dtype: tf.DType
    ) -> dict[str, tf.Tensor]:
        """Returns the scalar arguments of `tf.raw_ops.ResourceApplyAdam` in the given, current graph."""
        del graph  # only part of the cache key
        beta_1, beta_2 = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
        step = tf.cast(self.iterations + 1, dtype)
        coefficients = {
            "beta1_power": tf.pow(beta_1, step),
            "beta2_power": tf.pow(beta_2, step),
            "lr": tf.convert_to_tensor(self.learning_rate, dtype),
            "beta1": beta_1,
            "beta2": beta_2,
            "epsilon": tf.constant(self.epsilon, dtype),
        }
        if is_finite is not None:
            # Coefficients of a no-op update.
            for name, neutral in (("lr", 0.0), ("beta1", 1.0), ("beta2", 1.0)):
                coefficients[name] = tf.where(is_finite, coefficients[name], tf.constant(neutral, dtype))
        return coefficients

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        index = self._index_dict[self._var_key(variable)]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            grad=gradient,
            **self._coefficients(tf.compat.v1.get_default_graph(), variable.dtype),
        )


class LinearSchedule(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises linearly at the start and falls linearly to 0 at the end.

    rate(t) = peak * min(1, (t + 1) / warm-up, (T - t) / decay)      in step t = 0, ..., T - 1; 0 afterwards

    Args:
      peak: learning rate in between.
      total: T, number of steps.
      warmup: steps of the rise; 0 for none.
      decay: steps of the fall; 0 for none.
    """

    def __init__(self, peak: float, total: float, warmup: float = 0.0, decay: float = 0.0):
        self.peak, self.total, self.warmup, self.decay = peak, total, warmup, decay

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        done = tf.cast(step, tf.float32)
        rising = (done + 1.0) / self.warmup if self.warmup else 1.0
        falling = (self.total - done) / self.decay if self.decay else 1.0
        return self.peak * tf.clip_by_value(tf.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("peak", "total", "warmup", "decay")}


def build_optimizer(
    learning_rate: float, images_per_update: int, config: TrainConfig, scales_loss: bool = False
) -> tf.keras.optimizers.Optimizer:
    """Builds Adam with the configured betas (paper, "Experiment Setup"), optionally with dynamic loss scaling.

    Args:
      learning_rate: rate of the network, at its peak.
      images_per_update: real images of the run per update of the network.
      config: betas, epsilon, schedule of the rate, and what is done about non-finite gradients.
      scales_loss: whether the optimiser scales the loss.
    """
    total, warmup = (kimg * 1000.0 / images_per_update for kimg in (config.total_kimg, config.warmup_kimg))
    is_constant = config.warmup_kimg == config.decay_fraction == 0.0
    schedule = LinearSchedule(learning_rate, total, warmup, decay=config.decay_fraction * total)
    optimizer = FusedAdam(
        learning_rate if is_constant else schedule,
        beta_1=config.adam_beta1,
        beta_2=config.adam_beta2,
        epsilon=config.adam_epsilon,
        skips_non_finite=config.on_nan == "skip",
    )
    return tf.keras.mixed_precision.LossScaleOptimizer(optimizer) if scales_loss else optimizer
