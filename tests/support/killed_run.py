"""Trainings with a fault at a chosen point, for test_reliability: each in a forked process of its own.

TensorFlow is imported once, by the process that is forked, and has computed nothing there.
"""

import contextlib
import functools
import itertools
import multiprocessing
import os
import resource
import signal
import sys

import tensorflow_gan  # noqa: F401 - imported here once, and not where a fault forbids to read it
from absl import logging

from vitgan_tf.config import override
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.presets import preset
from vitgan_tf.runs import directory as run_directory
from vitgan_tf.runs.best_checkpoint import BestCheckpoint
from vitgan_tf.runs.checkpoints import RunCheckpoints
from vitgan_tf.trained import saved_model
from vitgan_tf.training import run as training_run
from vitgan_tf.training.callbacks import writers
from vitgan_tf.training.callbacks.guards import StopOnDivergence

# Where each is looked up, and its name there.
FUNCTIONS = {
    "step": (StopOnDivergence, "at_step"),
    "images of an evaluation": (Evaluator, "_samples"),
    "checkpoint": (RunCheckpoints, "save"),
    "best checkpoint": (BestCheckpoint, "offer"),
    "metrics": (run_directory.RunDirectory, "append_metrics"),
    "samples": (writers, "write_picture"),
    "export": (training_run, "export_generator"),
    "removal of an export": (saved_model.shutil, "rmtree"),
}


def _kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_while_writing(size, *arguments):
    """The kernel kills this process in the middle of the write that makes a file larger, wherever that is."""
    with contextlib.suppress(OSError, IndexError, AttributeError):
        # Of a file that only grows: so many bytes more.
        size += os.path.getsize(os.path.join(arguments[0].path, run_directory.METRICS))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _around(function_name, number, before=None, after=None):
    """Calls before, or after, around the number-th call of a function from now on."""
    place, name = FUNCTIONS[function_name]
    function, count = getattr(place, name), itertools.count(1)

    @functools.wraps(function)
    def patched(*args, **kwargs):
        is_it = next(count) == number
        if is_it and before:
            before(*args)
        result = function(*args, **kwargs)
        if is_it and after:
            after(*args)
        return result

    setattr(place, name, patched)


def after(function_name, number=1):
    """Killed once the number-th call of a function has returned."""
    return ("after", function_name, number)


def writing(function_name, size, number=1):
    """Killed in the number-th call of a function, when a file it writes has so many bytes."""
    return ("writing", function_name, number, size)


def full_disk(first_step, last_step=10**9):
    """The disk of the run is full after the first of these steps, until after the last one."""
    return ("full disk", first_step, last_step)


def forbidden(first_step, last_step=10**9):
    """The folders of the run may not be written to after the first of these steps, until after the last one."""
    return ("forbidden", first_step, last_step)


def full_disk_at_export():
    """The disk of the run is full when the SavedModel is written."""
    return ("full disk at export",)


def _filler(model_dir):
    return f"{model_dir}.filler"


def _fill(model_dir):
    with contextlib.suppress(OSError), open(_filler(model_dir), "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _forbid(model_dir):
    for folder, _, _ in os.walk(model_dir):
        os.chmod(folder, 0o555)
    if os.getuid() == 0:  # who may write everywhere
        os.seteuid(65534)


def _allow(model_dir):
    os.seteuid(os.getuid())
    for folder, _, _ in os.walk(model_dir):
        os.chmod(folder, 0o755)


def _remove_filler(model_dir):
    os.remove(_filler(model_dir))


BEGIN_AND_END = {"full disk": (_fill, _remove_filler), "forbidden": (_forbid, _allow)}


def _inject(model_dir, kind, *arguments):
    if kind in BEGIN_AND_END:
        begin, end = BEGIN_AND_END[kind]
        first_step, last_step = arguments
        _around("step", first_step, after=lambda *_: begin(model_dir))
        _around("step", last_step, after=lambda *_: end(model_dir))
    elif kind == "full disk at export":
        _around("export", 1, before=lambda *_: _fill(model_dir))
    elif kind == "after":
        _around(*arguments, after=_kill)
    else:
        function_name, number, size = arguments
        _around(function_name, number, before=functools.partial(_kill_while_writing, size))


def _train(model_dir, log_path, fields, faults):
    with open(log_path, "ab") as log:
        os.dup2(log.fileno(), 2)
    logging.set_verbosity(logging.INFO)
    for fault in faults:
        _inject(model_dir, *fault)
    try:
        training_run.run_experiment(override(preset("tiny"), fields), model_dir)
    except UserError as error:
        logging.error("%s", error)
        os.seteuid(os.getuid())  # for Python's own end
        sys.exit(error.exit_code)


def run(model_dir, fields, faults=(), log_path=None):
    """Trains in a process of its own, which logs to MODEL_DIR.log; returns its exit code, as `subprocess` does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_train, args=(str(model_dir), log_path or f"{model_dir}.log", fields, faults))
    process.start()
    process.join()
    return process.exitcode
