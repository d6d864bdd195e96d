"""How far a long loop is: a bar on a terminal, now and then a line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm
from absl import logging

LOG_SECONDS = 30.0
_LINE = "{desc}: {n_fmt}/{total_fmt} ({percentage:.0f} %), {elapsed} passed, {remaining} left, {rate_fmt}"

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, total: int, unit: str, done: int = 0) -> Iterator[Item]:
    """The items, one after the other, while it is shown how many of them have passed.

    Args:
      items: to be passed on.
      description: what is done with them.
      total: how many there are in all.
      unit: what one of them is.
      done: how many were done before, not among the items.
    """
    if sys.stderr.isatty():
        yield from tqdm.tqdm(items, description, total, initial=done, unit=unit, dynamic_ncols=True, leave=False)
        return
    started = last_line = time.time()
    for number, item in enumerate(items, start=done + 1):
        yield item
        now = time.time()
        if now - last_line >= LOG_SECONDS:
            last_line = now
            line = tqdm.tqdm.format_meter(
                number, total, now - started, prefix=description, unit=unit, initial=done, bar_format=_LINE
            )
            logging.info("%s", line)
