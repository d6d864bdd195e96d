"""TensorBoard events of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.errors import UserError, first_line


@contextlib.contextmanager
def written_if_possible(what: str) -> Iterator[None]:
    """Turns write errors, such as a full disk, into a warning: optional output must not end a run."""
    try:
        yield
    except (OSError, UserError, tf.errors.OpError) as error:
        logging.warning("cannot write %s (%s): training continues", what, first_line(error))


class Summaries:
    """Writes events to a new file in a directory, flushed at once. Failed writes are lost, with a warning.

    Scalars are written by a graph, because TensorFlow 2.15 leaks a few bytes per tensor created outside a graph.
    """

    def __init__(self, directory: str):
        self._writer = tf.summary.create_file_writer(directory)
        # Keyed by the names of the scalars.
        self._functions: dict[tuple[str, ...], tf.types.experimental.GenericFunction] = {}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars by name, as float32."""
        names = tuple(values)
        with self._open():
            if names not in self._functions:
                self._functions[names] = _scalar_function(names)
            self._functions[names](np.fromiter(values.values(), np.float32), np.asarray(step, np.int64))

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, (height, width, num_channels) uint8, by name."""
        with self._open():
            for name, picture in pictures.items():
                tf.summary.image(name, picture[None], step)

    def text(self, step: int, name: str, text: str) -> None:
        """Writes a text by name."""
        with self._open():
            tf.summary.text(name, text, step)

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        with written_if_possible("events for TensorBoard"), self._writer.as_default():
            yield
            self._writer.flush()


def _scalar_function(names: tuple[str, ...]) -> tf.types.experimental.GenericFunction:
    """Returns a graph (values, step) -> events, for the writer that is the default during tracing."""

    @tf.function(input_signature=[tf.TensorSpec([len(names)]), tf.TensorSpec([], tf.int64)], autograph=False)
    def write(values: tf.Tensor, step: tf.Tensor) -> None:
        for index, name in enumerate(names):
            tf.summary.scalar(name, values[index], step)

    return write
