"""Cells of a table: what is finished is skipped, what fails is named, and an interrupted sweep leaves no process."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from vitgan_tf.reporting import sweep

STEPS = 10

# A run of two evaluations that takes a while; its first argument is the run directory.
RUN = """
import json, os, sys, time
path = sys.argv[1]
with open(os.path.join(path, "began"), "w") as file:
    file.write(f"{time.time()} {os.environ['TF_NUM_INTRAOP_THREADS']}")
time.sleep(float(sys.argv[2]))
if len(sys.argv) > 3:
    sys.exit("training diverged")
with open(os.path.join(path, "metrics.jsonl"), "a") as file:
    for step in (0, 10):
        file.write(json.dumps({"step": step, "digits_fd": 100.0 - step, "seconds": time.time()}) + "\\n")
os.makedirs(os.path.join(path, "saved_model"))
open(os.path.join(path, "saved_model", "saved_model.pb"), "w").close()
"""


def _cells(folder, count, *arguments):
    paths = [str(folder / f"cell_{index}") for index in range(count)]
    return [
        sweep.Cell("vitgan", index, (sys.executable, "-c", RUN, path, *arguments), path)
        for index, path in enumerate(paths)
    ]


def _began(cell):
    with open(os.path.join(cell.model_dir, "began")) as file:
        return file.read().split()


@pytest.mark.slow
def test_runs_as_many_at_a_time_as_asked_and_skips_finished_ones(tmp_path):
    cells = _cells(tmp_path, 4, "1.5")
    assert sweep.run_cells(cells[:1], STEPS, jobs=1) == []
    first = _began(cells[0])
    assert sweep.run_cells(cells, STEPS, jobs=3) == []
    assert _began(cells[0]) == first  # was not run again
    began = [float(_began(cell)[0]) for cell in cells[1:]]
    ended = [cell.metrics()[-1]["seconds"] for cell in cells[1:]]
    assert max(began) < min(ended)  # all three at the same time
    assert _began(cells[0])[1] == str(os.cpu_count())
    assert _began(cells[1])[1] == str(max(1, os.cpu_count() // 3))
    assert all(cell.is_finished(STEPS) for cell in cells)
    assert not cells[0].is_finished(STEPS + 1)


def test_a_run_without_its_model_is_not_finished(tmp_path):
    (cell,) = _cells(tmp_path, 1, "0")
    sweep.run_cells([cell], STEPS, jobs=1)
    os.remove(os.path.join(cell.model_dir, "saved_model", "saved_model.pb"))
    assert not cell.is_finished(STEPS)


def test_failed_runs_are_returned_and_their_words_kept(tmp_path):
    good, bad = _cells(tmp_path, 2, "0")
    bad = sweep.Cell(bad.variant, bad.seed, (*bad.command, "fail"), bad.model_dir)
    assert sweep.run_cells([bad, good], STEPS, jobs=1) == [bad]
    assert bad.last_words() == "training diverged" and good.last_words() == ""
    assert good.is_finished(STEPS)


def test_a_line_cut_off_while_it_was_written_is_not_read(tmp_path):
    (cell,) = _cells(tmp_path, 1, "0")
    os.makedirs(cell.model_dir)
    with open(os.path.join(cell.model_dir, "metrics.jsonl"), "w") as file:
        file.write(json.dumps({"step": 10, "digits_fd": 3.0}) + '\n{"step": 20, "dig')
    assert cell.metrics() == [{"step": 10, "digits_fd": 3.0}]


def test_a_sweep_runs_in_any_thread():
    assert asyncio.run(asyncio.to_thread(sweep.run_cells, [], STEPS, jobs=1)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_runs(tmp_path, number):
    script = textwrap.dedent(
        f"""
        import sys
        from vitgan_tf.reporting import sweep
        command = (sys.executable, "-c", {RUN!r}, {str(tmp_path)!r}, "600")
        sweep.run_cells([sweep.Cell("vitgan", 0, command, {str(tmp_path)!r})], 10, jobs=1)
        """
    )
    # A background job of a shell ignores SIGINT, and what it starts inherits that.
    options = {"stderr": subprocess.DEVNULL, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen([sys.executable, "-c", script], **options) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "began").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert running == ""


def test_shared_files_do_not_replace_a_runs_own(tmp_path):
    cells = _cells(tmp_path, 2, "0")
    shared = tmp_path / "classifier.h5"
    shared.write_text("shared")
    os.makedirs(cells[1].model_dir)
    own = tmp_path / "cell_1" / "classifier.h5"
    own.write_text("own")
    sweep.share_file(str(shared), cells)
    assert (tmp_path / "cell_0" / "classifier.h5").read_text() == "shared" and own.read_text() == "own"


def test_scores_and_their_spread(tmp_path):
    cells = _cells(tmp_path, 3, "0")
    for cell, value in zip(cells[:2], (2.0, 5.0)):
        os.makedirs(cell.model_dir)
        with open(os.path.join(cell.model_dir, "metrics.jsonl"), "w") as file:
            file.write(json.dumps({"step": 5, "fd": 50.0}) + "\n" + json.dumps({"step": 10, "fd": value}) + "\n")
    assert sweep.scores_at(cells, 10, "fd") == [2.0, 5.0]
    mean, deviation = sweep.mean_and_deviation([2.0, 5.0, 8.0])
    assert mean == 5.0 and deviation == pytest.approx(3.0)
    assert math.isnan(sweep.mean_and_deviation([2.0])[1])
