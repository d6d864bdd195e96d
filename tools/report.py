"""Writes a page of HTML about a run: python tools/report.py runs/digits

Configuration, curves, samples over time, an interpolation, attention maps and scores, in one file that needs no
network.
"""

from __future__ import annotations

import os

from absl import flags, logging

from vitgan_tf import command_line
from vitgan_tf.errors import UserError

command_line.define_path("output", None, "HTML file; default: report.html in the run directory.")
FLAGS = flags.FLAGS


def main(argv):
    if len(argv) != 2:
        raise UserError("give one run directory: tools/report.py RUN")
    run_dir = os.path.expanduser(argv[1])
    path = FLAGS.output or os.path.join(run_dir, "report.html")
    command_line.import_tensorflow()
    from vitgan_tf.reporting.report import write_report

    write_report(run_dir, path)
    logging.info("wrote %s", path)


if __name__ == "__main__":
    command_line.run(main, takes_arguments=True)
