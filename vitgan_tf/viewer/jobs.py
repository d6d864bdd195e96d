"""The viewer's projection queue, and the dropping of outdated requests."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator

import numpy as np

from vitgan_tf.errors import UserError
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.projection import Projection, Projector, Search

# Finished projections that are kept, and searches that wait for their turn.
MAX_KEPT, MAX_WAITING = 20, 3
_MAX_CLIENTS = 1000


class OvertakenError(Exception):
    """A newer request of the same kind has come in meanwhile."""


class Turns:
    """Lets one request at a time compute, and drops those that a newer one of the same client has overtaken."""

    def __init__(self) -> None:
        self._computing, self._noting = threading.Lock(), threading.Lock()
        self._newest: collections.OrderedDict[str, int] = collections.OrderedDict()

    @contextlib.contextmanager
    def turn(self, client: str, order: int) -> Iterator[None]:
        """Waits for the turn of a request.

        Args:
          client: identifies the picture on a page; newer requests replace older ones of the same client.
          order: number of the request; a higher one is newer.

        Raises:
          OvertakenError: a newer one has come in.
        """
        with self._noting:
            self._newest[client] = max(order, self._newest.get(client, order))
            self._newest.move_to_end(client)
            if len(self._newest) > _MAX_CLIENTS:
                self._newest.popitem(last=False)
        with self._computing:
            if order < self._newest.get(client, order):
                raise OvertakenError
            yield


@dataclasses.dataclass
class Job:
    """A search for the styles that reproduce a picture.

    Attributes:
      target: the picture, (size, size, num_channels) uint8.
      step, steps: how far it is.
      result: what it has found, once it is done.
      error: why it failed.
    """

    target: np.ndarray
    steps: int
    step: int = 0
    result: Projection | None = None
    error: str | None = None


class Projections:
    """Searches of one generator, in a thread of their own, one after the other.

    Args:
      generator: whose styles are searched.
      steps: steps of a search.
    """

    def __init__(self, generator: Generator, steps: int):
        self._generator = generator
        self._steps = steps
        self._projector: Projector | None = None
        self._numbers = itertools.count()
        self._jobs: collections.OrderedDict[int, Job] = collections.OrderedDict()
        self._busy, self._noting = threading.Lock(), threading.Lock()

    def check_room(self) -> None:
        """Raises UserError if too many searches wait."""
        with self._noting:
            waiting = [job for job in self._jobs.values() if job.result is None and job.error is None]
        if len(waiting) > MAX_WAITING:
            raise UserError(f"{len(waiting)} searches wait already: try again when one is done")

    def start(self, target: np.ndarray) -> int:
        """Starts a search when its turn comes, and returns its number.

        Raises:
          UserError: too many searches wait.
        """
        self.check_room()
        number, job = next(self._numbers), Job(target, self._steps)
        with self._noting:
            self._jobs[number] = job
            while len(self._jobs) > MAX_KEPT:
                self._jobs.popitem(last=False)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return number

    def job(self, number: int) -> Job:
        """Returns a search.

        Raises:
          UserError: it is not known, or no longer kept.
        """
        job = self._jobs.get(number)
        if job is None:
            raise UserError(f"there is no projection {number}: project the picture again")
        return job

    def styles(self, number: int) -> np.ndarray:
        """Returns the styles that a search has found: (num_styles, style_dim).

        Raises:
          UserError: it is not known or not done.
        """
        result = self.job(number).result
        if result is None:
            raise UserError(f"projection {number} is not done")
        return result.styles

    def _run(self, job: Job) -> None:
        def show(step: int) -> None:
            job.step = step

        with self._busy:
            try:
                if self._projector is None:
                    self._projector = Projector(self._generator, Search(self._steps, optimizes_noise=False))
                job.result = self._projector.project(job.target, on_step=show)
            except Exception as error:  # shown on the page: the thread has nobody else to tell
                job.error = str(error) or type(error).__name__
