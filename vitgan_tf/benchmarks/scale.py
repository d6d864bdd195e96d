"""How the cost of a training step grows with the batch and with the number of tokens.

Each row is measured in a process of its own: memory and time to the first step are its alone. Importing this module
imports no TensorFlow, which would take a GPU's memory away from these processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Callable

from absl import logging

from vitgan_tf.config import ExperimentConfig, override
from vitgan_tf.errors import UserError

BATCH_SIZES = (16, 32, 64, 128)
# Tokens along the edge of an image; the second is the paper's, to which the others are compared.
GRID_SIZES = (4, 8, 16)
PAPER_GRID_SIZE = 8
TOKENS_BATCH_SIZE = 32
# Of `measure_training`, as they are.
_COPIED = ("microbatch", "fraction_of_matmul_peak", "matmul_peak_gflops", "peak_memory_gb", "seconds_to_first_step")

Measure = Callable[[dict[str, Any]], dict[str, Any]]


def measure_scale(config: ExperimentConfig, measure: Measure) -> dict[str, Any]:
    """Cost per image of a training step at several batch sizes, and at several numbers of tokens.

    Two ratios compare each row with another: of the times as they are; and "at equal peak", of the times counted in
    large matrix products of the same minute, which leaves out that the machine is faster in one row than in the next.

    Args:
      config: of the step; its own batch size is not used.
      measure: fields to be changed in config, by path -> result of `measure_training`.

    Returns:
      dataset, xla, precision, steps.
      largest_batch_deviation: largest |relative_time_at_equal_peak - 1| over the batch sizes.
      batch_sizes: for 16, 32, 64 and 128 images, with the patches of config,
        batch_size, milliseconds_per_image, gflops_per_image (counted operations of the matrix products, 10^9).
        relative_time_per_image: over that of the smallest batch.
        relative_time_at_equal_peak: the same at equal peak.
      tokens: for 16, 64 and 256 tokens of each network, as many as the images have pixels for, by larger and smaller
        patches that overlap by half a patch, at batch size 32,
        tokens, patch_size, patch_overlap, milliseconds_per_image, gflops_per_image.
        relative_time_per_image, relative_gflops_per_image: over those of 64 tokens.
        relative_time_per_gflop: the ratio of these two; 1 where time is what the arithmetic says.
        relative_time_per_gflop_at_equal_peak: the same at equal peak.
      And in each row, as of `measure_training`, microbatch, fraction_of_matmul_peak, matmul_peak_gflops,
      peak_memory_gb and seconds_to_first_step.

    Raises:
      UserError: images of config cannot be divided into 8 x 8 patches, or a row cannot be measured.
    """
    image_size = config.data.image_size
    if image_size % PAPER_GRID_SIZE:
        raise UserError(
            f"scale compares with {PAPER_GRID_SIZE} x {PAPER_GRID_SIZE} patches: data.image_size must be a multiple "
            f"of {PAPER_GRID_SIZE}, got {image_size}"
        )
    patch_sizes = [image_size // grid for grid in GRID_SIZES if image_size % grid == 0]
    batch_fields = [{"train.batch_size": batch_size} for batch_size in BATCH_SIZES]
    token_fields = [_token_fields(patch_size) for patch_size in patch_sizes]
    all_fields = [*batch_fields, *token_fields]
    for fields in all_fields:
        override(config, fields)  # what does not go together is said before anything is measured
    results = []
    for number, fields in enumerate(all_fields, 1):
        logging.info("measuring %d of %d: %s", number, len(all_fields), " ".join(as_flags(fields)))
        results.append(measure(fields))
    batches, tokens = results[: len(batch_fields)], results[len(batch_fields) :]
    reference = tokens[patch_sizes.index(image_size // PAPER_GRID_SIZE)]
    batch_rows = [
        {
            "batch_size": result["batch_size"],
            **_per_image(result),
            "relative_time_per_image": _ratio(_seconds(result), _seconds(batches[0])),
            "relative_time_at_equal_peak": _ratio(_products(result), _products(batches[0])),
            **{name: result[name] for name in _COPIED},
        }
        for result in batches
    ]
    token_rows = [
        {
            "tokens": (image_size // patch_size) ** 2,
            "patch_size": patch_size,
            "patch_overlap": fields["discriminator.patch_overlap"],
            **_per_image(result),
            "relative_time_per_image": _ratio(_seconds(result), _seconds(reference)),
            "relative_gflops_per_image": _ratio(_gflops(result), _gflops(reference)),
            "relative_time_per_gflop": _ratio(
                _seconds(result) / _gflops(result), _seconds(reference) / _gflops(reference)
            ),
            "relative_time_per_gflop_at_equal_peak": _ratio(
                reference["fraction_of_matmul_peak"], result["fraction_of_matmul_peak"]
            ),
            **{name: result[name] for name in _COPIED},
        }
        for patch_size, fields, result in zip(patch_sizes, token_fields, tokens)
    ]
    deviations = [abs(_products(result) / _products(batches[0]) - 1.0) for result in batches]
    return {
        **{name: results[0][name] for name in ("dataset", "xla", "precision", "steps")},
        "largest_batch_deviation": round(max(deviations), 4),
        "batch_sizes": batch_rows,
        "tokens": token_rows,
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
        "milliseconds_per_image": _ratio(1000 * result["step_seconds"], result["batch_size"]),
        "gflops_per_image": _ratio(result["gflops_per_step"], result["batch_size"]),
    }


def _seconds(result: dict[str, Any]) -> float:
    """Per image."""
    return result["step_seconds"] / result["batch_size"]


def _gflops(result: dict[str, Any]) -> float:
    """Per image."""
    return result["gflops_per_step"] / result["batch_size"]


def _products(result: dict[str, Any]) -> float:
    """Time per image, in that of large matrix products of 10^9 operations around it."""
    return _gflops(result) / result["fraction_of_matmul_peak"]


def _ratio(value: float, other: float) -> float:
    """To four significant digits."""
    return float(f"{value / other:.4g}")


def as_flags(fields: dict[str, Any]) -> list[str]:
    """Configuration fields by path, as `command_line` takes them."""
    return [
        f"--{path}={','.join(value) if isinstance(value, (list, tuple)) else value}" for path, value in fields.items()
    ]


def in_own_process(command: Sequence[str]) -> Measure:
    """Measures by a command that gets the fields as further flags, and whose last line is the result as JSON.

    The function that it returns raises UserError, with the command's last line on standard error, where it fails.
    """

    def measure(fields: dict[str, Any]) -> dict[str, Any]:
        arguments = as_flags(fields)
        process = subprocess.run([*command, *arguments], capture_output=True, text=True)
        if process.returncode:
            lines = process.stderr.strip().splitlines()
            reason = lines[-1] if process.returncode == 1 and lines else f"exit code {process.returncode}"
            raise UserError(f"cannot measure {' '.join(arguments)}: {reason}")
        print(process.stderr, end="", file=sys.stderr)
        return json.loads(process.stdout.splitlines()[-1])

    return measure
