"""Interprets lines of metrics.jsonl: their source, step and distance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from vitgan_tf.files import parsed_json

Line = TypeVar("Line", bound=Mapping[str, Any])

# Entry "source" of the lines that the training writes; those of `vitgan evaluate` have another one.
TRAINING = "training"
# Name of the sliced Wasserstein distance, which every evaluation of images has.
SWD = "swd"


def training_lines(lines: Iterable[Line]) -> list[Line]:
    """Returns the lines that the training wrote."""
    return [line for line in lines if line.get("source", TRAINING) == TRAINING]


def scores_of(lines: Iterable[Mapping[str, Any]], step: int | None, weights: str) -> dict[str, Any]:
    """Returns the scores of a generator as it is: not truncated, and beside the images of its training.

    Args:
      lines: lines of metrics.jsonl.
      step: its training step.
      weights: its weights, "ema" or "raw".

    Returns:
      The last line of the training for them, else the last one of `vitgan evaluate`; empty if there is none.
    """
    own = [
        line
        for line in lines
        if (line.get("step"), line.get("weights", "ema")) == (step, weights)
        and line.get("truncation", 1.0) == 1.0
        and "reference" not in line
    ]
    return dict((training_lines(own) or own or [{}])[-1])


def training_step(line: bytes) -> float:
    """Returns the step of an encoded line of the training: -1 for other lines, infinity for a truncated one."""
    try:
        values = parsed_json(line)
        return float(values["step"]) if values.get("source", TRAINING) == TRAINING else -1
    except (ValueError, KeyError, TypeError, AttributeError):
        return float("inf")


def distance_name(lines: Iterable[Mapping[str, Any]]) -> str | None:
    """Returns the name of the distance that tells the best line of the training; None if there are no scores.

    The Frechet distance: digits_fd, fid5k...; in lines without one, the sliced Wasserstein distance, swd.
    """
    names = list(dict.fromkeys(name for line in training_lines(lines) for name in line))
    distances = [name for name in names if re.fullmatch(r"\w+_fd|(\w+_)?fid\d\w*", name)]
    return next(iter([*distances, *(name for name in names if name == SWD)]), None)
