"""Quiet TensorFlow, fixed seeds, and memory that is given back."""

import ctypes
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import psutil
import pytest
import tensorflow as tf
from absl import logging
from tensorflow.python.framework import ops

# As the commands do: its advice on retracing depends on the tests before.
tf.get_logger().setLevel("ERROR")

# Graphs are cycles of objects; a process of hundreds of tests would keep gigabytes of them, and the allocator more.
_GROWTH_BYTES = 300e6
_after_collection = [psutil.Process().memory_info().rss]


# Each takes three minutes.
_LONGEST = ("test_strategies.py", "test_reliability.py")


def pytest_collection_modifyitems(items):
    """The longest files come first, then the others with slow tests, so that the processes end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name not in _LONGEST, item.path not in slow))


def pytest_collection_finish():
    """What has been imported stays: the collector need not look at it whenever a graph is traced."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture
def messages(monkeypatch):
    """The lines that go to the log."""
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(logging, level, lambda text, *values: lines.append(text % values))
    return lines


@pytest.fixture(autouse=True)
def _seed():
    tf.keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _memory_is_given_back():
    yield
    process = psutil.Process()
    if process.memory_info().rss > _after_collection[0] + _GROWTH_BYTES:
        tf.keras.backend.clear_session()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        _after_collection[0] = process.memory_info().rss


@pytest.fixture(autouse=True, scope="module")
def _graphs_of_custom_gradients_are_forgotten():
    """TensorFlow registers every `tf.custom_gradient` of a graph for ever, and each keeps its whole graph alive."""
    registered = ops.gradient_registry._registry
    before = set(registered)
    yield
    for name in set(registered) - before:
        del registered[name]
