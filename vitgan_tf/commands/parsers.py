"""Parsers of the values of flags."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from typing import Any, Callable

from absl import flags

_MAX_PATH_BYTES = 4095  # Linux's limit
MAX_RANGE = 10_000_000


class PathParser(flags.ArgumentParser):
    """Parses a path and expands its ~, which shells leave alone in --name=~/folder.

    Args:
      suffixes: endings of which the path must have one, in any case; none for any.
    """

    def __init__(self, suffixes: Sequence[str] = ()):
        super().__init__()
        self._suffixes = tuple(suffixes)

    def parse(self, argument: str) -> str:
        if not argument:
            raise ValueError("a path cannot be empty")
        try:
            num_bytes = len(argument.encode())
        except UnicodeEncodeError as error:  # sys.argv holds lone surrogates, which TensorFlow refuses
            raise ValueError("a path must be UTF-8") from error
        if num_bytes > _MAX_PATH_BYTES or "\0" in argument:
            raise ValueError(f"a path must have at most {_MAX_PATH_BYTES} bytes and no null bytes")
        if self._suffixes and not argument.lower().endswith(self._suffixes):
            raise ValueError(f"the file's name must end in {' or '.join(self._suffixes)}")
        return os.path.expanduser(argument)


class FiniteParser(flags.FloatParser):
    """Parses a number other than infinity and NaN."""

    def parse(self, argument: str | float) -> float:
        value = super().parse(argument)
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value


class NumbersParser(flags.ArgumentParser):
    """Parses numbers, separated by commas.

    Args:
      number: parses one of them.
      bounds: lowest and highest number that is allowed.
      are_different: whether a number that is given twice is refused.
    """

    syntactic_help = "numbers, separated by commas"

    def __init__(
        self,
        number: Callable[[Any], Any],
        bounds: tuple[float, float] = (-math.inf, math.inf),
        are_different: bool = False,
    ):
        super().__init__()
        self._number = number
        self._bounds = bounds
        self._are_different = are_different

    def parse(self, argument: str | list[Any]) -> list[Any]:
        try:
            numbers = [self._number(part) for part in argument.split(",")] if isinstance(argument, str) else argument
        except ValueError as error:
            kind = "whole numbers" if self._number is int else "numbers"
            raise ValueError(f"write {kind}, separated by commas") from error
        low, high = self._bounds
        if not all(low <= number <= high for number in numbers):
            raise ValueError(f"must be between {low} and {high}")
        if self._are_different and len(set(numbers)) < len(numbers):
            raise ValueError("a number is given twice")
        return numbers


class RangesParser(flags.ArgumentParser):
    """Parses different whole numbers and ranges of them, separated by commas: 0-31,100.

    Args:
      highest: highest number that is allowed; the lowest is 0.
    """

    syntactic_help = "whole numbers and ranges, separated by commas"

    def __init__(self, highest: int):
        super().__init__()
        self._highest = highest

    def parse(self, argument: str | Sequence[int]) -> list[int]:
        if not isinstance(argument, str):
            return list(argument)
        numbers: list[int] = []
        for part in argument.split(","):
            found = re.fullmatch(r"\s*([0-9]{1,10})(?:-([0-9]{1,10}))?\s*", part)
            if found is None:
                raise ValueError("write whole numbers and ranges, separated by commas: 0-31,100")
            first, last = int(found[1]), int(found[2] or found[1])
            if not first <= last <= self._highest:
                raise ValueError(f"must be between 0 and {self._highest}, the lower number of a range first")
            if last - first >= MAX_RANGE:
                raise ValueError(f"a range has at most {MAX_RANGE:,} numbers")
            numbers += range(first, last + 1)
        if len(set(numbers)) < len(numbers):
            raise ValueError("a number is given twice")
        return numbers


class EdgeParser(flags.IntegerParser):
    """Parses the edge of a square image, also when it is written as 64x64."""

    def parse(self, argument: str | int) -> int:
        size = re.fullmatch(r"(\d+)\s*[xX*,]\s*(\d+)", str(argument))
        if size is None:
            return self._whole(argument)
        edge = min(int(size[1]), int(size[2]))
        if size[1] != size[2]:
            raise ValueError(
                f"images are square: --resolution={edge} takes the largest centred square of each picture"
            )
        return edge

    def _whole(self, argument: str | int) -> int:
        try:
            value = float(argument)
        except ValueError:
            value = math.nan
        if not value.is_integer() or value < 1:
            raise ValueError("write the edge of the images in pixels, for example --resolution=64")
        return int(value)
