"""Measures speed and memory: python tools/benchmark.py train --dataset=cifar10 --batch_size=32

train: the training step of a preset, on random images. render: the generator of --model at several resolutions.
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
flags.DEFINE_integer("num_images", 64, "Images per drawing, for render.", lower_bound=1)
FLAGS = flags.FLAGS
COMMANDS = ("train", "render")


def main(argv):
    if len(argv) != 2 or argv[1] not in COMMANDS:
        raise UserError(f"say what to measure: {sys.argv[0]} {'|'.join(COMMANDS)} [--flags]")
    measure = _render if argv[1] == "render" else _train
    print(json.dumps(measure()))


def _train() -> dict:
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.training.benchmark import measure_training

    return measure_training(config, FLAGS.steps)


def _render() -> dict:
    if FLAGS.model is None:
        raise UserError("say which generator: --model=runs/digits/saved_model")
    command_line.import_tensorflow()
    from vitgan_tf import sampling
    from vitgan_tf.training.benchmark import measure_rendering

    model = sampling.load(FLAGS.model)
    if not model.renders_at_any_scale:
        raise UserError("this generator draws at one resolution only: render needs the Fourier decoder")
    return measure_rendering(model, FLAGS.num_images)


if __name__ == "__main__":
    command_line.run(main, takes_arguments=True)
