"""Signal handlers that are installed for a while."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Callable


@contextlib.contextmanager
def handled(numbers: Sequence[int], handler: Callable[[int, Any], Any]) -> Iterator[bool]:
    """Installs a signal handler, and restores the previous ones on exit.

    Python allows handlers in the main thread alone: elsewhere, nothing is installed.

    Args:
      numbers: signals to handle.
      handler: called with the signal's number and the interrupted frame.

    Yields:
      Whether the handler is installed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield True
    finally:
        for number, previous in before.items():
            # None stands for a handler of C code, which Python cannot restore.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
