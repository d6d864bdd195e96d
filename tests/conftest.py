"""Quiet TensorFlow, fixed seeds."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def _seed():
    tf.keras.utils.set_random_seed(0)
