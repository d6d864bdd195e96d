"""The commands in processes that start at once: forked from one that has imported TensorFlow and not yet used it."""

import ctypes
import dataclasses
import json
import os
import pathlib
import resource
import runpy
import signal
import subprocess
import sys
import traceback

import commands


@dataclasses.dataclass(frozen=True)
class Result:
    """Of a command: its exit code, minus the number of the signal that ended it; what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Forks:
    """Runs commands, one at a time.

    Args:
      folder: in which they run, and which gets their output.
    """

    def __init__(self, folder):
        self._output = [pathlib.Path(folder) / name for name in ("stdout", "stderr")]
        self._folder = str(folder)
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**commands.OFFLINE, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "0"},
        )

    def run(self, script, *arguments, env=None, seconds=30, gigabytes=12):
        """A command's result.

        Args:
          script: path from the root of the repository.
          *arguments: of the command line.
          env: changes to the environment.
          seconds: after which it is killed.
          gigabytes: of addresses that it may use.
        """
        line = [script, [*map(str, arguments)], env or {}, seconds, gigabytes]
        self._process.stdin.write(json.dumps([self._folder, [*map(str, self._output)], *line]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Result(code, *(path.read_text(encoding="utf-8", errors="backslashreplace") for path in self._output))

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _give_up_rights():
    """Folders that are closed to their owner are closed to root too, from here on."""
    version, no_rights = 0x20080522, (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(version, 0), no_rights)


def _become(folder, output, script, arguments, env, seconds, gigabytes):
    for number, path in enumerate(output, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (int(gigabytes * 1e9),) * 2)
    os.chdir(folder)
    os.environ.update(env)
    _give_up_rights()
    path = str(commands.ROOT / script)
    sys.argv = [path, *arguments]
    code = 0
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
        code = 2
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # the end of an interpreter that has imported so much takes most of a second


def _serve():
    """Reads commands from standard input, a line each, and writes their exit codes to standard output."""
    import tensorflow_datasets  # noqa: F401

    import vitgan_tf.data.preparation
    import vitgan_tf.training.benchmark
    import vitgan_tf.training.evaluation
    import vitgan_tf.training.experiment  # noqa: F401

    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            _become(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
