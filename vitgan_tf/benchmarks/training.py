"""Speed and memory of a training step, beside the machine's matrix products."""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable

import psutil
import tensorflow as tf

from vitgan_tf.benchmarks.timing import matmul_flops, peak_memory, rounded, time_between_products
from vitgan_tf.config import ExperimentConfig, override
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.training.experiment import build_gan
from vitgan_tf.training.strategies import resolve

PROFILED_STEPS = 3


def traced_training_step(config: ExperimentConfig, xla: str = "off") -> tf.types.experimental.ConcreteFunction:
    """A training step as a graph, the whole batch at once."""
    gan = build_gan(override(config, {"train.xla": xla, "train.microbatch": config.train.batch_size}))
    data = config.data
    images = tf.TensorSpec([config.train.batch_size, data.image_size, data.image_size, data.num_channels])
    return tf.function(gan.train_step, autograph=False).get_concrete_function(images)


def training_step_flops(config: ExperimentConfig) -> int:
    """Floating-point operations of the matrix products of one training step."""
    return matmul_flops(traced_training_step(config))


def measure_training(config: ExperimentConfig, num_steps: int, profile: str | None = None) -> dict[str, Any]:
    """Times training steps on random images, between large matrix products.

    Args:
      config: networks, batch size and compilation are taken from it; its data set is not read.
      num_steps: timed steps, after three that are not.
      profile: folder, made with its parents, for a TensorBoard profile of three further steps; none by default.

    Returns:
      images_per_second: batch size over the median step time. The step is Keras' own training function with
        everything in it: data iterator, both updates, moving average, metrics.
      step_seconds, step_seconds_min: median and shortest step.
      gflops_per_step: counted floating-point operations of the step's matrix products, 10^9.
      matmul_peak_gflops: median speed of the interleaved 4096 x 4096 float32 products, 10^9 operations per second.
      fraction_of_matmul_peak: operations per second of a step over those of its two neighbours, median over steps.
      bfloat16_matmul_peak_gflops, fraction_of_bfloat16_matmul_peak: the same of products in bfloat16; only where
        precision is mixed_bfloat16.
      peak_memory_gb: largest resident size of the process after its first three steps, 10^9 bytes: without the
        products beside which the others are measured.
      seconds_to_first_step: from the start of the process to the end of its first step.
      seconds_of_start: what they are made of: imports, building (networks and optimisers), tracing (the step as a
        graph of TensorFlow) and first_step (TensorFlow's and XLA's compilation, and the step itself).
      graph_operations: operations of the traced step; TensorFlow makes and compiles them one by one.
      And dataset, batch_size, xla, microbatch, precision, steps.

    Raises:
      UserError: the batch cannot be shared by the microbatches, or the folder cannot be made.
    """
    if profile is not None:
        _make_folder(profile)
    times = [psutil.Process().create_time(), time.time()]
    options = resolve(config, tf.distribute.get_strategy())
    gan = build_gan(config)
    times.append(time.time())
    data, batch_size = config.data, config.train.batch_size
    images = tf.random.uniform([batch_size, data.image_size, data.image_size, data.num_channels], -1.0, 1.0)
    iterator = iter(tf.data.Dataset.from_tensors(images).repeat())
    train_function = gan.make_train_function()

    def step() -> None:
        tf.nest.map_structure(lambda value: value.numpy(), train_function(iterator))

    graph_operations = len(train_function.get_concrete_function(iterator).graph.get_operations())
    times.append(time.time())
    step()
    times.append(time.time())
    step()
    step()
    peak_memory_gb = peak_memory()
    dtypes = ("float32", "bfloat16") if config.train.precision == "mixed_bfloat16" else ("float32",)
    (timing,) = time_between_products([step], num_steps, dtypes)
    if profile is not None:
        _profile(step, profile)
    flops, step_seconds = training_step_flops(config), statistics.median(timing.seconds)
    return {
        "dataset": data.dataset,
        "batch_size": batch_size,
        **{name: options[name] for name in ("xla", "microbatch")},
        "precision": config.train.precision,
        "steps": num_steps,
        "images_per_second": rounded(batch_size / step_seconds),
        "step_seconds": rounded(step_seconds),
        "step_seconds_min": rounded(min(timing.seconds)),
        "gflops_per_step": rounded(flops / 1e9),
        **timing.peaks(flops),
        "peak_memory_gb": peak_memory_gb,
        "seconds_to_first_step": rounded(times[-1] - times[0]),
        "seconds_of_start": {
            phase: rounded(end - start)
            for phase, start, end in zip(("imports", "building", "tracing", "first_step"), times, times[1:])
        },
        "graph_operations": graph_operations,
    }


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
