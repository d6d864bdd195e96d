"""Progress of long loops: a bar on a terminal and in a notebook, otherwise a log line every `LOG_SECONDS`."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm
from absl import logging

from vitgan_tf.notebook import in_notebook

with warnings.catch_warnings():
    warnings.simplefilter("ignore", tqdm.TqdmWarning)  # in a notebook without ipywidgets, bars are text
    from tqdm import auto

LOG_SECONDS = 30.0
_LINE = "{desc}: {n_fmt}/{total_fmt} ({percentage:.0f} %), {elapsed} elapsed, {remaining} left, {rate_fmt}{postfix}"

Item = TypeVar("Item")


def shows_bars() -> bool:
    """Returns whether progress is shown as bars: on a terminal and in a notebook."""
    return in_notebook() or sys.stderr.isatty()


class Progress:
    """Shows a count that grows to a total, with elapsed and remaining time and rate.

    Args:
      description: shown before the count.
      total: final count.
      unit: unit of the count, in the singular.
      done: initial count.
      is_kept: whether the bar stays on the terminal when it is closed.
    """

    def __init__(self, description: str, total: int, unit: str, done: int = 0, is_kept: bool = False):
        self._description = description
        self._total = total
        self._unit = unit
        self._bar = None
        if shows_bars():
            self._bar = (auto if in_notebook() else tqdm).tqdm(
                desc=description, total=total, initial=done, unit=unit, dynamic_ncols=True, leave=is_kept
            )
        self._last_line = time.time()
        self.restart(done)

    def restart(self, done: int) -> None:
        """Measures the rate from this count on."""
        self._initial, self._started = done, time.time()
        if self._bar is not None:
            self._bar.initial = self._bar.n = done
            self._bar.start_t = self._bar.last_print_t = self._started

    def show(self, done: int, postfix: str = "", is_due: bool = False) -> None:
        """Updates the count.

        Args:
          done: new count.
          postfix: shown after the rate.
          is_due: whether to log a line or redraw the bar at once, however recent the last one is.
        """
        now = time.time()
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if postfix:
                self._bar.set_postfix_str(postfix, refresh=is_due)
        elif is_due or now - self._last_line >= LOG_SECONDS:
            self._last_line = now
            line = tqdm.tqdm.format_meter(
                done,
                self._total,
                now - self._started,
                prefix=self._description,
                unit=self._unit,
                initial=self._initial,
                postfix=postfix,
                bar_format=_LINE,
            )
            logging.info("%s", line)

    def close(self) -> None:
        """Closes the bar. Further calls are no-ops."""
        if self._bar is not None:
            self._bar.close()


def progress(items: Iterable[Item], description: str, total: int, unit: str, done: int = 0) -> Iterator[Item]:
    """Yields the items and shows how many have passed.

    Args:
      items: items to yield.
      description: shown before the count.
      total: number of all items.
      unit: name of an item, in the singular.
      done: number of items that were processed earlier and are not among `items`.
    """
    shown = Progress(description, total, unit, done)
    try:
        for number, item in enumerate(items, start=done + 1):
            yield item
            shown.show(number)
    finally:
        shown.close()
