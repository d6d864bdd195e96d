"""Reads TensorBoard's events."""

import tensorflow as tf


def events(directory):
    """(step, tag, value) of every summary, in the order of writing."""
    return [
        (event.step, value.tag, tf.make_ndarray(value.tensor))
        for file in sorted(directory.glob("events.*"))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
