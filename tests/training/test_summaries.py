import gc
import sys

import numpy as np
import tensorflow as tf
from support.events import events

from vitgan_tf.runs.events import read_events
from vitgan_tf.training.summaries import Summaries


def test_what_is_written_can_be_read(tmp_path):
    summaries = Summaries(str(tmp_path))
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for step in (3, 10**10):
        summaries.scalars(step, {"a/b": 0.1 * step, "c": -1.0})
        summaries.scalars(step, {"a/b": 7.0})
        summaries.scalars(step, {})
        summaries.images(step, {"picture": picture})
        summaries.text(step, "words", "some")
    found = events(tmp_path)
    expected = [(step, tag) for step in (3, 10**10) for tag in ("a/b", "c", "a/b", "picture", "words")]
    assert [(step, tag) for step, tag, _ in found] == expected
    assert [float(value) for _, tag, value in found if tag == "a/b"] == [np.float32(0.3), 7.0, 10**9, 7.0]
    width, height, png = next(value for _, tag, value in found if tag == "picture")
    assert (int(width), int(height)) == (4, 2)
    np.testing.assert_array_equal(tf.io.decode_png(png).numpy(), picture)
    places = read_events(str(tmp_path)).pictures["picture"]
    assert [place.read() for place in places.values()] == [png, png] and list(places) == [3, 10**10]


def test_two_writers_of_the_same_scalars_have_a_file_each(tmp_path):
    first, second = (Summaries(str(tmp_path / name)) for name in "ab")
    first.scalars(1, {"x": 1.0})
    second.scalars(2, {"x": 2.0})
    assert [events(tmp_path / name) for name in "ab"] == [[(1, "x", 1.0)], [(2, "x", 2.0)]]


def test_scalars_leave_nothing_behind_in_memory(tmp_path):
    """But for TensorFlow's one block for each tensor: step and values."""
    summaries = Summaries(str(tmp_path))
    values = {f"scalar_{number}": float(number) for number in range(20)}

    def blocks_after(number):
        for step in range(number):
            summaries.scalars(step, values)
        gc.collect()
        return sys.getallocatedblocks()

    before = blocks_after(50)
    assert (blocks_after(200) - before) / 200 < 6


def test_what_was_written_again_counts(tmp_path):
    for loss in (1.0, 2.0):
        summaries = Summaries(str(tmp_path))
        summaries.scalars(5, {"d_loss": loss})
        if loss == 1.0:
            summaries.scalars(6, {"d_loss": 3.0})
            # Another file, whose name has a later second.
            for file in tmp_path.glob("events.*"):
                file.rename(file.with_name("events.out.tfevents.1.a.v2"))
    with open(tmp_path / "events.out.tfevents.1.a.v2", "ab") as file:
        file.write(b"\x18\x00\x00")  # of an event that was being written
    assert read_events(str(tmp_path)).scalars == {"d_loss": {5: 2.0, 6: 3.0}}
