"""A digits' classifier that was never trained, for runs whose scores need only be numbers."""

import functools
import os
import pathlib
import shutil
import tempfile

from vitgan_tf.evaluation.classifier import build_classifier
from vitgan_tf.runs.directory import DIGITS_CLASSIFIER


@functools.cache
def _weights_file(image_size):
    path = pathlib.Path(tempfile.mkdtemp()) / "classifier.h5"
    build_classifier((image_size, image_size, 1), 10).save_weights(str(path))
    return path


def give(model_dir, image_size=8):
    """Puts it into a run directory, made if it is not there; always the same weights. Returns the directory."""
    os.makedirs(model_dir, exist_ok=True)
    shutil.copyfile(_weights_file(image_size), os.path.join(model_dir, DIGITS_CLASSIFIER))
    return model_dir
