"""Python in processes that start at once: forked from one that has imported TensorFlow and not yet used it."""

import ctypes
import dataclasses
import gc
import importlib
import json
import os
import pathlib
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback

# In place of an exit code.
_RUNS = 1_000
TESTS = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Result:
    """Of a process: its exit code, minus the number of the signal that ended it; what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Forks:
    """Runs Python files as `python FILE ARGUMENTS` would, each in a process of its own.

    Args:
      preloaded: modules that the first process imports.
    """

    def __init__(self, preloaded):
        self._folder = tempfile.TemporaryDirectory()
        self._lock = threading.Lock()
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "support.forks", *preloaded],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def start(self, path, *arguments, env, folder=None, seconds=600, gigabytes=None, is_powerless=False):
        """Starts a Python file; returns its `Fork`.

        Args:
          path: of the file.
          *arguments: of its command line.
          env: the whole environment.
          folder: in which it runs; the current one by default.
          seconds: after which it is killed.
          gigabytes: of addresses that it may use.
          is_powerless: whether folders that are closed to their owner are closed to root too.
        """
        output = tempfile.mkdtemp(dir=self._folder.name)
        request = {
            "output": output,
            "path": str(path),
            "arguments": [*map(str, arguments)],
            "env": {**env, "TF_CPP_MIN_LOG_LEVEL": "3"},
            "folder": str(folder or os.getcwd()),
            "seconds": seconds,
            "gigabytes": gigabytes,
            "is_powerless": is_powerless,
        }
        return Fork(self, self.ask(request), pathlib.Path(output))

    def ask(self, request):
        """The server's answer, a number."""
        with self._lock:
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            return int(self._server.stdout.readline())

    def close(self):
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
        self._folder.cleanup()


class Fork:
    """A process that was started."""

    def __init__(self, forks, pid, output):
        self._forks, self.pid, self._output = forks, pid, output
        self.returncode = None

    def poll(self):
        """The exit code, None while it runs."""
        return self._ended("poll")

    def wait(self):
        """The exit code, once it has ended."""
        return self._ended("wait")

    def _ended(self, request):
        if self.returncode is None:
            code = self._forks.ask({request: self.pid})
            self.returncode = None if code == _RUNS else code
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """Ends it in any case."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
            self.wait()

    def printed(self, stream):
        """What it has printed so far to "stdout" or "stderr"."""
        return (self._output / stream).read_text(encoding="utf-8", errors="backslashreplace")

    def result(self):
        """Waits for its end."""
        return Result(self.wait(), self.printed("stdout"), self.printed("stderr"))


def _give_up_rights():
    version, no_rights = 0x20080522, (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(version, 0), no_rights)


def _become(output, path, arguments, env, folder, seconds, gigabytes, is_powerless):
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(os.path.join(output, name), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    signal.alarm(seconds)
    # A shell's background job ignores it, and what that starts inherits this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if gigabytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (int(gigabytes * 1e9),) * 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    if is_powerless:
        _give_up_rights()
    sys.argv = [path, *arguments]
    sys.path[0] = os.path.dirname(path)
    code = 0
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as error:
        code = error.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 2
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # the end of an interpreter that has imported so much takes most of a second


def _start(request):
    process = os.fork()
    if process == 0:
        _become(**request)
    return process


def _code(process, options=0):
    process, status = os.waitpid(process, options)
    return os.waitstatus_to_exitcode(status) if process else _RUNS


def _serve(preloaded):
    """Reads requests from standard input, a line each, and answers with a number: a process or its exit code."""
    for module in preloaded:
        importlib.import_module(module)
    # Most of the time of short runs is tracing, which makes many objects that live on.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = _code(request["poll"], os.WNOHANG)
        elif "wait" in request:
            answer = _code(request["wait"])
        else:
            answer = _start(request)
        print(answer, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1:])
