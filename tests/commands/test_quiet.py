"""What TensorFlow may say at a start."""

import gc
import itertools
import logging
import os
import subprocess
import sys
import types

import pytest
import tensorflow as tf
from support.commands import OFFLINE

from vitgan_tf.commands import quiet


@pytest.fixture
def filtered():
    """Takes the filter off TensorFlow's logger afterwards."""
    logger = tf.get_logger()
    level, filters = logger.level, list(logger.filters)
    yield logger
    logger.setLevel(level)
    logger.filters[:] = filters


@pytest.mark.parametrize("num_gpus, level", [(0, "3"), (1, "1")])
def test_warnings_of_gpus_are_hidden_only_where_there_is_none(monkeypatch, filtered, num_gpus, level):
    monkeypatch.setattr(quiet, "count_gpus", lambda: num_gpus)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    assert quiet.import_tensorflow() is tf
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == level


def test_the_users_own_level_stays(monkeypatch, filtered):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    quiet.import_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


@pytest.mark.parametrize("is_enabled", [True, False])
def test_permanent_objects_are_not_searched_for_garbage(is_enabled):
    try:
        if not is_enabled:
            gc.disable()
        frozen = gc.get_freeze_count()
        with quiet._permanent_objects():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
        assert gc.get_freeze_count() - frozen >= len(made)
        searched = itertools.chain.from_iterable(map(gc.get_objects, range(3)))
        assert all(found is not made for found in searched)
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()


def test_an_imported_tensorflow_changes_nothing_of_the_garbage_collection(filtered):
    frozen = gc.get_freeze_count()
    quiet.import_tensorflow()
    assert gc.get_freeze_count() == frozen


_PAGES_PER_STEP = """
import gc, resource
from vitgan_tf.commands.quiet import import_tensorflow
tf = import_tensorflow()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        tf.fill([16_000_000], 1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults() / 10, gc.get_freeze_count())
"""


@pytest.mark.parametrize("own, low, high", [(None, 0, 500), ("false", 15_000, 32_000)])
def test_a_steps_memory_is_kept_for_the_next_unless_the_user_says_otherwise(own, low, high):
    """64 MB are 15,625 pages of 4 KiB, which the system fills anew if they were given back."""
    # TensorFlow's other allocator keeps memory too where it uses oneDNN.
    own_settings = {} if own is None else {"TF_CPU_ALLOCATOR_USE_BFC": own, "TF_ENABLE_ONEDNN_OPTS": "0"}
    env = {**OFFLINE, **own_settings}
    result = subprocess.run([sys.executable, "-c", _PAGES_PER_STEP], env=env, capture_output=True, text=True)
    pages, permanent_objects = map(float, result.stdout.split())
    assert low <= pages <= high
    assert permanent_objects > 200_000  # TensorFlow's modules have 400,000


@pytest.mark.parametrize("own, expected", [(None, [(-8, os.cpu_count())]), ("MALLOC_TOP_PAD_", [])])
def test_heaps_are_bounded_unless_the_user_sets_them(monkeypatch, filtered, own, expected):
    """The number is glibc's M_ARENA_MAX."""
    calls = []
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    if own:
        monkeypatch.setenv(own, "0")
    libc = types.SimpleNamespace(mallopt=lambda *args: calls.append(args))
    monkeypatch.setattr(quiet.ctypes, "CDLL", lambda _: libc)
    quiet.import_tensorflow()
    assert calls == expected


def test_kept_memory_may_grow_to_that_of_the_machine(monkeypatch, filtered):
    monkeypatch.delenv("TF_CPU_BFC_MEM_LIMIT_IN_MB", raising=False)
    quiet.import_tensorflow()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert int(os.environ["TF_CPU_BFC_MEM_LIMIT_IN_MB"]) == total // 2**20


@pytest.mark.parametrize(
    "path, is_kept",
    [
        ("tensorflow/python/distribute/mirrored_strategy.py", True),
        ("tensorflow/python/checkpoint/checkpoint.py", True),
        ("tensorflow/python/util/deprecation.py", False),
        ("keras/src/callbacks.py", False),
        ("tensorflow/python/keras/callbacks.py", True),
    ],
)
def test_only_warnings_that_no_user_can_act_on_are_dropped(filtered, path, is_kept):
    quiet.import_tensorflow()
    record = logging.LogRecord("tensorflow", logging.WARNING, f"/site-packages/{path}", 1, "words", None, None)
    assert bool(filtered.filter(record)) == is_kept
    assert not filtered.isEnabledFor(logging.INFO)


def test_an_import_that_fails_says_why(tmp_path):
    """Standard error stays open: neither a traceback nor the words of C++ code are lost."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(
        "import os; os.write(2, b'from C\\n'); raise ImportError('no AVX')\n"
    )
    env = {**OFFLINE, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "vitgan_tf", "run", "--dataset=tiny", f"--model_dir={tmp_path / 'run'}"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("from C\n") and result.stderr.endswith("ImportError: no AVX\n")
