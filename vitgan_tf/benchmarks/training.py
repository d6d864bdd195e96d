"""Speed and memory of a training step, compared with the machine's matrix products."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from typing import Any, Callable

import psutil
import tensorflow as tf

from vitgan_tf.benchmarks.timing import (
    convolution_flops,
    count_live_operations,
    matmul_flops,
    peak_memory,
    rounded,
    start_time,
    time_between_products,
)
from vitgan_tf.config import ExperimentConfig
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.training.build import build_gan, trace_step
from vitgan_tf.training.gan import GAN
from vitgan_tf.training.memory import state_bytes, step_bytes
from vitgan_tf.training.plan import execution_plan

PROFILED_STEPS = 3
# Phases of the start of a process.
_PHASES = ("imports", "building", "tracing", "first_step")


def traced_training_step(config: ExperimentConfig, xla: str = "off") -> tf.types.experimental.ConcreteFunction:
    """Returns a training step as a graph, with the whole batch at once."""
    plan = dataclasses.replace(execution_plan(config), xla=xla, microbatch=config.train.batch_size)
    return trace_step(build_gan(config, plan))


def training_step_flops(config: ExperimentConfig) -> tuple[int, int]:
    """Floating-point operations of the matrix products and of the convolutions of one training step."""
    step = traced_training_step(config)
    return matmul_flops(step), convolution_flops(step)


def measure_training(config: ExperimentConfig, num_steps: int, profile: str | None = None) -> dict[str, Any]:
    """Times training steps on random images, between large matrix products.

    Args:
      config: provides networks, batch size and compilation; its data set is not read.
      num_steps: timed steps, after three warm-up steps.
      profile: folder for a TensorBoard profile of three further steps, created with its parents; None for no profile.

    Returns:
      generator_weights, discriminator_weights: numbers of trained weights.
      images_per_second: real images of a step over the median step time. The step is Keras' own training function,
        including data iterator, both updates, moving average and metrics.
      step_seconds, step_seconds_min: median and minimum step time.
      gflops_per_step: floating-point operations of the step's matrix products, 10^9.
      convolution_gflops_per_step: those of its convolutions, without depthwise ones.
      matmul_peak_gflops: median speed of the interleaved 4096 x 4096 float32 products, 10^9 operations per second.
      fraction_of_matmul_peak: speed of a step relative to its two neighbouring products, median over steps.
      bfloat16_matmul_peak_gflops, fraction_of_bfloat16_matmul_peak: the same for bfloat16 products, only with
        precision mixed_bfloat16.
      peak_memory_gb: peak resident memory after the first three steps, 10^9 bytes; the large products come later and
        do not count.
      estimated_memory_gb: bytes of the variables and of the step's tensors, 10^9, from the shapes in its graph: see
        `training.memory`.
      seconds_to_first_step: time from the start of the process to the end of its first step.
      seconds_of_start: its phases: imports, building (networks and optimisers), tracing (the step as a TensorFlow
        graph) and first_step (compilation by TensorFlow and XLA, and the step itself).
      graph_operations: number of operations in the traced step; TensorFlow makes and compiles them one by one.
      live_operations: number of those that the step's results depend on, with those of called functions once per
        call; a kernel compiled by XLA is one.
      dataset, batch_size, xla, microbatch, precision, tf32, steps. With tf32, the float32 products are TensorFloat-32
        too.

    Raises:
      UserError: the batch cannot be divided into microbatches, or the profile folder cannot be created.
    """
    if profile is not None:
        _make_folder(profile)
    times = [start_time(psutil.Process()), time.time()]
    tf.config.experimental.enable_tensor_float_32_execution(config.train.tf32)
    plan = execution_plan(config)
    gan = build_gan(config, plan)
    times.append(time.time())
    step, graph = _training_function(gan, config)
    times.append(time.time())
    step()
    times.append(time.time())
    step()
    step()
    peak_memory_gb = peak_memory()
    dtypes = ("float32", "bfloat16") if plan.precision == "mixed_bfloat16" else ("float32",)
    (timing,) = time_between_products([step], num_steps, dtypes)
    if profile is not None:
        _profile(step, profile)
    (flops, of_convolutions), step_seconds = training_step_flops(config), statistics.median(timing.seconds)
    return {
        "dataset": config.data.dataset,
        "batch_size": config.train.batch_size,
        "xla": plan.xla,
        "microbatch": plan.microbatch,
        "precision": plan.precision,
        "tf32": config.train.tf32,
        "steps": num_steps,
        **{f"{name}_weights": _count_weights(getattr(gan, name)) for name in ("generator", "discriminator")},
        "images_per_second": rounded(config.images_per_step / step_seconds),
        "step_seconds": rounded(step_seconds),
        "step_seconds_min": rounded(min(timing.seconds)),
        "gflops_per_step": rounded(flops / 1e9),
        "convolution_gflops_per_step": rounded(of_convolutions / 1e9),
        **timing.peaks(flops),
        "peak_memory_gb": peak_memory_gb,
        "seconds_to_first_step": rounded(times[-1] - times[0]),
        "seconds_of_start": {phase: rounded(end - start) for phase, start, end in zip(_PHASES, times, times[1:])},
        **_of_graph(graph, gan),
    }


def _count_weights(network: tf.keras.Model) -> int:
    return sum(math.prod(variable.shape) for variable in network.trainable_variables)


def _of_graph(graph: tf.Graph, gan: GAN) -> dict[str, float]:
    """Returns what can be told of a traced step without running it."""
    return {
        "estimated_memory_gb": rounded((state_bytes(gan) + step_bytes(graph)) / 1e9),
        "graph_operations": len(graph.get_operations()),
        "live_operations": count_live_operations(graph),
    }


def _training_function(gan: GAN, config: ExperimentConfig) -> tuple[Callable[[], None], tf.Graph]:
    """Traces a step on random images; returns a call of it, which ends when the step does, and its graph."""
    data = config.data
    shape = [config.images_per_step, data.image_size, data.image_size, data.num_channels]
    iterator = iter(tf.data.Dataset.from_tensors(tf.random.uniform(shape, -1.0, 1.0)).repeat())
    train_function = gan.make_train_function()
    graph = train_function.get_concrete_function(iterator).graph

    def step() -> None:
        tf.nest.map_structure(lambda value: value.numpy(), train_function(iterator))

    return step, graph


def _make_folder(directory: str) -> None:
    try:
        tf.io.gfile.makedirs(directory)
    except tf.errors.OpError as error:
        raise UserError(f"cannot write a profile to {directory!r}: {first_line(error)}") from error


def _profile(step: Callable[[], None], directory: str) -> None:
    with tf.profiler.experimental.Profile(directory):
        for number in range(PROFILED_STEPS):
            with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
                step()
