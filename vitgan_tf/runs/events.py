"""Reads the TensorBoard events of a run. Importing this module imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub import errors
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.util.tensor_util import make_ndarray

from vitgan_tf.files import FilePart
from vitgan_tf.runs.directory import EVENTS_PREFIX

# Bytes of a record before and after its event: length and checksums.
_HEADER, _FOOTER = 12, 4


@dataclasses.dataclass(frozen=True)
class Events:
    """TensorBoard events of a run.

    Attributes:
      scalars: values by name and step.
      pictures: where the PNG files are, by name and step.
      texts: texts in the order of writing.
      seconds: time between the first and the last event, summed over the processes that have worked on the run.
    """

    scalars: dict[str, dict[int, float]]
    pictures: dict[str, dict[int, FilePart]]
    texts: list[str]
    seconds: float


def read_events(directory: str) -> Events:
    """Returns the events of a run.

    If a resumed run has repeated a step, the later value counts. A truncated record at the end of a file is ignored.
    """
    scalars: dict[str, dict[int, float]] = {}
    pictures: dict[str, dict[int, FilePart]] = {}
    texts, seconds = {}, 0.0
    for name in sorted(os.listdir(directory)):
        if not name.startswith(EVENTS_PREFIX):
            continue
        times, path = [], os.path.join(directory, name)
        for offset, record in _records(path):
            event = Event.FromString(record)
            times.append(event.wall_time)
            for value in event.summary.value:
                content = make_ndarray(value.tensor)
                plugin = value.metadata.plugin_data.plugin_name
                if plugin == "scalars":
                    scalars.setdefault(value.tag, {})[event.step] = float(content)
                elif plugin == "images":
                    place = FilePart(path, offset + record.index(content[2]), len(content[2]))
                    pictures.setdefault(value.tag, {})[event.step] = place
                elif plugin == "text":
                    texts[event.step, value.tag] = content.item().decode("utf-8", "replace")
        seconds += max(times, default=0.0) - min(times, default=0.0)
    return Events(scalars, pictures, list(texts.values()), seconds)


def _records(path: str) -> Iterator[tuple[int, bytes]]:
    """Yields the encoded events of a file and their places in it."""
    reader, offset = PyRecordReader_New(path), _HEADER
    while True:
        try:
            reader.GetNext()
        except (errors.OutOfRangeError, errors.DataLossError):  # the end, or a record that a killed process wrote
            return
        record = reader.record()
        yield offset, record
        offset += len(record) + _FOOTER + _HEADER
