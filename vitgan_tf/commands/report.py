"""Writes an HTML page about a run: vitgan report runs/digits

The page shows configuration, curves, samples over time, an interpolation, attention maps and scores. It is one file
of at most 3 MB and needs no network. Pictures that do not fit are reduced, and their labels name the whole ones in
the run directory.
"""

from __future__ import annotations

import os

from absl import flags, logging

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.flags import define_path
from vitgan_tf.commands.plugins import define_plugin_flag
from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.errors import UserError
from vitgan_tf.invocation import invocation

TAKES_ARGUMENTS = True


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_plugin_flag(given)
    define_path(
        given, "output", None, "HTML file; default: report.html in the run directory.", suffixes=(".html", ".htm")
    )


def main(line: CommandLine) -> str:
    """Writes the page, and returns its path."""
    if len(line.arguments) != 1:
        raise UserError(f"give one run directory: {invocation('report')} RUN")
    run_dir = os.path.expanduser(line.arguments[0])
    path = line.flags.output or os.path.join(run_dir, "report.html")
    import_tensorflow()
    from vitgan_tf.reporting.report import write_report

    write_report(run_dir, path)
    logging.info("wrote %s", path)
    return path
