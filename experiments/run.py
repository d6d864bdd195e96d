"""Trains a GAN: python experiments/run.py --dataset=celeba64

Run again, the same command goes on from the newest checkpoint in --model_dir.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from absl import flags, logging

from vitgan_tf import command_line
from vitgan_tf.config import as_dict

command_line.define_config_flags()
command_line.define_data_location_flags()
command_line.define_strategy_flags(several_processes=True)
command_line.define_path(
    "model_dir",
    None,
    "Run directory; default: runs/<dataset>, and behind it variant or networks: runs/<dataset>-<variant>, "
    "runs/<dataset>-g_<generator>-d_<discriminator>.",
)
flags.DEFINE_bool("dry_run", False, "Print the resolved configuration as JSON and exit.")
FLAGS = flags.FLAGS


def main(_):
    config = command_line.config_from_flags()
    changes = command_line.changes_of_networks()
    if changes:
        logging.info("beside themselves, these networks change in the preset: %s", ", ".join(changes))
    if FLAGS.dry_run:
        print(json.dumps(as_dict(config), indent=2))
        return
    strategy = command_line.import_tensorflow_with_strategy(several_processes=True)
    from vitgan_tf.training.experiment import run_experiment

    model_dir = FLAGS.model_dir or os.path.join("runs", command_line.run_name_from_flags())
    provenance = {"command": sys.argv, "commit": _commit()}
    run_experiment(config, model_dir, provenance, command_line.data_location_from_flags(), strategy)


def _commit() -> str | None:
    """The commit of the checkout that this script is in, or None."""
    command = ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    command_line.run(main)
