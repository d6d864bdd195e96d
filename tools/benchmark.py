"""Measures speed and memory: python tools/benchmark.py train --dataset=cifar10 --batch_size=32

train: the training step of a preset, on random images. data: the input pipeline of a preset, and its training step.
render: the generator of --model at several resolutions. eval: an evaluation of 50,000 images, and the Frechet
distance by three ways.
The last line on standard output is one JSON object.
"""

from __future__ import annotations

import json
import sys

from absl import flags

from vitgan_tf import command_line
from vitgan_tf.errors import UserError

command_line.define_config_flags()
flags.DEFINE_integer("steps", 20, "Timed training steps.", lower_bound=1)
flags.DEFINE_string("model", None, "SavedModel folder of a generator, for render.")
flags.DEFINE_integer(
    "num_images",
    None,
    "Images per drawing, for render, by default 64; of the set, for data, 20,000; of either kind, for eval, 50,000.",
    lower_bound=1,
)
FLAGS = flags.FLAGS


def main(argv):
    commands = {"train": _train, "data": _data, "render": _render, "eval": _eval}
    if len(argv) != 2 or argv[1] not in commands:
        raise UserError(f"say what to measure: {sys.argv[0]} {'|'.join(commands)} [--flags]")
    print(json.dumps(commands[argv[1]]()))


def _train() -> dict:
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.training.benchmark import measure_training

    return measure_training(config, FLAGS.steps)


def _data() -> dict:
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.training.benchmark_data import measure_data

    return measure_data(config, FLAGS.num_images or 20_000, FLAGS.steps)


def _eval() -> dict:
    if FLAGS.num_images == 1:
        raise UserError("one image has no covariance: --num_images=2 or more")
    command_line.import_tensorflow()
    from vitgan_tf.training.benchmark_evaluation import measure_evaluation

    return measure_evaluation(FLAGS.num_images or 50_000)


def _render() -> dict:
    if FLAGS.model is None:
        raise UserError("say which generator: --model=runs/digits/saved_model")
    command_line.import_tensorflow()
    from vitgan_tf import sampling
    from vitgan_tf.training.benchmark import measure_rendering

    model = sampling.load(FLAGS.model)
    if not model.renders_at_any_scale:
        raise UserError("this generator draws at one resolution only: render needs the Fourier decoder")
    return measure_rendering(model, FLAGS.num_images or 64)


if __name__ == "__main__":
    command_line.run(main, takes_arguments=True)
