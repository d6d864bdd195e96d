"""Speed and memory of the training step, beside the machine's own matrix products; cost and likeness of renders."""

from __future__ import annotations

import math
import resource
import statistics
import time
from typing import Any

import psutil
import tensorflow as tf

from vitgan_tf.config import ExperimentConfig, override
from vitgan_tf.sampling import latent_dim
from vitgan_tf.training.experiment import build_gan, resolve_xla

MATMUL_SIZE = 4096


def matmul_flops(function: tf.types.experimental.ConcreteFunction) -> int:
    """Floating-point operations of the matrix products in a traced function.

    Counts 2 m n k for each product whose result is used, and no other operation.

    Raises:
      ValueError: a product's shape is not static.
    """
    flops = 0
    seen = set()
    pending = [tensor.op for tensor in function.graph.outputs] + list(function.graph.control_outputs)
    while pending:
        operation = pending.pop()
        if operation in seen:
            continue
        seen.add(operation)
        pending += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
        if operation.type in ("MatMul", "BatchMatMulV2"):
            left, product = operation.inputs[0].shape, operation.outputs[0].shape
            if not (left.is_fully_defined() and product.is_fully_defined()):
                raise ValueError(f"shape of {operation.name} is not static")
            transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
            flops += 2 * product.num_elements() * (left[-2] if transposed else left[-1])
    return flops


def training_step_flops(config: ExperimentConfig) -> int:
    """Floating-point operations of the matrix products of one training step."""
    gan = build_gan(override(config, {"train.xla": "off"}))
    data = config.data
    images = tf.TensorSpec([config.train.batch_size, data.image_size, data.image_size, data.num_channels])
    return matmul_flops(tf.function(gan.train_step, autograph=False).get_concrete_function(images))


def measure_training(config: ExperimentConfig, num_steps: int) -> dict[str, Any]:
    """Times training steps on random images, between large matrix products.

    The speed of a processor drifts by several percent within seconds: every step is compared with the products
    just before and just after it.

    Args:
      config: networks, batch size and compilation are taken from it; its data set is not read.
      num_steps: timed steps, after three that are not.

    Returns:
      images_per_second: batch size over the median step time. The step is Keras' own training function with
        everything in it: data iterator, both updates, moving average, metrics.
      step_seconds, step_seconds_min: median and shortest step.
      gflops_per_step: counted floating-point operations of the step's matrix products, 10^9.
      matmul_peak_gflops: median speed of the interleaved 4096 x 4096 float32 products, 10^9 operations per second.
      fraction_of_matmul_peak: operations per second of a step over those of its two neighbours, median over steps.
      peak_memory_gb: largest resident size of the process, 10^9 bytes.
      seconds_to_first_step: from the start of the process to the end of its first step, with imports, tracing
        and compilation.
      And dataset, batch_size, xla, steps.
    """
    gan = build_gan(config)
    data, batch_size = config.data, config.train.batch_size
    images = tf.random.uniform([batch_size, data.image_size, data.image_size, data.num_channels], -1.0, 1.0)
    iterator = iter(tf.data.Dataset.from_tensors(images).repeat())
    train_function = gan.make_train_function()

    def train_seconds() -> float:
        start = time.perf_counter()
        tf.nest.map_structure(lambda value: value.numpy(), train_function(iterator))
        return time.perf_counter() - start

    square = tf.random.normal([MATMUL_SIZE, MATMUL_SIZE])
    # One number is fetched, so that the product is complete when the clock stops.
    product = tf.function(lambda: tf.matmul(square, square)[0, 0], autograph=False)

    def matmul_seconds() -> float:
        start = time.perf_counter()
        product().numpy()
        return time.perf_counter() - start

    train_seconds()
    seconds_to_first_step = time.time() - psutil.Process().create_time()
    train_seconds()
    train_seconds()
    matmul_seconds()
    steps, products = [], [matmul_seconds()]
    for _ in range(num_steps):
        steps.append(train_seconds())
        products.append(matmul_seconds())
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    flops, product_flops = training_step_flops(config), 2 * MATMUL_SIZE**3
    products_per_step = statistics.median(
        2 * step / (before + after) for step, before, after in zip(steps, products, products[1:])
    )
    step_seconds = statistics.median(steps)
    return {
        "dataset": data.dataset,
        "batch_size": batch_size,
        "xla": resolve_xla(config.train.xla),
        "steps": num_steps,
        "images_per_second": rounded(batch_size / step_seconds),
        "step_seconds": rounded(step_seconds),
        "step_seconds_min": rounded(min(steps)),
        "gflops_per_step": rounded(flops / 1e9),
        "matmul_peak_gflops": rounded(product_flops / statistics.median(products) / 1e9),
        "fraction_of_matmul_peak": rounded(flops / product_flops / products_per_step),
        "peak_memory_gb": rounded(peak_memory / 1e9),
        "seconds_to_first_step": rounded(seconds_to_first_step),
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

    native, seconds = draw(1.0)[0], {scale: [] for scale in RENDER_SCALES}
    differences = {}
    for scale in RENDER_SCALES:
        images, _ = draw(scale)
        small = tf.image.resize(images, native.shape[1:3], method="area") if scale.is_integer() else None
        differences[scale] = None if small is None else float(tf.reduce_mean(tf.abs(small - native))) * 127.5
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
                "difference_from_native": None if differences[scale] is None else rounded(differences[scale]),
            }
            for scale in RENDER_SCALES
        ],
    }


def rounded(value: float) -> float:
    """To four significant digits."""
    return round(value, 3 - math.floor(math.log10(abs(value)))) if value else 0.0
