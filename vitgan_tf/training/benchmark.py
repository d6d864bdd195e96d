"""Speed and memory of training and drawing, beside the machine's matrix products; cost and likeness of renders."""

from __future__ import annotations

import dataclasses
import math
import resource
import statistics
import time
from collections.abc import Sequence
from typing import Any, Callable

import psutil
import tensorflow as tf

from vitgan_tf.config import ExperimentConfig, override
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.models.build import build_generator
from vitgan_tf.sampling import latent_dim
from vitgan_tf.training.experiment import build_gan
from vitgan_tf.training.strategies import resolve

MATMUL_SIZE = 4096
PROFILED_STEPS = 3
SAMPLED_BATCH_SIZES = (16, 64, 128)


def used_products(function: tf.types.experimental.ConcreteFunction) -> list[tf.Operation]:
    """The matrix products in a traced function whose result is used.

    Raises:
      ValueError: a product's shape is not static.
    """
    products, seen = [], set()
    pending = [tensor.op for tensor in function.graph.outputs] + list(function.graph.control_outputs)
    while pending:
        operation = pending.pop()
        if operation in seen:
            continue
        seen.add(operation)
        pending += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
        if operation.type in ("MatMul", "BatchMatMulV2"):
            shapes = operation.inputs[0].shape, operation.outputs[0].shape
            if not all(shape.is_fully_defined() for shape in shapes):
                raise ValueError(f"shape of {operation.name} is not static")
            products.append(operation)
    return products


def product_flops(operation: tf.Operation) -> int:
    """Floating-point operations of a matrix product, 2 m n k."""
    left = operation.inputs[0].shape
    transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    return 2 * operation.outputs[0].shape.num_elements() * (left[-2] if transposed else left[-1])


def matmul_flops(function: tf.types.experimental.ConcreteFunction) -> int:
    """Floating-point operations of the matrix products in a traced function; no other operation counts.

    Raises:
      ValueError: a product's shape is not static.
    """
    return sum(map(product_flops, used_products(function)))


def traced_training_step(config: ExperimentConfig, xla: str = "off") -> tf.types.experimental.ConcreteFunction:
    """A training step as a graph, the whole batch at once."""
    gan = build_gan(override(config, {"train.xla": xla, "train.microbatch": config.train.batch_size}))
    data = config.data
    images = tf.TensorSpec([config.train.batch_size, data.image_size, data.image_size, data.num_channels])
    return tf.function(gan.train_step, autograph=False).get_concrete_function(images)


