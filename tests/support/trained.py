"""A run with a small generator, as a training leaves it, without the training."""

import json
import os

import tensorflow as tf

from support import small
from vitgan_tf.config import override
from vitgan_tf.models.build import build_generator
from vitgan_tf.presets import preset
from vitgan_tf.runs.directory import RunDirectory

STEP = 7


def config(changes=None, variant="vitgan"):
    return override(preset("tiny", variant), {**small.FIELDS, **(changes or {})})


def network(seed=0, changes=None, variant="vitgan"):
    tf.keras.utils.set_random_seed(seed)
    return build_generator(config(changes, variant))


def scores(step):
    """A line of metrics.jsonl."""
    line = {"step": step, "kimg": 8 * step / 1000, "weights": "ema", "source": "training"}
    protocol = {
        **{"dataset": "digits", "split": "training", "image_size": 8, "num_channels": 1, "real_fingerprint": "abc"},
        **{"num_real": 1797, "num_split": 1797, "num_real_kept": 1797, "num_generated": 200, "seed": 0},
        **{"extractor": "digits", "extractor_sha256": "0" * 64, "extractor_accuracy": 0.98, "resize": "none"},
        **{"noise": None, "truncation": 1.0, "num_swd": 200, "not_comparable_with_published": ["few images"]},
    }
    return {**line, **protocol, "digits_fd": 12.5 + step}


def write_run(path, ema, raw, changes=None, variant="vitgan", steps=(3, STEP)):
    """Writes checkpoints of these steps; that of `STEP` holds the given networks, others hold them exchanged."""
    provenance = {"command": ["vitgan", "run", "--dataset=tiny"], "commit": "c0ffee"}
    data = {"num_images": 1797, "fingerprint": "abc"}
    RunDirectory(str(path), config(changes, variant), provenance, data)
    step = tf.Variable(0, dtype=tf.int64)
    for number in steps:
        step.assign(number)
        networks = (ema, raw) if number == STEP else (raw, ema)
        checkpoint = tf.train.Checkpoint(ema_generator=networks[0], generator=networks[1], step=step)
        manager = tf.train.CheckpointManager(checkpoint, os.path.join(path, "checkpoints"), max_to_keep=9)
        manager.save(checkpoint_number=number)
        with open(os.path.join(path, "metrics.jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps(scores(number)) + "\n")
    return str(path)
