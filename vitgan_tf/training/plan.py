"""Execution plan of a run: devices, precision, compilation and microbatches."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.cuda_tools import DATA_DIR_FLAG, missing_tools
from vitgan_tf.errors import UserError
from vitgan_tf.training.strategies import describe

# Upper bound on the bytes of a pass's widest activations on a CPU; smaller microbatches are slower.
_CPU_ACTIVATION_BYTES = 52_000_000
# Up to this bound, a CPU may begin the generator's update during the discriminator's: less time, little more memory.
_OVERLAP_ACTIVATION_BYTES = 10_000_000
_TPU_STEPS_PER_EXECUTION = 100


@dataclasses.dataclass(frozen=True)
class ExecutionPlan:
    """Execution of a configuration on the devices of a strategy; made by `execution_plan`.

    Different plans change the result of a step by rounding only.

    Attributes:
      strategy: `tf.distribute` strategy.
      precision: name of the Keras policy of both networks.
      xla: what XLA compiles: "full", "kernels" or "off", see `TrainConfig.xla`.
      microbatch: images that a replica processes at a time.
      overlaps_updates: whether the generator's update may begin before the discriminator's has ended.
      steps_per_execution: training steps between two returns to the host.
    """

    strategy: tf.distribute.Strategy
    precision: str
    xla: str
    microbatch: int
    overlaps_updates: bool
    steps_per_execution: int

    @property
    def description(self) -> str:
        """Devices and choices in words, for logs and config.json."""
        steps = f", {self.steps_per_execution} steps at a time" if self.steps_per_execution > 1 else ""
        choices = f"{self.precision}, xla={self.xla}, {self.microbatch} images at a time{steps}"
        return f"{describe(self.strategy)}, {choices}"

    @property
    def compiles_step(self) -> bool:
        """True if Keras must request compilation of the step; TPU strategies compile every step anyway."""
        return self.xla == "full" and not isinstance(self.strategy, tf.distribute.TPUStrategy)

    @property
    def scales_loss(self) -> bool:
        """True if the optimisers scale the loss, so that gradients stay within the range of float16."""
        return self.precision == "mixed_float16"

    @property
    def uses_kernels(self) -> bool:
        """True if the formulas between matrix products are compiled as kernels: see `layers.fused`."""
        return self.xla == "kernels"

    @contextlib.contextmanager
    def precision_policy(self) -> Iterator[None]:
        """Sets Keras' global policy to this precision for layers constructed in the context."""
        before = tf.keras.mixed_precision.global_policy()
        tf.keras.mixed_precision.set_global_policy(self.precision)
        try:
            yield
        finally:
            # None stands for the policy of floatx().
            is_default = before.name == tf.keras.backend.floatx()
            tf.keras.mixed_precision.set_global_policy(None if is_default else before)


def execution_plan(config: ExperimentConfig, strategy: tf.distribute.Strategy | None = None) -> ExecutionPlan:
    """Returns the plan for a configuration; default: under the current strategy.

    Raises:
      UserError: the batch cannot be split evenly into replicas and microbatches, or the devices do not support the
        precision or compilation.
    """
    strategy, train = strategy or tf.distribute.get_strategy(), config.train
    share = _share(config, strategy.num_replicas_in_sync)
    is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    is_cpu = not is_tpu and not tf.config.list_physical_devices("GPU")
    if is_tpu and train.precision == "mixed_float16":
        raise UserError("a TPU computes in bfloat16, not float16: set --precision=mixed_bfloat16")
    if train.xla == "full" and strategy.num_replicas_in_sync > 1 and not is_tpu:
        raise UserError("train.xla=full compiles the step of one device only: with several, use auto, kernels or off")
    microbatch = train.microbatch or (_cpu_microbatch(config, share) if is_cpu else share)
    return ExecutionPlan(
        strategy,
        train.precision,
        xla=_automatic_xla(strategy, is_tpu, is_cpu) if train.xla == "auto" else train.xla,
        microbatch=microbatch,
        overlaps_updates=is_cpu and microbatch * _activation_bytes(config) <= _OVERLAP_ACTIVATION_BYTES,
        steps_per_execution=train.steps_per_execution or (_TPU_STEPS_PER_EXECUTION if is_tpu else 1),
    )


def _automatic_xla(strategy: tf.distribute.Strategy, is_tpu: bool, is_cpu: bool) -> str:
    """Returns what `train.xla=auto` means on these devices."""
    if is_tpu or is_cpu:
        return "full" if is_tpu else "kernels"
    if strategy.num_replicas_in_sync > 1:
        return "off"
    missing = missing_tools()
    if missing:
        _warn_of_missing_tools(" and ".join(missing))
    return "off" if missing else "full"


@functools.cache
def _warn_of_missing_tools(missing: str) -> None:
    """Says, once, why XLA is off."""
    logging.warning(
        "train.xla=auto is off on this GPU, as XLA finds no %s of CUDA: pip install nvidia-cuda-nvcc-cu12==12.2.140 "
        "(in a checkout: make GPU=1 run), or name CUDA's folder with XLA_FLAGS=%s=DIR",
        missing,
        DATA_DIR_FLAG,
    )


def _share(config: ExperimentConfig, replicas: int) -> int:
    """Returns the per-replica batch size; raises UserError if a batch cannot be split evenly."""
    train = config.train
    if train.batch_size % replicas:
        raise UserError(
            f"train.batch_size must be a multiple of the number of replicas, got {train.batch_size} and {replicas}"
        )
    share = train.batch_size // replicas
    if train.microbatch and share % train.microbatch:
        raise UserError(
            f"train.microbatch must divide the {share} images of each replica (train.batch_size over the number of "
            f"replicas), got {train.microbatch}"
        )
    generator, discriminator = config.chosen_networks()
    group_size = discriminator.group_size(config)
    if (train.microbatch or share) % group_size:
        name = config.discriminator.architecture
        raise UserError(
            f"{name}.group_size must divide the {share} images of each replica and train.microbatch, "
            f"got {group_size} and {train.microbatch}"
        )
    if _needs_whole_share(config) and train.microbatch not in (0, share):
        cause = (
            f"generator.architecture={config.generator.architecture}, whose batch norm is over"
            if generator.needs_whole_share
            else "loss.contrad_lambda_real and loss.contrad_lambda_fake, which compare the images of"
        )
        raise UserError(f"train.microbatch must be 0 with {cause} the whole batch; got {train.microbatch}")
    if config.loss.uses_contrad and share < 2:
        raise UserError(f"ContraD compares at least 2 images per replica, got {share}: raise train.batch_size")
    return share


def _needs_whole_share(config: ExperimentConfig) -> bool:
    """Whether all images on a replica depend on each other."""
    return config.chosen_networks()[0].needs_whole_share or config.loss.uses_contrad


def _cpu_microbatch(config: ExperimentConfig, share: int) -> int:
    """Returns the largest microbatch whose widest activations fit in `_CPU_ACTIVATION_BYTES`."""
    if _needs_whole_share(config):
        return share
    limit = _CPU_ACTIVATION_BYTES // _activation_bytes(config)
    fitting = range(1, min(share, max(1, limit)) + 1)
    group = config.chosen_networks()[1].group_size(config)
    return max((size for size in fitting if share % size == 0 and size % group == 0), default=group)


def _activation_bytes(config: ExperimentConfig) -> int:
    """Returns the bytes of a pass's widest activations per image, in float32."""
    generator, discriminator = config.chosen_networks()
    of_discriminator = config.loss.num_views * discriminator.widest_activations(config)
    return 4 * max(of_discriminator, generator.widest_activations(config), 1)
