"""Command lines for messages, spelled so that they work where this process was started."""

from __future__ import annotations

import os
import shutil
import sys

# Replaces the path to __main__.py in sys.argv[0] under `python -m vitgan_tf COMMAND`.
MODULE = "python -m vitgan_tf"
# Commands of `vitgan` -> equivalent scripts of a checkout.
SCRIPTS = {
    "run": "experiments/run.py",
    "tables": "experiments/tables.py",
    "evaluate": "tools/evaluate.py",
    "generate": "tools/generate.py",
    "export": "tools/export.py",
    "project": "tools/project.py",
    "view": "tools/view.py",
    "prepare-data": "tools/prepare_data.py",
    "report": "tools/report.py",
    "benchmark": "tools/benchmark.py",
}


def invocation(command: str) -> str:
    """Returns the start of a command line for a command, in the form in which this process was started.

    The forms are a script of the same checkout, `python -m vitgan_tf COMMAND` and `vitgan COMMAND`.

    Args:
      command: a key of `SCRIPTS`.
    """
    folder, name = os.path.split(sys.argv[0])
    if name.startswith(MODULE):
        return f"{MODULE} {command}"
    if os.path.join(os.path.basename(os.path.abspath(folder)), name) in SCRIPTS.values():
        script = os.path.normpath(os.path.join(folder, os.pardir, SCRIPTS[command]))
        if os.path.isfile(script):
            return f"python {script}"
    program = os.path.join(folder, "vitgan")
    return f"{program if name.startswith('vitgan') and shutil.which('vitgan') is None else 'vitgan'} {command}"
