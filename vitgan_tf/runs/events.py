"""Reads what a run has written for TensorBoard."""

from __future__ import annotations

import dataclasses
import os

import tensorflow as tf


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
