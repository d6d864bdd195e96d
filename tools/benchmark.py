"""Measures speed and memory: python tools/benchmark.py train --dataset=cifar10 --batch_size=32

The last line on standard output is one JSON object. Data sets are not read: the images are random.
"""

from __future__ import annotations

import json
import sys

from absl import flags

from vitgan_tf import command_line
from vitgan_tf.errors import UserError

command_line.define_config_flags()
flags.DEFINE_integer("steps", 20, "Timed training steps.", lower_bound=1)
FLAGS = flags.FLAGS
COMMANDS = ("train",)


def main(argv):
    if len(argv) != 2 or argv[1] not in COMMANDS:
        raise UserError(f"say what to measure: {sys.argv[0]} {'|'.join(COMMANDS)} [--flags]")
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.training.benchmark import measure_training

    print(json.dumps(measure_training(config, FLAGS.steps)))


if __name__ == "__main__":
    command_line.run(main, takes_arguments=True)