def training_step_flops(config: ExperimentConfig) -> int:
    """Floating-point operations of the matrix products of one training step."""
    return matmul_flops(traced_training_step(config))


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long a function takes, beside the matrix products around each of its calls.

    Attributes:
      seconds: of each call.
      products: by dtype, the seconds of the product just before and of the one just after each call.
    """

    seconds: list[float]
    products: dict[str, list[tuple[float, float]]]

    def peaks(self, flops: int) -> dict[str, float]:
        """The machine's speed, and what of it reaches a function of so many floating-point operations.

        Returns:
          matmul_peak_gflops: median speed of the float32 products, 10^9 operations per second.
          fraction_of_matmul_peak: operations per second of a call over those of its two neighbours, median over
            calls.
          And of each other dtype, "bfloat16" say, bfloat16_matmul_peak_gflops and fraction_of_bfloat16_matmul_peak.
        """
        result, large = {}, 2 * MATMUL_SIZE**3
        for dtype, pairs in self.products.items():
            prefix = "" if dtype == "float32" else f"{dtype}_"
            neighbours = [(before + after) / 2 for before, after in pairs]
            calls_in_products = statistics.median(call / pair for call, pair in zip(self.seconds, neighbours))
            result[f"{prefix}matmul_peak_gflops"] = rounded(large / statistics.median(neighbours) / 1e9)
            result[f"fraction_of_{prefix}matmul_peak"] = rounded(flops / large / calls_in_products)
        return result


def time_between_products(
    functions: Sequence[Callable[[], Any]], repeats: int, dtypes: Sequence[str] = ("float32",)
) -> list[Timing]:
    """Times functions by turns, with large matrix products before and after each call.

    The speed of a processor drifts by several percent within seconds: each call is to be compared with the products
    just before and just after it.

    Args:
      functions: return when what they measure is complete; have been called before.
      repeats: calls of each.
      dtypes: of the products, 4096 x 4096, one of each dtype at a time.

    Returns:
      Of each function, in order.
    """
    timers = {dtype: _product_timer(dtype) for dtype in dtypes}
    timings = [Timing([], {dtype: [] for dtype in dtypes}) for _ in functions]
    for timer in timers.values():
        timer()  # traced
    before = {dtype: timer() for dtype, timer in timers.items()}
    for _ in range(repeats):
        for function, timing in zip(functions, timings):
            timing.seconds.append(_seconds(function))
            after = {dtype: timer() for dtype, timer in timers.items()}
            for dtype in dtypes:
                timing.products[dtype].append((before[dtype], after[dtype]))
            before = after
    return timings


def _product_timer(dtype: str) -> Callable[[], float]:
    square = tf.cast(tf.random.normal([MATMUL_SIZE, MATMUL_SIZE]), dtype)
    # One number is fetched, so that the product is complete when the clock stops.
    product = tf.function(lambda: tf.matmul(square, square)[0, 0], autograph=False)
    return lambda: _seconds(lambda: product().numpy())


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _peak_memory_gb() -> float:
    """Largest resident size of the process so far, 10^9 bytes."""
    return rounded(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)  # kilobytes on Linux


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
    peak_memory_gb = _peak_memory_gb()
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


def measure_sampling(
    config: ExperimentConfig, num_draws: int, batch_sizes: Sequence[int] = SAMPLED_BATCH_SIZES
) -> dict[str, Any]:
    """Times the drawing of images by the generator of a moving average, as evaluations do it.

    The moving average is in float32 whatever the precision of the training; here its weights are untrained. The batch
    sizes are drawn by turns, with large matrix products between them.

    Args:
      config: the generator is taken from it.
      num_draws: timed batches of each size, after two that are not.
      batch_sizes: images at a time, from small to large, each a multiple of 16.

    Returns:
      dataset, draws.
      gflops_per_image: counted floating-point operations of the matrix products, 10^9, at the largest batch size.
      batch_sizes: for each, in order
        batch_size.
        images_per_second: batch size over the median time of a batch, from seed to uint8.
        milliseconds_per_image: its inverse.
        matmul_peak_gflops, fraction_of_matmul_peak: as of `measure_training`.
        peak_memory_gb: largest resident size of the process up to there, 10^9 bytes: two batches of this size and of
          each smaller one, without the products beside which they are measured.
    """
    tf.keras.utils.set_random_seed(config.train.seed)
    generator = build_generator(config)

    def draw(latents: tf.Tensor) -> tf.Tensor:
        return generator(latents)

    def batch_of(sampler: ImageSampler) -> Callable[[], Any]:
        return lambda: sampler.images(sampler.images_per_step, config.train.seed)

    samplers = [ImageSampler(draw, generator.latent_dim, batch_size) for batch_size in batch_sizes]
    batches, memory = [batch_of(sampler) for sampler in samplers], []
    for batch in batches:
        batch()
        batch()
        memory.append(_peak_memory_gb())
    timings = time_between_products(batches, num_draws)
    rows = []
    for sampler, timing, peak_memory_gb in zip(samplers, timings, memory):
        size, seconds = sampler.images_per_step, statistics.median(timing.seconds)
        concrete = tf.function(draw, autograph=False).get_concrete_function(
            tf.TensorSpec([size, generator.latent_dim])
        )
        flops = matmul_flops(concrete)
        rows.append(
            {
                "batch_size": size,
                "images_per_second": rounded(size / seconds),
                "milliseconds_per_image": rounded(1000 * seconds / size),
                **timing.peaks(flops),
                "peak_memory_gb": peak_memory_gb,
            }
        )
    return {
        "dataset": config.data.dataset,
        "draws": num_draws,
        "gflops_per_image": rounded(flops / size / 1e9),
        "batch_sizes": rows,
    }


RENDER_SCALES = (1.0, 1.5, 2.0, 4.0)


def measure_rendering(model: tf.Module, num_images: int, repeats: int = 5) -> dict[str, Any]:
    """Cost of drawing the same images at several resolutions, and how alike they are.

    Args:
      model: a generator from `sampling.load`, with a Fourier decoder.
      num_images: images per drawing, from fixed latents.
      repeats: timed drawings at each scale, one scale after the other.

    Returns:
      num_images and scales; and for each scale
      milliseconds_per_image: median over the repeats.
      relative_cost_per_pixel: time per pixel over that at scale 1.
      difference_from_native: mean absolute difference, in levels of 255, between the images at scale 1 and those at
        this scale averaged down to the same size; null where the scale is not a whole number.
    """
    styles = model.map_latents(tf.random.stateless_normal([num_images, latent_dim(model)], [0, 0]))["styles"]

    def draw(scale: float) -> tuple[tf.Tensor, float]:
        start = time.perf_counter()
        images = model.render(styles, scale)["images"]
        images.numpy()
        return images, time.perf_counter() - start

    native = draw(1.0)[0]
    seconds: dict[float, list[float]] = {scale: [] for scale in RENDER_SCALES}
    differences = {}
    for scale in RENDER_SCALES:
        images, _ = draw(scale)
        small = tf.image.resize(images, native.shape[1:3], method="area") if scale.is_integer() else None
        difference = None if small is None else float(tf.reduce_mean(tf.abs(small - native))) * 127.5
        differences[scale] = None if difference is None else rounded(difference)
    for _ in range(repeats):
        for scale in RENDER_SCALES:
            seconds[scale].append(draw(scale)[1])
    medians = {scale: statistics.median(values) for scale, values in seconds.items()}
    return {
        "num_images": num_images,
        "scales": [
            {
                "scale": scale,
                "milliseconds_per_image": rounded(1000 * medians[scale] / num_images),
                "relative_cost_per_pixel": rounded(medians[scale] / medians[1.0] / scale**2),
                "difference_from_native": differences[scale],
            }
            for scale in RENDER_SCALES
        ],
    }


def rounded(value: float) -> float:
    """To four significant digits."""
    return round(value, 3 - math.floor(math.log10(abs(value)))) if value else 0.0
