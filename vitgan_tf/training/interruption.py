"""Requests to stop training: Ctrl-C, SIGTERM and the preemption of a Google Cloud machine."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

from absl import logging

from vitgan_tf.errors import Interrupted
from vitgan_tf.notebook import in_notebook
from vitgan_tf.signals import handled
from vitgan_tf.training.callbacks.base import StepCallback

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_SECONDS = 5.0
# Metadata that announce a termination (Compute Engine, "Handle preemption"; TPU VMs, "maintenance events").
_GOOGLE_NOTICES = {"preempted": "TRUE", "maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE"}


class StopRequest(StepCallback):
    """Stops training at the first SIGINT or SIGTERM: after the current step if one is running, else at once.

    Signals are handled inside the context `received` and only on the main thread. The first signal raises
    `Interrupted`: at the end of a running step, so that the state is that between two steps; at once during samples,
    scores and checkpoints, and until the first step is complete. The second signal ends the process at once, in a
    notebook the training alone.

    As a callback, it comes before all callbacks that take time.
    """

    def __init__(self, first_step: int = 0, total_steps: int = 0):
        super().__init__(first_step, total_steps)
        self._is_computing = False
        self._received: int | None = None

    @contextlib.contextmanager
    def received(self) -> Iterator[None]:
        """Installs the signal handlers, and restores the previous ones on exit."""
        with handled(_SIGNALS, self._handle) as is_handled, contextlib.ExitStack() as notices:
            if is_handled:
                notices.enter_context(_google_notices())
            yield

    def _handle(self, number: int, _: object) -> None:
        if self._received is not None:
            message = "stopped at once: the state is that of the last checkpoint"
            if in_notebook():
                raise KeyboardInterrupt(message)
            os.write(2, f"{message}\n".encode())
            os._exit(128 + number)
        self._received = number
        if not self._is_computing:
            raise Interrupted(number)
        logging.info("%s: stopping after this step", signal.Signals(number).name)

    def check(self) -> None:
        """Raises `Interrupted` if a signal was received."""
        if self._received is not None:
            raise Interrupted(self._received)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # The first step may take minutes to trace and compile, and leaves nothing to save until it is complete.
        self._is_computing = batch > 0

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        self._is_computing = False
        self.check()


@contextlib.contextmanager
def _google_notices() -> Iterator[None]:
    """Sends this process SIGTERM when its Google Cloud machine is about to be terminated; no-op elsewhere."""
    host = os.environ.get("GCE_METADATA_HOST") or ("metadata.google.internal" if _is_google_machine() else None)
    if host is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(host, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _is_google_machine() -> bool:
    with contextlib.suppress(OSError), open("/sys/class/dmi/id/product_name", encoding="utf-8") as file:
        return "Google" in file.read()
    return False


_NO_ANSWER = (OSError, http.client.HTTPException)


def _watch(host: str, ended: threading.Event) -> None:
    # The metadata server is local and must not be reached through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while not ended.wait(_POLL_SECONDS):
        for name, notice in _GOOGLE_NOTICES.items():
            url = f"http://{host}/computeMetadata/v1/instance/{name}"
            request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
            # No answer, or an invalid one: ask again.
            with contextlib.suppress(*_NO_ANSWER), opener.open(request, timeout=_POLL_SECONDS) as answer:
                if answer.read(100).decode("ascii", "replace").strip() == notice:
                    logging.warning("this machine is about to be terminated (%s)", name)
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
