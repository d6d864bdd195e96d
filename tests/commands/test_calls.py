"""The commands as functions, several in one process, and run_experiment as a library's function."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import warnings

import pytest
from absl import flags
from support import classifier, commands, small

from vitgan_tf.commands import call, calls
from vitgan_tf.commands.calls import command_module
from vitgan_tf.errors import UserError
from vitgan_tf.invocation import SCRIPTS

TINY = {"dataset": "tiny", "total_kimg": 0.008, "eval_samples": 100, "xla": "off"}
TINY = {**TINY, "diagnostics_every_kimg": 0, **small.FIELDS}


def _state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return handlers, list(sys.argv), sys.modules["__main__"].__doc__, list(warnings.filters)


@pytest.fixture(autouse=True)
def _all_is_as_before(monkeypatch):
    """The arguments are a kernel's, and the program's own flags have names of ours."""
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    flags.DEFINE_string("model_dir", "mine", "The program's.")
    before = _state()
    yield
    assert _state() == before
    assert flags.FLAGS["model_dir"].value == "mine" and "dataset" not in flags.FLAGS
    del flags.FLAGS.model_dir


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of a run that was trained in a thread, and what the call returned."""
    model_dir = str(classifier.give(tmp_path_factory.mktemp("calls")))
    returned = []
    thread = threading.Thread(target=lambda: returned.append(call("run", model_dir=model_dir, **TINY)))
    thread.start()
    thread.join()
    return model_dir, returned


@pytest.mark.slow
def test_a_thread_trains(trained):
    model_dir, returned = trained
    assert returned == [model_dir]
    with open(f"{model_dir}/config.json", encoding="utf-8") as file:
        command = json.load(file)["command"]
    assert command[:3] == ["vitgan", "run", f"--model_dir={model_dir}"]
    # The run's own command line is that of the call.
    assert "--generator.num_blocks=1" in command and "-f" not in command


@pytest.mark.slow
def test_a_coroutine_calls_other_commands_in_any_order(trained, tmp_path):
    model_dir, _ = trained
    picture = str(tmp_path / "grid.png")

    async def draw():
        return call("generate", f"--output={picture}", model=f"{model_dir}/saved_model", num_images=4)

    assert asyncio.run(draw()) == [picture] == asyncio.run(draw())
    page = str(tmp_path / "page.html")
    assert call("report", model_dir, output=page) == page


def test_calls_do_not_know_of_each_other():
    first = call("run", "--dry_run", dataset="tiny", batch_size=4, **{"augment.policy": ["color", "cutout"]})
    second = call("run", "--dry_run", dataset="tiny", batch_size=None)
    assert first["train"]["batch_size"] == 4 and list(first["augment"]["policy"]) == ["color", "cutout"]
    assert second["train"]["batch_size"] == 8


@pytest.mark.parametrize(
    "words, values, message",
    [
        (["rnu"], {}, "there is no command 'rnu'; did you mean 'run'?"),
        (["run", "--batchsize=8"], {}, "Unknown command line flag 'batchsize'. Did you mean: batch_size"),
        (["run"], {"batch_size": "many"}, "flag --train.batch_size=many: invalid literal for int()"),
        (["run"], {"batch_size": 0}, "train.batch_size must be at least 1, got 0"),
        (["run", "digits"], {}, "unexpected argument 'digits'"),
        (["run", "--" + "a" * 3000], {}, "unknown flag with a very long name"),
        (["run", "--flagfile=/none"], {}, "/none"),
        (["run"], {"plugin": ["/none.py"]}, "--plugin=/none.py: there is no such Python file"),
        (["run", "--help"], {}, "Unknown command line flag 'help'"),
        (["evaluate"], {}, "say what is scored, with --model=RUN or --images=DIR"),
        (["report"], {}, "give one run directory: vitgan report RUN"),
        (["benchmark", "trian"], {}, "say what to measure: vitgan benchmark sample|"),
    ],
)
def test_mistakes_are_errors_of_one_line(words, values, message):
    with pytest.raises(UserError) as error:
        call(*words, **values)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_lack_of_memory_is_an_error_of_the_user(monkeypatch):
    def fails(_):
        raise MemoryError("1 TB")

    monkeypatch.setattr(command_module("report"), "main", fails)
    with pytest.raises(UserError, match=r"out of memory \(1 TB\): use smaller batches"):
        call("report", "run")


def test_flags_that_may_be_repeated_are_known():
    found = set()
    for command in SCRIPTS:
        given = calls.defined_flags(command_module(command), [])
        found |= {name for name in given if isinstance(given[name], flags.MultiFlag)}
    assert found == set(calls.REPEATED)


def test_a_plugin_is_loaded_once(tmp_path):
    plugin, loads = tmp_path / "plugin.py", tmp_path / "loads"
    plugin.write_text(f"with open({str(loads)!r}, 'a') as file: file.write('x')\n")
    for _ in range(2):
        call("run", "--dry_run", plugin=[plugin])
    assert loads.read_text() == "x"
    plugin.write_text("pass\n")
    with pytest.raises(UserError, match="has changed since this process loaded it"):
        call("run", "--dry_run", plugin=[plugin])


LIBRARY = """
import json, sys
from vitgan_tf.config import override
from vitgan_tf.presets import preset
from vitgan_tf.training.run import run_experiment
run_experiment(override(preset("tiny"), json.loads(sys.argv[2])), sys.argv[1])
"""


@pytest.mark.slow
def test_the_library_shows_its_own_lines_alone(tmp_path):
    env = {name: value for name, value in commands.OFFLINE.items() if not name.startswith("TF_CPP")}
    fields = {"train.total_kimg": 0.016, "log.eval_samples": 100, "train.xla": "off", **small.FIELDS}
    command = [sys.executable, "-c", LIBRARY, str(classifier.give(tmp_path)), json.dumps(fields)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert [line for line in lines if not re.match(r"I\d{4} [\d:.]+ \d+ \w+\.py:\d+\] .", line)] == []
    assert len(lines) <= 8 and result.stdout == ""
    for words in ("steps: 2/2", "run complete"):
        assert words in result.stderr
