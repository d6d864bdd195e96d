"""TensorBoard's events of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
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


@dataclasses.dataclass(frozen=True)
class Events:
    """What a run has written for TensorBoard.

    Attributes:
      scalars: by name and step.
      pictures: PNG, by name and step.
      texts: in the order of writing.
      seconds: from the first to the last event, summed over the processes that have worked on the run.
    """

    scalars: dict[str, dict[int, float]]
    pictures: dict[str, dict[int, bytes]]
    texts: list[str]
    seconds: float


def read_events(directory: str) -> Events:
    """The events of a run. Of what a run that went on wrote again, the later counts; a broken end is left out."""
    scalars: dict[str, dict[int, float]] = {}
    pictures: dict[str, dict[int, bytes]] = {}
    texts, seconds = {}, 0.0
    for name in sorted(os.listdir(directory)):
        if not name.startswith("events."):
            continue
        times = []
        try:
            for event in tf.compat.v1.train.summary_iterator(os.path.join(directory, name)):
                times.append(event.wall_time)
                for value in event.summary.value:
                    content = tf.make_ndarray(value.tensor)
                    plugin = value.metadata.plugin_data.plugin_name
                    if plugin == "scalars":
                        scalars.setdefault(value.tag, {})[event.step] = float(content)
                    elif plugin == "images":
                        pictures.setdefault(value.tag, {})[event.step] = content[2]
                    elif plugin == "text":
                        texts[event.step, value.tag] = content.item().decode("utf-8", "replace")
        except tf.errors.DataLossError:
            pass  # the file was being written when its process was killed
        seconds += max(times, default=0.0) - min(times, default=0.0)
    return Events(scalars, pictures, list(texts.values()), seconds)
