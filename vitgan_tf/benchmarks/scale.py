"""Growth of the cost of a training step with the batch size and the number of tokens.

Each row is measured in its own process, so that memory and time to the first step are its own. Importing this module
does not import TensorFlow, which would take GPU memory away from these processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from absl import logging

from vitgan_tf.config import ExperimentConfig, override
from vitgan_tf.errors import UserError

BATCH_SIZES = (16, 32, 64, 128)
# Tokens along the edge of an image; the others are compared with the paper's 8.
GRID_SIZES = (4, 8, 16)
PAPER_GRID_SIZE = 8
TOKENS_BATCH_SIZE = 32
# Copied unchanged from `measure_training`.
_COPIED = ("microbatch", "fraction_of_matmul_peak", "matmul_peak_gflops", "peak_memory_gb", "seconds_to_first_step")

Measure = Callable[[dict[str, Any]], dict[str, Any]]


def measure_scale(config: ExperimentConfig, measure: Measure) -> dict[str, Any]:
    """Measures the cost per image of a training step at several batch sizes and several numbers of tokens.

    Two ratios compare each row with a reference row: of the times as measured; and "at equal peak", of the times in
    units of the large matrix products measured alongside, which cancels drifts of the machine's speed between rows.

    Args:
      config: experiment; its batch size is not used.
      measure: changed fields of config, by path -> result of `measure_training`.

    Returns:
      dataset, xla, precision, steps.
      largest_batch_deviation: largest |relative_time_at_equal_peak - 1| over the batch sizes.
      batch_sizes: one row each for 16, 32, 64 and 128 images, with the patches of config,
        batch_size, milliseconds_per_image, gflops_per_image (operations of the matrix products, 10^9).
        relative_time_per_image: relative to the smallest batch.
        relative_time_at_equal_peak: the same at equal peak.
      tokens: one row each for 16, 64 and 256 tokens per network, where the image size allows it, with larger and
        smaller patches that overlap by half a patch, at batch size 32,
        tokens, patch_size, patch_overlap, milliseconds_per_image, gflops_per_image.
        relative_time_per_image, relative_gflops_per_image: relative to 64 tokens.
        relative_time_per_gflop: the ratio of these two; 1 if the time is proportional to the operations.
        relative_time_per_gflop_at_equal_peak: the same at equal peak.
      Each row also has microbatch, fraction_of_matmul_peak, matmul_peak_gflops, peak_memory_gb and
      seconds_to_first_step of `measure_training`.

    Raises:
      UserError: the images cannot be divided into 8 x 8 patches, or a measurement fails.
    """
    image_size = config.data.image_size
    if image_size % PAPER_GRID_SIZE:
        raise UserError(
            f"scale needs {PAPER_GRID_SIZE} x {PAPER_GRID_SIZE} patches as a reference: data.image_size must be a "
            f"multiple of {PAPER_GRID_SIZE}, got {image_size}"
        )
    patch_sizes = [image_size // grid for grid in GRID_SIZES if image_size % grid == 0]
    batch_fields = [{"train.batch_size": batch_size} for batch_size in BATCH_SIZES]
    token_fields = [_token_fields(patch_size) for patch_size in patch_sizes]
    all_fields = [*batch_fields, *token_fields]
    for fields in all_fields:
        override(config, fields)  # reports conflicting fields before any measurement
    results = []
    for number, fields in enumerate(all_fields, 1):
        logging.info("measuring %d of %d: %s", number, len(all_fields), " ".join(as_flags(fields)))
        results.append(measure(fields))
    batches, tokens = results[: len(batch_fields)], results[len(batch_fields) :]
    reference = tokens[patch_sizes.index(image_size // PAPER_GRID_SIZE)]
    deviations = [abs(_products(result) / _products(batches[0]) - 1.0) for result in batches]
    return {
        **{name: results[0][name] for name in ("dataset", "xla", "precision", "steps")},
        "largest_batch_deviation": round(max(deviations), 4),
        "batch_sizes": [_batch_row(result, batches[0]) for result in batches],
        "tokens": [
            {
                "tokens": (image_size // patch_size) ** 2,
                "patch_size": patch_size,
                "patch_overlap": fields["discriminator.patch_overlap"],
                **_token_row(result, reference),
            }
            for patch_size, fields, result in zip(patch_sizes, token_fields, tokens)
        ],
    }


def _batch_row(result: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    return {
        "batch_size": result["batch_size"],
        **_per_image(result),
        "relative_time_per_image": ratio(_seconds(result), _seconds(reference)),
        "relative_time_at_equal_peak": ratio(_products(result), _products(reference)),
        **{name: result[name] for name in _COPIED},
    }


def _token_row(result: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    return {
        **_per_image(result),
        "relative_time_per_image": ratio(_seconds(result), _seconds(reference)),
        "relative_gflops_per_image": ratio(_gflops(result), _gflops(reference)),
        "relative_time_per_gflop": ratio(
            _seconds(result) / _gflops(result), _seconds(reference) / _gflops(reference)
        ),
        "relative_time_per_gflop_at_equal_peak": ratio(
            reference["fraction_of_matmul_peak"], result["fraction_of_matmul_peak"]
        ),
        **{name: result[name] for name in _COPIED},
    }


def _token_fields(patch_size: int) -> dict[str, Any]:
    return {
        "train.batch_size": TOKENS_BATCH_SIZE,
        "generator.patch_size": patch_size,
        "discriminator.patch_size": patch_size,
        "discriminator.patch_overlap": patch_size // 2,
    }


def _per_image(result: dict[str, Any]) -> dict[str, float]:
    return {
        "milliseconds_per_image": ratio(1000 * result["step_seconds"], result["batch_size"]),
        "gflops_per_image": ratio(result["gflops_per_step"], result["batch_size"]),
    }


def _seconds(result: dict[str, Any]) -> float:
    """Seconds per image."""
    return result["step_seconds"] / result["batch_size"]


def _gflops(result: dict[str, Any]) -> float:
    """Floating-point operations per image, 10^9."""
    return result["gflops_per_step"] / result["batch_size"]


def _products(result: dict[str, Any]) -> float:
    """Time per image, in units of 10^9 operations of the large matrix products measured alongside."""
    return _gflops(result) / result["fraction_of_matmul_peak"]


def ratio(value: float, other: float) -> float:
    """Returns a ratio, to four significant digits."""
    return float(f"{value / other:.4g}")


def as_flags(fields: dict[str, Any]) -> list[str]:
    """Returns configuration fields, given by path, as command-line flags."""
    return [
        f"--{path}={','.join(value) if isinstance(value, (list, tuple)) else value}" for path, value in fields.items()
    ]


def in_own_process(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measure:
    """Returns a `Measure` that runs a command with the fields as extra flags and reads JSON from its last line.

    What the command logs is printed on standard error. If it fails, the `Measure` raises UserError with the last line
    of that or the exit code.

    Args:
      command: program and arguments.
      environment: environment variables of the process; None for those of this process.
    """

    def measure(fields: dict[str, Any]) -> dict[str, Any]:
        arguments = as_flags(fields)
        process = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)
        lines, reason = process.stderr.strip().splitlines(), f"exit code {process.returncode}"
        if process.returncode == 1 and lines:
            reason = lines.pop()
        print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr)
        if process.returncode:
            raise UserError(f"cannot measure {' '.join(arguments)}: {reason}")
        return json.loads(process.stdout.splitlines()[-1])

    return measure
