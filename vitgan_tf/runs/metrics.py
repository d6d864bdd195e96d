"""What lines of metrics.jsonl say; without TensorFlow, for who only reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Line = TypeVar("Line", bound=Mapping[str, Any])


def training_lines(lines: Iterable[Line]) -> list[Line]:
    """Those that the training wrote: of tools/evaluate.py may be other images, or other numbers of them."""
    return [line for line in lines if line.get("source", "training") == "training"]


def distance_name(lines: Iterable[Mapping[str, Any]]) -> str | None:
    """The Frechet distance in the training's lines: digits_fd, fid5k...; None without any."""
    names = (name for line in training_lines(lines) for name in line)
    return next((name for name in names if re.fullmatch(r"\w+_fd|fid\w*", name)), None)
