"""Contexts that change the whole process, for code that may run in several threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Callable


def shared_context(changes: Callable[[], Iterator[None]]) -> Callable[[], contextlib._GeneratorContextManager[None]]:
    """Decorates a generator function like `contextlib.contextmanager`, for contexts that overlap.

    The first context to be entered makes the changes, and the last to be left undoes them.
    """
    lock, stack, num_open = threading.Lock(), contextlib.ExitStack(), 0

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        nonlocal num_open
        with lock:
            if num_open == 0:
                stack.enter_context(contextlib.contextmanager(changes)())
            num_open += 1
        try:
            yield
        finally:
            with lock:
                num_open -= 1
                if num_open == 0:
                    stack.close()

    context.__doc__ = changes.__doc__
    return context
