"""The commands as a user runs them, in processes of their own, without a network."""

import atexit
import functools
import os
import pathlib
import subprocess
import sys

from support.forks import Forks

ROOT = pathlib.Path(__file__).parents[2]
# Nobody answers at port 9.
OFFLINE = {**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
for _name in ("TFDS_DATA_DIR", "TFHUB_CACHE_DIR"):
    OFFLINE.pop(_name, None)


@functools.lru_cache(maxsize=1)
def forks():
    """Processes that have imported what the commands need."""
    modules = ["tensorflow_datasets", "tensorflow_gan", "vitgan_tf.data.preparation", "vitgan_tf.benchmarks.training"]
    processes = Forks([*modules, "vitgan_tf.reporting.evaluation", "vitgan_tf.training.run"])
    atexit.register(processes.close)
    return processes


def start(script, *arguments, env=OFFLINE, **options):
    """Starts a command in a process that has imported TensorFlow already; options are those of `Forks.start`."""
    return forks().start(ROOT / script, *arguments, env=env, **options)


def run(script, *arguments, **options):
    """A command's result: see `start`."""
    return start(script, *arguments, **options).result()


def command(script, *arguments):
    return [sys.executable, str(ROOT / script), *map(str, arguments)]


def run_anew(script, *arguments, env=OFFLINE):
    """A command's result, from an interpreter that has imported nothing."""
    return subprocess.run(command(script, *arguments), capture_output=True, text=True, timeout=600, env=env)


def error_line(script, *arguments, env=OFFLINE):
    """The last line of a command that must fail, with one line of its own and without a traceback."""
    result = run(script, *arguments, env=env)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len([line for line in lines if line.startswith(os.path.basename(script))]) == 1, result.stderr
    return lines[-1]
