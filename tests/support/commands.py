"""The commands as a user runs them: in processes of their own, without a network."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
# Nobody answers at port 9.
OFFLINE = {**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
for _name in ("TFDS_DATA_DIR", "TFHUB_CACHE_DIR"):
    OFFLINE.pop(_name, None)


def command(script, *arguments):
    return [sys.executable, str(ROOT / script), *map(str, arguments)]


def run(script, *arguments, env=OFFLINE):
    return subprocess.run(command(script, *arguments), capture_output=True, text=True, timeout=600, env=env)


def error_line(script, *arguments, env=OFFLINE):
    """The last line of a command that must fail, with one line of its own and without a traceback."""
    result = run(script, *arguments, env=env)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len([line for line in lines if line.startswith(os.path.basename(script))]) == 1, result.stderr
    return lines[-1]
