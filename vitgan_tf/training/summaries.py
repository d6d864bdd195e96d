"""Writes TensorBoard's events of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from vitgan_tf.errors import UserError, first_line


@contextlib.contextmanager
def written_if_possible(what: str) -> Iterator[None]:
    """A full disk or a lost permission inside is a warning: what a run can do without does not end it."""
    try:
        yield
    except (OSError, UserError, tf.errors.OpError) as error:
        logging.warning("cannot write %s (%s): the training goes on", what, first_line(error))


class Summaries:
    """Writes events, at once, into a file of its own in a directory. What cannot be written is lost, with a warning.

    Scalars are written by a graph: TensorFlow 2.15 keeps a few bytes of every tensor that is made outside of one.
    """

    def __init__(self, directory: str):
        self._writer = tf.summary.create_file_writer(directory)
        # By the names of the scalars.
        self._functions: dict[tuple[str, ...], tf.types.experimental.GenericFunction] = {}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars by their names, as float32."""
        names = tuple(values)
        with self._open():
            if names not in self._functions:
                self._functions[names] = _scalar_function(names)
            self._functions[names](np.fromiter(values.values(), np.float32), np.asarray(step, np.int64))

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes pictures (height, width, num_channels) uint8 by their names."""
        with self._open():
            for name, picture in pictures.items():
                tf.summary.image(name, picture[None], step)

    def text(self, step: int, name: str, text: str) -> None:
        """Writes a text."""
        with self._open():
            tf.summary.text(name, text, step)

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        with written_if_possible("events for TensorBoard"), self._writer.as_default():
            yield
            self._writer.flush()


def _scalar_function(names: tuple[str, ...]) -> tf.types.experimental.GenericFunction:
    """values, step -> events of the writer that is the default one when it is traced."""

    @tf.function(input_signature=[tf.TensorSpec([len(names)]), tf.TensorSpec([], tf.int64)], autograph=False)
    def write(values: tf.Tensor, step: tf.Tensor) -> None:
        for index, name in enumerate(names):
            tf.summary.scalar(name, values[index], step)

    return write
